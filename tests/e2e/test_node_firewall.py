"""The firewall and the watch over files on real nodes: what stays, what comes back, and who is never locked out."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.e2e.nodes import Nodes, plain_nodes

# As a CNI and kube-proxy have them: tables, chains and rules of their own.
FOREIGN = """
table ip cni {
    map services { type inet_service : ipv4_addr; elements = { 30080 : 10.208.0.9 } }
    chain nat { type nat hook prerouting priority dstnat; dnat to tcp dport map @services; }
    chain forward { type filter hook forward priority filter; policy accept; ip saddr 10.208.0.0/16 accept; }
}
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with plain_nodes(2, tmp_path_factory.mktemp("nodes")) as found:
        found.sudo("node-1", f"nft -f - <<'END'\n{FOREIGN}\nEND")
        harden(found)
        yield found


def harden(nodes: Nodes, *words: str, tags: str = "firewall", check: int | None = 0) -> dict[str, Any]:
    """Run one role on the first node; return the document of the run."""
    site = ("node", "harden", "--site", nodes.said["site"], "--limit", "node-1")
    done = nodes.gcloud_pk(*site, "--tags", tags, "--yes", *words, "--format", "json", check=check)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def changed(document: dict[str, Any]) -> int:
    return sum(len(host["changed"]) for host in document["hosts"])


def foreign(nodes: Nodes) -> str:
    return nodes.sudo("node-1", "nft -s list table ip cni").stdout


def ours(nodes: Nodes) -> str:
    return nodes.sudo("node-1", "nft -s list table inet gcloud_pk").stdout


@pytest.mark.parametrize("act", ["reload", "restart", "stop", "start"])
def test_rules_of_others_and_our_own_stay_when_the_unit_is_told_to(nodes: Nodes, act: str) -> None:
    theirs, own = foreign(nodes), ours(nodes)
    assert "30080" in theirs
    nodes.sudo("node-1", f"systemctl {act} nftables")
    assert foreign(nodes) == theirs
    assert ours(nodes) == own


def test_a_second_run_changes_nothing(nodes: Nodes) -> None:
    assert changed(harden(nodes)) == 0


def test_a_rule_that_was_taken_out_by_hand_is_foretold_and_put_back(nodes: Nodes) -> None:
    own, theirs = ours(nodes), foreign(nodes)
    nodes.sudo("node-1", "nft add rule inet gcloud_pk input tcp dport 23 accept")
    nodes.sudo("node-1", "nft flush chain inet gcloud_pk early")
    broken = ours(nodes)
    assert broken != own
    assert changed(harden(nodes, "--check")) == 1
    assert ours(nodes) == broken
    assert changed(harden(nodes)) == 1
    assert (ours(nodes), foreign(nodes)) == (own, theirs)


LISTEN = """
import socket
listener = socket.create_server(("", {port}))
while True:
    listener.accept()[0].close()
"""


def reaches(nodes: Nodes, port: int) -> bool:
    """Whether the second node can open a connection to the first."""
    ask = f"import socket; socket.create_connection(('10.207.0.11', {port}), timeout=3)"
    return nodes.ssh("node-2", f'python3 -c "{ask}"', check=False).returncode == 0


def test_what_is_not_allowed_in_is_dropped_and_what_is_is_not(nodes: Nodes) -> None:
    # 10250 is the kubelet's, 8443 is nobody's.
    for port in (10250, 8443):
        nodes.sudo("node-1", f"systemd-run --quiet --unit listen-{port} python3 -c '{LISTEN.format(port=port)}'")
    try:
        assert reaches(nodes, 22)
        assert reaches(nodes, 10250)
        assert not reaches(nodes, 8443)
    finally:
        nodes.sudo("node-1", "systemctl stop listen-10250 listen-8443")


def allow_from(nodes: Nodes, networks: list[str]) -> None:
    site = nodes.registry / "sites" / f"{nodes.said['site']}.yaml"
    document = yaml.safe_load(site.read_text(encoding="utf-8"))
    document["spec"]["ssh"]["allowFrom"] = networks
    site.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    nodes.gcloud_pk("registry", "sign", "--key", nodes.said["keeper"]["key"], check=0)


def test_a_run_that_would_lock_itself_out_is_refused_before_anything_changes(nodes: Nodes) -> None:
    own = ours(nodes)
    allow_from(nodes, ["192.0.2.0/24"])
    try:
        for words in (["--check"], []):
            document = harden(nodes, *words, check=None)
            assert "lock yourself out" in json.dumps(document)
            assert changed(document) == 0
    finally:
        allow_from(nodes, ["10.207.0.0/24"])
    assert ours(nodes) == own
    nodes.ssh("node-1", "true")


def test_the_rules_are_back_after_a_boot(nodes: Nodes) -> None:
    own = ours(nodes)
    before = nodes.ssh("node-1", "cat /proc/1/stat").stdout
    nodes.sudo("node-1", "systemctl reboot", check=False)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            answer = nodes.ssh("node-1", "cat /proc/1/stat", check=False, timeout=10)
        except subprocess.TimeoutExpired:
            continue
        if answer.returncode == 0 and answer.stdout.split()[21] != before.split()[21]:
            break
        time.sleep(0.5)
    else:
        pytest.fail("the node did not come back")
    assert ours(nodes) == own


@pytest.fixture(scope="module")
def watched(nodes: Nodes) -> Nodes:
    """The first node with AIDE's database, which is built once: a later run does not bless what changed."""
    nodes.sudo("node-1", "apt-get install -qq -y --no-install-recommends aide logrotate >/dev/null")
    harden(nodes, tags="file_integrity")
    return nodes


def test_a_second_run_over_files_changes_nothing(watched: Nodes) -> None:
    assert changed(harden(watched, tags="file_integrity")) == 0


def test_programs_without_need_have_no_privileges_and_dpkg_knows(watched: Nodes) -> None:
    found = watched.sudo("node-1", "find / -xdev -perm /6000 -type f; dpkg-statoverride --list").stdout
    assert "/usr/bin/sudo" in found
    assert re.search(r"^root root 755 /bin/mount$", found, re.MULTILINE)
    assert "/usr/bin/mount" not in found
    assert "/usr/bin/chfn\n" not in found.split("root root")[0]


def test_a_changed_file_is_told_and_not_blessed_by_the_next_run(watched: Nodes) -> None:
    digest = watched.sudo("node-1", "sha256sum /var/lib/aide/aide.db").stdout
    watched.sudo("node-1", "echo '# an intruder' >> /etc/profile")
    harden(watched, tags="file_integrity")
    assert watched.sudo("node-1", "sha256sum /var/lib/aide/aide.db").stdout == digest
    watched.sudo("node-1", "systemctl start --wait aidecheck.service", check=False)
    told = watched.sudo("node-1", "journalctl --no-pager -o cat -u aidecheck; journalctl -o cat -t gcloud-pk-integrity")
    assert "/etc/profile" in told.stdout
    assert "files differ from the AIDE database" in told.stdout
