"""The audit of a cluster: every clause has a verdict, nothing passes that was not seen, and a waiver says so."""

from __future__ import annotations

import ast
import datetime as dt
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.cluster_record import NOW, asked, before, cluster, findings, found, put, record, site
from tests.unit.cluster_server import Asked, serving, status
from tests.unit.cluster_variables import evaluated

from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.nodes.catalogue import CLUSTER, standard
from gcloud_pk.nodes.cluster import audit, collector, gather, settings, unnamed, wanted, whole
from gcloud_pk.nodes.cluster.api import Said, ask, silent
from gcloud_pk.nodes.collector import MARK, Node, Refused
from gcloud_pk.nodes.facts import DishonestError, read
from gcloud_pk.nodes.gather import Gathered
from gcloud_pk.nodes.judge import Exemption
from gcloud_pk.nodes.outcome import Diagnosis
from gcloud_pk.nodes.site_words import named
from gcloud_pk.nodes.wire import Way

CLAUSES = {
    "1.1": 21,
    "1.2": 30,
    "1.3": 7,
    "1.4": 2,
    "2": 7,
    "3.1": 3,
    "3.2": 2,
    "4.1": 10,
    "4.2": 14,
    "4.3": 1,
    "5.1": 13,
    "5.2": 12,
    "5.3": 2,
    "5.4": 2,
    "5.5": 1,
    "5.6": 4,
}
"""How many clauses each section of the CIS Kubernetes Benchmark 1.12 has."""


KUBELET = "/var/lib/kubelet/config.yaml"
OF_KUBELETS = {
    one.id
    for one in standard(CLUSTER).checks.values()
    if any(path.root == "kubelet" or path.steps[:2] == ("drift", "kubelet") for path in one.paths)
}
"""Checks that rest on a kubelet's configuration in force."""


def by_id(found_: list[Finding], name: str) -> list[Finding]:
    return [one for one in found_ if one.id == name]


def failing(found_: list[Finding]) -> set[str]:
    return {one.id for one in found_ if one.verdict is Verdict.FAIL}


def exemption(name: str, control: str, subject: str, standing: str | None = None) -> Exemption:
    return Exemption(name, control, subject, "so it is", "a@x", ("b@x",), dt.date(2027, 1, 1), standing)


# --- the catalogue ---


def test_every_clause_of_the_benchmark_is_checked_or_says_why_not() -> None:
    known = standard(CLUSTER)
    clauses = {f"CIS-{section}.{n}" for section, most in CLAUSES.items() for n in range(1, most + 1)}
    assert {name for name in (*known.checks, *known.unchecked) if name.startswith("CIS-")} == clauses
    assert set(known.checks) & set(known.unchecked) == set()
    assert sum(CLAUSES.values()) == 131


def test_of_the_control_plane_etcd_and_nodes_every_clause_gets_a_verdict() -> None:
    judged = {one.id for one in before()}
    numbered = {f"CIS-{s}.{n}" for s, most in CLAUSES.items() if s[0] in "124" for n in range(1, most + 1)}
    assert numbered - judged == set()


def test_a_check_of_the_benchmark_names_its_clause_and_every_check_its_remedy() -> None:
    for name, check in standard(CLUSTER).checks.items():
        assert check.clause == (name.removeprefix("CIS-") if name.startswith("CIS-") else None)
        assert check.remedy, name


def test_every_check_reads_what_is_gathered() -> None:
    known = gather.OF_CLUSTER.sections | gather.MADE | {whole.SECTION}
    for check in standard(CLUSTER).checks.values():
        roots = {path.root for path in check.every_path}
        assert roots <= known, check.id
        assert (whole.SECTION in roots) == (roots == {whole.SECTION}), check.id
        assert named(check.expect) <= {"endpoint", "host", "version"}, check.id


# --- the recorded cluster ---


def test_of_the_recorded_cluster_nothing_fails_but_what_is_known_of_it() -> None:
    made = before()
    # kubeadm runs etcd as root; the network `bridge` enforces no NetworkPolicy.
    assert failing(made) == {"CIS-1.1.12", "CIS-5.3.1"}
    assert {one.id for one in made if one.verdict in {Verdict.ERROR, Verdict.NOT_CHECKED}} == set()


def test_a_worker_is_not_asked_of_what_only_a_control_plane_has() -> None:
    of_worker = {one.id for one in before() if one.subject == "node/lab-dc/w1"}
    assert "CIS-4.2.1" in of_worker
    assert [name for name in of_worker if name.startswith(("CIS-1.2", "CIS-2"))] == []


def test_each_finding_says_on_whose_word_it_rests_and_a_failure_what_to_do() -> None:
    made = before()
    said = {name: by_id(made, name)[0].evidence["source"] for name in ("CIS-1.2.2", "CIS-4.2.1", "CLU-API-003")}
    assert said == {
        "CIS-1.2.2": "self-reported by the node",
        "CIS-4.2.1": "said by the API server",
        "CLU-API-003": "seen from outside",
    }
    assert by_id(made, "CIS-1.2.2")[0].evidence["clause"] == "CIS Kubernetes Benchmark 1.12, 1.2.2"
    assert "to remedy it: " in str(by_id(made, "CIS-1.1.12")[0].reason)


def test_where_the_api_does_not_answer_what_it_alone_says_is_not_checked_and_the_rest_is() -> None:
    made = findings(record(), said=silent("connection refused"))
    assert {one.verdict for one in by_id(made, "CIS-4.2.1") + by_id(made, "CIS-5.1.1")} == {Verdict.NOT_CHECKED}
    assert "connection refused" in str(by_id(made, "CIS-5.1.1")[0].reason)
    assert {one.verdict for one in by_id(made, "CIS-1.2.2") + by_id(made, "CLU-ETC-004")} == {Verdict.PASS}


def by_file(text: str | None = None, times: Mapping[str, float | None] = MappingProxyType({})) -> list[Finding]:
    """Return the findings on what the file of the first node's kubelet says, where the API says nothing."""
    recorded = record()
    facts = recorded["c1"]["facts"]
    facts["kubelet_file"] = {"file": KUBELET, "changed": 1000.5, "began": 1000.75, **times}
    if text is not None:
        facts["texts"][KUBELET] = text
    made = findings(recorded, said=silent("forbidden"))
    return [one for one in made if one.subject == "node/lab-dc/c1" and one.id in OF_KUBELETS]


def test_where_the_api_does_not_tell_a_kubelets_file_counts_that_it_began_with() -> None:
    made = by_file()
    assert len(made) == len(OF_KUBELETS) == 16
    assert {one.verdict for one in made} == {Verdict.PASS}
    assert {one.evidence["source"] for one in made} == {"self-reported by the node"}


@pytest.mark.parametrize(
    ("stat", "changed"),
    [("1000.250000 900.000000", 1000.25), ("900.000000 1000.500000", 1000.5), ("1000.250000 0", 1000.25)],
)
def test_a_file_that_took_anothers_place_is_as_young_as_its_birth(stat: str, changed: float) -> None:
    said = "ExecMainStartTimestamp=Mon 2026-11-23 01:20:25.444333 UTC\nActiveState=active\n"
    programs = SimpleNamespace(output=lambda *_: said, as_root=lambda _: f"{stat}\n")
    found = collector.kubelet_file(cast("Any", SimpleNamespace(programs=programs)))
    assert found == {"file": KUBELET, "changed": changed, "began": 1795396825.444333}


@pytest.mark.parametrize(
    ("line", "other", "check"),
    [
        ("  mode: Webhook", "  mode: AlwaysAllow", "CIS-4.2.2"),
        ("eventRecordQPS: 50", "eventRecordQPS: 0", "CIS-4.2.8"),
        ("rotateCertificates: true\n", "", "CIS-4.2.10"),
        ("tlsMinVersion: VersionTLS12\n", "", "CLU-KUB-001"),
        ("kind: Kubelet", "staticPodURL: http://x/\nkind: Kubelet", "CLU-KUB-006"),
    ],
)
def test_a_weakness_in_a_kubelets_file_is_told(line: str, other: str, check: str) -> None:
    text = record()["c1"]["facts"]["texts"][KUBELET]
    assert line in text
    told = failing(by_file(text.replace(line, other)))
    assert told == {check, "CLU-KUB-005"} - ({"CLU-KUB-005"} if check == "CLU-KUB-006" else set())


def test_what_a_kubelets_file_leaves_to_its_defaults_is_told_by_them() -> None:
    text = record()["c1"]["facts"]["texts"][KUBELET]
    shorter = text.replace("makeIPTablesUtilChains: true\n", "").replace("Timeout: 5m0s", "Timeout: 0s")
    assert failing(by_file(shorter)) == {"CLU-KUB-005"}  # 4h0m0s is not what the roles give, and no weakness


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ({"changed": 1000.75}, "was changed after the kubelet began"),
        ({"changed": 1001.0}, "was changed after the kubelet began"),
        ({"began": None, "changed": None}, "does not run as a unit of systemd"),
    ],
)
def test_a_kubelets_file_that_may_not_be_in_force_is_not_judged(times: dict[str, float | None], why: str) -> None:
    made = by_file(times=times)
    assert {one.verdict for one in made} == {Verdict.NOT_CHECKED}
    assert all(why in str(one.reason) and "forbidden" in str(one.reason) for one in made)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--event-qps=0",), "arguments override /var/lib/kubelet/config.yaml: --event-qps"),
        (
            ("--authorization-mode", "AlwaysAllow"),
            "arguments override /var/lib/kubelet/config.yaml: --authorization-mode",
        ),
        (("--config-dir=/etc/x",), "arguments override /var/lib/kubelet/config.yaml: --config-dir"),
        (("--config=/etc/x",), "it reads another file than /var/lib/kubelet/config.yaml"),
    ],
)
def test_a_kubelets_file_that_arguments_override_is_not_judged(words: tuple[str, ...], why: str) -> None:
    said = {
        "kubelet_file": {"file": KUBELET, "changed": 1.0, "began": 2.0},
        "programs": {"kubelet": {"lists": collector.listed([f"--config={KUBELET}", *words])}},
        "texts": {KUBELET: "kind: KubeletConfiguration\n"},
    }
    assert settings.kubelet_of_file(said, "the API is silent") == f"the API is silent; and {why}"


def test_what_the_api_refuses_is_not_checked_and_what_it_tells_is() -> None:
    recorded = record()
    recorded["api"]["lists"].pop("pods")
    recorded["api"]["refused"]["pods"] = "the API does not tell pods: forbidden"
    made = findings(recorded)
    assert {one.verdict for one in by_id(made, "CIS-5.2.2")} == {Verdict.NOT_CHECKED}
    assert {one.verdict for one in by_id(made, "CLU-NOD-002")} == {Verdict.PASS}


def test_what_the_auditor_may_not_see_is_not_checked() -> None:
    recorded = record()
    for name in ("c1", "c2", "c3"):
        recorded[name]["facts"].pop("programs")
        recorded[name]["refused"] = {"programs": "sudo: a password is required"}
    made = findings(recorded)
    for check in ("CIS-1.2.2", "CIS-1.2.1", "CIS-2.2", "CIS-2.7", "CIS-3.2.2", "CLU-SET-001", "CLU-API-004"):
        verdicts = {one.verdict for one in by_id(made, check) if one.subject != "node/lab-dc/w1"}
        assert verdicts == {Verdict.NOT_CHECKED}, check


def test_on_a_node_without_a_control_plane_nothing_passes_for_want_of_it() -> None:
    recorded = record()
    recorded["c1"]["facts"] |= {"programs": {}, "texts": {}, "certificates": {}, "kubeconfigs": {}}
    recorded["c1"]["facts"]["paths"] = {
        name: [] if isinstance(value, list) else {"exists": False}
        for name, value in recorded["c1"]["facts"]["paths"].items()
    }
    passing = {one.id for one in findings(recorded) if one.subject == "node/lab-dc/c1" and one.verdict is Verdict.PASS}
    on_its_word = {name for name in passing if name.startswith(("CIS-1", "CIS-2", "CIS-3"))}
    # What must not be set, of a program that does not run: CLU-SET-001 fails beside them, and says so.
    assert on_its_word <= {
        *(f"CIS-1.2.{n}" for n in (2, 10, 12, 13, 20, 21)),
        *("CIS-1.1.13", "CIS-1.1.14", "CIS-1.1.15", "CIS-1.1.16", "CIS-1.1.17", "CIS-1.1.18"),
        *("CIS-1.2.28", "CIS-1.3.6", "CIS-2.3", "CIS-2.6", "CIS-3.1.3"),
    }
    assert "CLU-SET-001" in failing(findings(recorded))


def test_a_host_that_does_not_answer_passes_in_nothing_that_it_would_have_to_say() -> None:
    one = found(record(), "c1")
    mute = replace(one, said=Gathered(one.host, None, 0.1, diagnosis=Diagnosis("unreachable", "no route", "look", "")))
    facts = gather.facts_of(mute, asked(), "the API does not answer", cluster())
    checks = audit.for_host(standard(CLUSTER).checks.values(), one.host)
    made = audit.findings(mute, facts, checks, standard(CLUSTER), audit.of_node(site(), one.host))
    assert {one.verdict for one in made} == {Verdict.ERROR, Verdict.NOT_CHECKED}
    assert {one.id for one in made} == {"NODE-000", *(check.id for check in checks)}


def test_what_two_programs_of_one_name_do_is_not_guessed() -> None:
    lines = "UID PPID COMMAND\n0 7 etcd --auto-tls=true\n0 9 etcd --auto-tls=false\n65532 9 /x/etcd --auto-tls\n"
    assert len(collector.running(lines)["etcd"]) == 2
    assert collector.running("0 1 /usr/bin/kubelet --v=2\n0 9 kubelet --x\n") == {"kubelet": [["--v=2"]]}


def test_a_waiver_of_a_node_and_one_of_the_cluster_turn_a_failure_into_waived() -> None:
    waivers = (
        exemption("etcd", "GPK-CLU-013", "node/lab-dc"),
        exemption("pods", "CIS-5.3.1", "cluster/lab-dc/lab-dc-a"),
        exemption("other", "CIS-5.3.1", "cluster/lab-dc/another"),
    )
    made = findings(record(), waivers)
    assert failing(made) == set()
    assert {one.evidence["waiver"] for one in made if one.verdict is Verdict.WAIVED} == {"etcd", "pods"}


def test_a_waiver_that_ran_out_changes_nothing_and_is_named() -> None:
    late = exemption("pods", "CIS-5.3.1", "cluster/lab-dc/lab-dc-a", "it expired on 2026-01-01")
    (one,) = by_id(findings(record(), (late,)), "CIS-5.3.1")
    assert one.verdict is Verdict.FAIL
    assert "waiver pods does not count" in str(one.reason)


# --- certificates ---


def test_what_ends_soon_is_told_before_it_does() -> None:
    later = findings(record(), now=NOW + dt.timedelta(days=340))
    assert {"CLU-CRT-001"} == failing(later) - failing(before()) - {"CLU-BKP-001", "CLU-BKP-002"}


def test_a_certificate_that_has_ended_and_one_that_is_no_certificate_fail() -> None:
    recorded = record()
    recorded["c2"]["facts"]["certificates"]["/etc/kubernetes/pki/front-proxy-client.crt"] = (
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    assert failing(findings(recorded)) - failing(before()) == {"CLU-CRT-001", "CLU-CRT-005"}
    ended = failing(findings(record(), now=NOW + dt.timedelta(days=3700)))
    assert {"CLU-CRT-001", "CLU-CRT-002"} <= ended


def test_a_certificate_of_somebody_elses_is_told() -> None:
    recorded = record()
    pem = recorded["c1"]["facts"]["certificates"]
    pem["/etc/kubernetes/pki/apiserver-etcd-client.crt"] = pem["/etc/kubernetes/pki/apiserver-kubelet-client.crt"]
    assert failing(findings(recorded)) - failing(before()) == {"CLU-CRT-003"}


def test_a_server_whose_certificate_is_not_for_the_endpoint_is_told() -> None:
    recorded = record()
    pem = recorded["c1"]["facts"]["certificates"]
    pem["/etc/kubernetes/pki/apiserver.crt"] = pem["/etc/kubernetes/pki/apiserver-kubelet-client.crt"]
    assert failing(findings(recorded)) - failing(before()) == {"CLU-CRT-004"}


def test_an_authority_that_etcd_shares_with_the_cluster_is_told() -> None:
    recorded = record()
    for name in ("c1", "c2", "c3"):
        pem = recorded[name]["facts"]["certificates"]
        pem["/etc/kubernetes/pki/etcd/ca.crt"] = pem["/etc/kubernetes/pki/ca.crt"]
    new = failing(findings(recorded)) - failing(before())
    assert new == {"CIS-2.7", "CLU-CRT-003"}


def test_a_control_plane_with_an_authority_of_its_own_is_told() -> None:
    recorded = record()
    pem = recorded["c3"]["facts"]["certificates"]
    pem["/etc/kubernetes/pki/front-proxy-ca.crt"] = pem["/etc/kubernetes/pki/etcd/ca.crt"]
    assert failing(findings(recorded)) - failing(before()) == {
        "CIS-2.7",
        "CLU-CRT-003",
        "CLU-CRT-006",
    }


def test_where_no_node_tells_of_its_certificates_nothing_is_said_of_authorities() -> None:
    recorded = record()
    for name in ("c1", "c2", "c3", "w1"):
        recorded[name]["facts"]["certificates"] = {}
        recorded[name]["facts"]["kubeconfigs"] = {}
    assert {one.verdict for one in by_id(findings(recorded), "CLU-CRT-006")} == {Verdict.NOT_CHECKED}


# --- settings ---


@pytest.mark.parametrize(
    ("flags", "text", "paths"),
    [
        ({"anonymous-auth": "false"}, "", []),
        ({}, "", ["*"]),
        ({"anonymous-auth": "true"}, "", ["*"]),
        ({"authentication-config": "f"}, "kind: AuthenticationConfiguration\nanonymous: {enabled: false}", []),
        ({"authentication-config": "f"}, "kind: AuthenticationConfiguration\nanonymous: {enabled: true}", ["*"]),
        (
            {"authentication-config": "f"},
            "kind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}",
            ["/livez"],
        ),
        ({"authentication-config": "f"}, "kind: AuthenticationConfiguration", ["*"]),
        ({"authentication-config": "elsewhere"}, "", ["*"]),
        ({"authentication-config": "f"}, "a: [", ["*"]),
    ],
)
def test_who_is_let_in_without_a_name(flags: dict[str, str], text: str, paths: list[str]) -> None:
    assert settings.open_paths(flags, {"f": text}) == paths


def test_an_audit_policy_that_drops_something_does_not_record_everything() -> None:
    text = "kind: Policy\nrules:\n- level: None\n  users: [x]\n- level: Metadata\n"
    said = settings.recorded({"audit-policy-file": "f"}, {"f": text})
    assert said is not None
    assert said["everything"] is False
    assert said["dropped"] == ["level: None, users: ['x']"]
    partly = "kind: Policy\nrules:\n- level: Metadata\n  resources: [{group: ''}]\n"
    assert (settings.recorded({"audit-policy-file": "f"}, {"f": partly}) or {})["everything"] is False


def test_texts_of_another_form_are_not_understood_and_never_well() -> None:
    for text in ("[]", "a", "kind: Policy\nrules: 7", "&a [*a]", "x: " + "[" * 100):
        said = settings.recorded({"audit-policy-file": "f"}, {"f": text})
        assert said is None or not said["everything"]
        assert settings.admission({"admission-control-config-file": "f"}, {"f": text}) is None
        assert settings.arguments(next(iter(settings.parsed(text)), None)) is None


def test_what_the_roles_give_is_what_ansible_makes_of_their_defaults() -> None:
    # By the variables themselves: what is put together of them is the roles' own.
    for name, program in (("api_server", "kube-apiserver"), ("etcd", "etcd"), ("scheduler", "kube-scheduler")):
        known = evaluated("{{ cluster_control_plane_" + name + " }}")
        assert {flag: str(value) for flag, value in known.items()}.items() <= wanted.flags(cluster())[program].items()
    kubelet = evaluated("{{ cluster_control_plane_kubelet }}")
    made = wanted.kubelet(cluster(), {}, shared_kernel=False)
    assert {name: value for name, value in kubelet.items() if name != "cgroupDriver"}.items() <= made.items()
    assert not re.search(r"\{\{", json.dumps([wanted.flags(cluster()), made]))


# --- etcd, as a whole ---


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        (["c1", "etcd", "status", 0, "leader"], "abc", {"CLU-ETC-006"}),
        (["c1", "etcd", "status", 0, "term"], 9, {"CLU-ETC-006"}),
        (["c1", "etcd", "status", 0, "applied"], 1, {"CLU-ETC-007"}),
        (["c1", "etcd", "members", 0, "learner"], True, {"CLU-ETC-004"}),
        (["c1", "etcd", "members", 0, "peers"], ["http://10.207.0.11:2380"], {"CLU-ETC-012"}),
        (["c1", "etcd", "status", 0, "version"], "3.5.1", {"CLU-ETC-010"}),
        (["c1", "etcd", "status", 0, "errors"], ["etcdserver: mvcc: database space exceeded"], {"CLU-ETC-009"}),
        (["c2", "etcd", "members", 0, "id"], "abc", {"CLU-ETC-011"}),
    ],
)
def test_what_ails_etcd_is_told(where: list[Any], value: Any, told: set[str]) -> None:
    recorded = record()
    put(recorded, where, value)
    assert failing(findings(recorded)) - failing(before()) == told


def test_etcd_in_another_form_is_not_judged() -> None:
    recorded = record()
    for name in ("c1", "c2", "c3"):
        recorded[name]["facts"]["etcd"] = {"members": [{"x": 1}], "status": [7], "alarms": [], "tokens": 0}
    made = findings(recorded)
    assert {one.verdict for one in by_id(made, "CLU-ETC-007")} == {Verdict.NOT_CHECKED}


def test_without_a_backup_nothing_is_said_of_its_age() -> None:
    recorded = record()
    recorded["c1"]["facts"]["backup"] = None
    (one,) = by_id(findings(recorded), "CLU-BKP-001")
    assert (one.verdict, one.reason) == (Verdict.NOT_CHECKED, "no backup of this cluster is known")


def test_the_backup_of_another_cluster_is_none_of_this_one() -> None:
    recorded = record()
    put(recorded, ["c1", "backup", "cluster"], "4b1d3f8a-0000-4000-8000-000000000000")
    assert {one.verdict for one in by_id(findings(recorded), "CLU-BKP-001")} == {Verdict.NOT_CHECKED}


def test_a_backup_from_the_future_is_no_young_one() -> None:
    recorded = record()
    put(recorded, ["c1", "backup", "taken"], "2027-01-01T00:00:00Z")
    assert {one.verdict for one in by_id(findings(recorded), "CLU-BKP-001")} == {Verdict.FAIL}


# --- the collector ---

SOURCE = Path(str(collector.__file__))


def test_the_collector_is_of_the_standard_library_and_that_of_nodes_and_python_3_9_can_read_it() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names} == {
        "gcloud_pk.nodes.collector"
    }
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]


def test_what_it_runs_as_root_is_exact_and_reads_only() -> None:
    both = {**collector.COMMANDS, **collector.CONTROL_PLANE_COMMANDS}
    for name, argv in both.items():
        assert argv[0].startswith("/"), name
        assert not any(c in word for word in argv for c in "*?\\'\n;&|$`>"), name
        assert not set(argv) & {"put", "del", "-delete", "-exec", "-o/", "--output", "defrag", "--request"}, name
        shown = [word for word in argv if word.endswith((".key", "encryption.yaml", ".pem")) and "keys" not in word]
        # A key is shown to etcd; of encryption.yaml names of providers are read; of kubelets' files the public part.
        assert not shown or argv[0].rpartition("/")[2] in {"etcdctl", "curl", "openssl"} or "-hosF" in argv, name
    asked_of = json.loads(both["etcd_encrypted"][both["etcd_encrypted"].index("--data") + 1])
    assert set(asked_of) == {"compare"}


def test_the_names_of_providers_are_read_and_never_a_key(tmp_path: Path) -> None:
    file = tmp_path / "encryption.yaml"
    file.write_text('{"providers": [{"secretbox": {"keys": [{"secret": "c2VjcmV0Ym94Og=="}]}}]}\n- identity: {}\n')
    words = [*collector.CONTROL_PLANE_COMMANDS["providers"][1:-1], str(file)]
    done = subprocess.run(["grep", *words], capture_output=True, text=True)
    assert [line.rstrip('":') for line in done.stdout.splitlines()] == ["secretbox", "identity"]


def test_flags_are_read_in_every_form_and_the_last_counts() -> None:
    words = ["--a=1", "--b", "2", "--c", "--a=3", "-v=4", "--d=x,y", "--d=z"]
    assert collector.flags(words) == {"a": "3", "b": "2", "c": "true", "v": "4", "d": "z"}
    assert collector.listed(words)["d"] == ["x", "y", "z"]


def test_nothing_of_a_file_but_certificates_leaves_the_node() -> None:
    text = "key: hidden\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n"
    assert collector._BLOCK.findall(text) == ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([None], "open"),
        ([TimeoutError(), None], "open"),
        ([TimeoutError(), ConnectionRefusedError(), TimeoutError()], "closed"),
        ([TimeoutError()] * 3, "silent"),
    ],
)
def test_a_service_answers_where_one_of_three_tries_does(
    monkeypatch: pytest.MonkeyPatch, answers: list[Exception | None], said: str
) -> None:
    def connect(address: tuple[str, int], timeout: float) -> Any:
        assert (address, timeout) == (("10.209.0.1", 443), 2)
        if error := answers.pop(0):
            raise error
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(socket, "create_connection", connect)
    node: Any = SimpleNamespace(request={"service": gather._service(cluster())})
    assert collector.services(node) == {"api": said}
    with pytest.raises(Refused, match="range of services"):
        collector.services(cast("Any", SimpleNamespace(request={"service": None})))


def test_the_program_that_is_sent_runs_from_standard_input_and_answers_the_question_asked(tmp_path: Path) -> None:
    checks = standard(CLUSTER).checks.values()
    sent = gather.program(site().spec.ssh, checks, "n-1", control_plane=True).decode()
    # The machine of the tests is not looked at: every program says no.
    sent = sent.replace("\ncollector.main(", "\ncollector._run = lambda argv: (1, '', 'no')\ncollector.main(")
    done = subprocess.run(
        [sys.executable, "-I", "-"], input=sent, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    facts = read(done.stdout.encode(), "n-1", gather.OF_CLUSTER)
    assert facts.broken == {}
    assert {"programs", "texts"} <= {*facts.refused, *facts.values}
    assert list(tmp_path.iterdir()) == []


def test_an_answer_with_sections_of_the_other_audit_is_not_believed() -> None:
    document = {"version": 1, "nonce": "n", "facts": {"sshd": {}}, "refused": {}, "broken": {}, "seconds": 1}
    with pytest.raises(DishonestError, match="'sshd' that nobody asked for"):
        read(f"\n{MARK}{json.dumps(document)}\n".encode(), "n", gather.OF_CLUSTER)


def test_a_walk_that_was_cut_short_is_no_absence_of_files() -> None:
    node = Node({"admin": "a", "audit": "b", "wanted": {"paths": []}}, collector.COMMANDS)
    node.complete = False
    with pytest.raises(Refused, match="cut short"):
        collector.files(node)


def test_links_among_the_kubelets_keys_need_no_command_that_only_the_audit_of_nodes_has() -> None:
    keys = "/var/lib/kubelet/pki/*"
    node = Node({"admin": "a", "audit": "b", "wanted": {"paths": [keys]}}, collector.COMMANDS)
    node._walked = {
        "/var/lib/kubelet/pki/kubelet-client-2026-11-22-16-49-08.pem": (0o600, 0, 0, "f", 2800),
        "/var/lib/kubelet/pki/kubelet-client-current.pem": (0o777, 0, 0, "l", 59),
    }
    assert [row["kind"] for row in collector.files(node)[keys]] == ["file", "link"]
    assert node.refused == {}


# --- what the API says ---


def test_what_the_api_is_asked_for_is_noted_and_what_it_refuses_too() -> None:
    answers = {
        "/version": {"gitVersion": "v1.33.1"},
        "/api/v1/namespaces/kube-system": {"metadata": {"uid": "4b1d3f8a-0000-4000-8000-000000000000"}},
        "/api/v1/namespaces/kube-system/configmaps/kubeadm-config": {"data": {"ClusterConfiguration": "words"}},
    }

    def reply(asked: Asked) -> Any:
        found = answers.get(asked.path)
        return status(403, "forbidden") if found is None else (200, found)

    with serving(reply) as server:
        said = ask(server.api())
        del answers["/api/v1/namespaces/kube-system"]
        refused = ask(server.api())
    assert (said.version, said.uid, said.configuration) == ("1.33.1", "4b1d3f8a-0000-4000-8000-000000000000", "words")
    assert (said.proxy, refused.uid) == (None, None)
    assert set(refused.refused) - set(said.refused) == {"uid"}
    assert "proxy" in said.refused


# --- what strangers are answered ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "2", "-subj", "/CN=x", "-keyout"]
    key = file.with_name("key.pem")
    subprocess.run(["openssl", *words, str(key), "-out", str(file)], check=True, capture_output=True)
    file.write_text(file.read_text() + key.read_text())
    return file


class Server:
    """A server of TLS that answers every request with one status, or asks for a certificate first."""

    def __init__(self, certificate: Path, status: str, *, wants: bool) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        if wants:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(certificate)
        self.status = status
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                taken, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(taken, server_side=True) as tls:
                    tls.recv(4096)
                    tls.sendall(f"HTTP/1.1 {self.status} Said\r\nContent-Length: 0\r\n\r\n".encode())
            except OSError:
                taken.close()


@pytest.fixture(params=[("200", False), ("401", False), ("403", False), ("200", True)])
def server(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Server]:
    status, wants = request.param
    made = Server(certificate, status, wants=wants)
    yield made
    made.listener.close()


def test_what_a_stranger_is_answered_is_what_the_server_says(server: Server) -> None:
    wants = server.context.verify_mode == ssl.CERT_REQUIRED
    assert unnamed.answer(Way("127.0.0.1"), server.port, "/x") == ("refused" if wants else server.status)


def test_a_port_where_nobody_is_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    assert unnamed.answer(Way("127.0.0.1"), port, "/x") == "closed"


def test_where_nothing_answers_from_outside_nothing_is_said_of_what_it_would_answer() -> None:
    recorded = record()
    for row in recorded["c1"]["seen"]["api"]:
        row["answer"] = "silent"
    made = [one for one in by_id(findings(recorded), "CLU-API-003") if one.subject == "node/lab-dc/c1"]
    assert [one.verdict for one in made] == [Verdict.NOT_CHECKED]


def test_what_the_api_says_is_taken_as_it_is_recorded() -> None:
    assert set(Said(**record()["api"]).kubelets) == {"c1", "c2", "c3", "w1"}
