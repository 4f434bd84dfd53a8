"""What the roles of clusters leave on a node passes the audit; what only looks like it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gcloud_pk.model.finding import Verdict
from gcloud_pk.nodes import catalogue, collector
from gcloud_pk.nodes.facts import Facts
from gcloud_pk.nodes.judge import Subject, judge

NODE = Subject("lab-dc", "c1", "control-plane", "cl3")
PKI = "/var/lib/kubelet/pki"


def verdict(check: str, values: dict[str, Any]) -> Verdict:
    known = catalogue.standard()
    facts = Facts({"node": {"shared_kernel": False}, **values})
    (found,) = judge(facts, [known.checks[check]], known, NODE)
    return found.verdict


def rules(*said: str) -> dict[str, Any]:
    """Return what the collector makes of rules, each `family table chain: rule`."""
    text = []
    for one in said:
        (family, table, chain), rule = one.partition(": ")[0].split(), one.partition(": ")[2]
        text += [f"table {family} {table} {{", f"\tchain {chain} {{", "\t\t" + rule, "\t}", "}"]
    return {"nft": collector.ruleset("\n".join(text))}


KUBELETS_OWN = "ip filter KUBE-FIREWALL: ip saddr != 127.0.0.0/8 ip daddr 127.0.0.0/8  ct status dnat counter drop"


@pytest.mark.parametrize(
    "rule",
    [
        KUBELETS_OWN,
        'ip raw CILIUM_OUTPUT_raw: oifname "lxc*" meta mark & 0xfffffeff == 0x00000a00  counter notrack',
        'ip raw CILIUM_OUTPUT_raw: oifname "cilium_host" meta mark & 0x00000e00 == 0x00000800  counter notrack',
        "ip raw CILIUM_PRE_raw: meta mark & 0x00000f00 == 0x00000200  counter notrack",
        "ip kube-proxy service-endpoint: dnat to 10.208.1.7:53",
    ],
)
def test_rules_of_the_kubelet_and_of_pod_networks_hide_nothing(rule: str) -> None:
    assert verdict("NODE-FWL-023", rules(rule)) is Verdict.PASS


@pytest.mark.parametrize(
    "rule",
    [
        "ip raw CILIUM_PRE_raw: counter notrack",
        "ip raw CILIUM_PRE_raw: tcp dport 22 counter notrack",
        "ip raw CILIUM_PRE_raw: meta mark & 0x00000000 == 0x00000000 counter notrack",
        'ip raw CILIUM_OUTPUT_raw: oifname "eth0" meta mark & 0xfffffeff == 0x00000a00 counter notrack',
        "ip raw PREROUTING: meta mark & 0x00000f00 == 0x00000200 counter notrack",
        "ip mangle CILIUM_PRE_raw: meta mark & 0x00000f00 == 0x00000200 counter notrack",
        "ip raw CILIUM_PRE_raw: meta mark & 0x00000f00 == 0x00000200 counter redirect to :22",
        "ip filter KUBE-FIREWALL: ct status dnat redirect to :22",
        "ip nat PREROUTING: tcp dport 8022 dnat to 127.0.0.1:22",
    ],
)
def test_rules_that_only_look_like_theirs_are_seen(rule: str) -> None:
    assert verdict("NODE-FWL-023", rules(KUBELETS_OWN, rule)) is Verdict.FAIL


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("ip saddr 10.207.0.0/24 meta l4proto vrrp accept", Verdict.PASS),
        ("ip saddr 10.207.0.0/24 meta l4proto 112 accept", Verdict.PASS),
        ("meta l4proto vrrp accept", Verdict.FAIL),
        ("ip saddr 10.207.0.0/24 meta l4proto gre accept", Verdict.FAIL),
        ("ip saddr 10.207.0.0/24 meta l4proto { tcp, vrrp } accept", Verdict.FAIL),
    ],
)
def test_who_carries_the_address_is_told_to_the_nodes_alone(rule: str, expected: Verdict) -> None:
    values = rules("inet gcloud_pk input: " + rule)
    assert verdict("NODE-FWL-040", {**values, "site": {"ssh_port": 22}}) is expected


def test_a_protocol_is_the_same_by_its_number_at_boot_and_by_its_name_in_force() -> None:
    now = collector.ruleset("table inet gcloud_pk {\n\tchain input {\n\t\tmeta l4proto vrrp accept\n\t}\n}")
    boot = ["table inet gcloud_pk {", "chain input {", "meta l4proto 112 accept", "}", "}"]
    assert collector.drift(boot, now) == []


def key(name: str, kind: str = "file", mode: str = "0600", **more: Any) -> dict[str, Any]:
    return {"path": f"{PKI}/{name}", "kind": kind, "mode": mode, "owner": "root", "group": "root", **more}


NEWEST = f"{PKI}/kubelet-client-2026-11-22-16-49-08.pem"
LINK = key("kubelet-client-current.pem", "link", "0777", leads=NEWEST)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (LINK, Verdict.PASS),
        (key("kubelet.crt", mode="0644"), Verdict.PASS),
        (LINK | {"leads": None}, Verdict.FAIL),
        (LINK | {"leads": f"{PKI}/kubelet.key"}, Verdict.FAIL),
        (LINK | {"owner": "nobody"}, Verdict.FAIL),
        (key("kubelet.key", "link", "0777", leads=NEWEST), Verdict.FAIL),
        (key("kubelet.key", mode="0644"), Verdict.FAIL),
        (key("kubelet-client-2026-11-22-16-49-08.pem", mode="0640"), Verdict.FAIL),
    ],
)
def test_a_key_of_the_kubelet_is_closed_or_a_link_to_one_beside_it(row: dict[str, Any], expected: Verdict) -> None:
    rows = [key("kubelet-client-2026-11-22-16-49-08.pem"), row]
    assert verdict("NODE-KUB-017", {"paths": {f"{PKI}/*": rows}}) is expected


def test_what_a_link_leads_to_is_told_by_its_number() -> None:
    said = f"65024/1{PKI}//65024/7{NEWEST}//65024/7{PKI}/a.pem//65024/9{PKI}/b.pem//66/7{PKI}/c.pem//"
    numbers = collector.numbered(said)
    rows = [{"path": NEWEST, "kind": "file"}, {"path": f"{PKI}/a.pem", "kind": "link"}]
    assert [collector.led(f"{PKI}/{name}.pem", rows, numbers) for name in "abcd"] == [NEWEST, None, None, None]


CILIUM = """\
[Service]
Environment=K8S_NODE_NAME=%H
ExecStartPre=+/usr/local/lib/gcloud-pk/cilium-prepare
ExecStart=/usr/local/lib/gcloud-pk/with-modules /usr/local/bin/cilium-agent \\
    --agent-health-port=9879 \\
# said in between
    --write-cni-conf-when-ready=/etc/cni/net.d/05-cilium.conflist

UMask=0077
"""
AGENT = "/etc/systemd/system/cilium-agent.service"


def runs(text: str, tmp_path: Path, path: str = AGENT) -> dict[str, Any]:
    (tmp_path / "unit").write_text(text, encoding="utf-8")
    lines = collector.started_by(str(tmp_path / "unit"))
    return {"origin": {"runs": [path + line.removeprefix(str(tmp_path / "unit")) for line in lines]}}


def test_a_unit_of_the_pod_network_starts_what_its_role_wrote(tmp_path: Path) -> None:
    found = runs(CILIUM, tmp_path)
    assert len(found["origin"]["runs"]) == 3
    assert found["origin"]["runs"][2].endswith(" --write-cni-conf-when-ready=/etc/cni/net.d/05-cilium.conflist")
    assert verdict("NODE-SRV-042", found) is Verdict.PASS


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/usr/local/bin/cilium-agent", "/tmp/cilium-agent"),
        ("+/usr/local/lib/gcloud-pk/cilium-prepare", "+/usr/local/lib/gcloud-pk/cilium-prepare2"),
        ("    --agent-health-port=9879 \\", "    --agent-health-port=9879 ; /usr/bin/true \\"),
        ("UMask=0077", "ExecStopPost=/usr/bin/true"),
        ("K8S_NODE_NAME=%H", "LD_PRELOAD=/tmp/a.so"),
    ],
)
def test_a_unit_of_the_pod_network_that_starts_something_else_is_seen(old: str, new: str, tmp_path: Path) -> None:
    assert old in CILIUM
    assert verdict("NODE-SRV-042", runs(CILIUM.replace(old, new), tmp_path)) is Verdict.FAIL


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (AGENT, Verdict.PASS),
        ("/etc/systemd/system/multi-user.target.wants/cilium-operator.service", Verdict.PASS),
        ("/etc/systemd/system/gcloud-pk-kubelet-serving.timer", Verdict.PASS),
        ("/etc/systemd/system/cilium-agent2.service", Verdict.FAIL),
        ("/etc/systemd/system/cilium-agent.timer", Verdict.FAIL),
        ("/etc/systemd/system/cilium-agent.service.d/a.conf", Verdict.FAIL),
        ("/run/systemd/system/cilium-agent.service", Verdict.FAIL),
        ("/etc/systemd/system/gcloud-pk-pod-networks.service", Verdict.FAIL),
    ],
)
def test_a_unit_under_a_name_that_looks_like_the_roles_is_a_stranger(path: str, expected: Verdict) -> None:
    assert verdict("NODE-SRV-040", {"origin": {"strangers": [path]}}) is expected


@pytest.mark.parametrize(("mode", "expected"), [("0600", Verdict.PASS), ("0644", Verdict.FAIL)])
def test_the_kubelets_settings_are_closed(mode: str, expected: Verdict) -> None:
    row = {"exists": True, "mode": mode, "owner": "root", "group": "root", "kind": "file"}
    values = {"paths": {"/var/lib/kubelet/config.yaml": row, "/etc/kubernetes/kubelet.conf": row}}
    assert verdict("NODE-KUB-016", values) is expected
