"""From facts, checks and waivers to verdicts: only what was seen and is right passes."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.test_nodes_inventory import site

from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.nodes import expectation, path
from gcloud_pk.nodes.audit import findings
from gcloud_pk.nodes.check import Catalogue, Check, Control, Need, wanted
from gcloud_pk.nodes.facts import Facts
from gcloud_pk.nodes.gather import Gathered, gathered
from gcloud_pk.nodes.judge import SELF, SHARED, TELLS, Exemption, Subject, judge, selected
from gcloud_pk.nodes.outcome import Diagnosis

HOST = Subject("isb-1", "web-1", "worker", "cl2")
DAY = dt.date(2027, 1, 31)
ROOT_ID = {"fields": {"uid": {"equals": 0}}}
ROOT_NAME = {"each": {"fields": {"name": {"equals": "root"}}}}


def check(fact: str | list[str] = "sshd.effective.permitrootlogin", **changes: Any) -> Check:
    written = {"equals": "no"} if "expect" not in changes else changes.pop("expect")
    rows = changes.pop("rows", None)
    return Check(
        id=changes.pop("id", "NODE-SSH-001"),
        title="Root is refused",
        paths=tuple(path.parse(one) for one in ([fact] if isinstance(fact, str) else fact)),
        expect=expectation.parse(written),
        rows=expectation.parse(rows) if rows else None,
        **changes,
    )


def control(name: str, *checks: str, level: Any = "cl1") -> Control:
    return Control(name, "Root stays out", level, "ssh", (), "ssh", None, checks, None)


def catalogue(*checks: Check, **levels: str) -> Catalogue:
    controls = [control("GPK-SSH-001", *(one.id for one in checks))] if not levels else []
    controls += [control(name.replace("_", "-"), *(c.id for c in checks), level=lv) for name, lv in levels.items()]
    return Catalogue({one.id: one for one in controls}, {one.id: one for one in checks})


def facts(said: Any = "no", **more: Any) -> Facts:
    values = {"sshd": {"effective": {"permitrootlogin": said}}, "node": {"shared_kernel": False}}
    return Facts({**values, **more.pop("values", {})}, **more)


def verdict(one: Check, about: Facts, subject: Subject = HOST, waivers: tuple[Exemption, ...] = ()) -> Finding:
    (found,) = judge(about, [one], catalogue(one), subject, waivers)
    return found


def waiver(**changes: Any) -> Exemption:
    said: dict[str, Any] = {
        "name": "old-appliance", "control": "GPK-SSH-001", "subject": "node/isb-1/web-1", "reason": "until it is gone",
        "author": "dd@ntc.example", "approvers": ("alice@ntc.example",), "expires": DAY,
    }  # fmt: skip
    return Exemption(**said | changes)


def test_a_finding_shows_what_was_expected_what_was_seen_and_on_whose_word() -> None:
    found = verdict(check(), facts("without-password"))
    assert found.verdict is Verdict.FAIL
    assert found.expected == "sshd.effective.permitrootlogin: no"
    assert found.observed == "without-password"
    assert found.controls == ("GPK-SSH-001",)
    assert found.subject == "node/isb-1/web-1"
    assert found.evidence == {"source": "self-reported by the node"}


CASES: dict[str, tuple[Check, Facts, Verdict]] = {
    "right": (check(), facts("no"), Verdict.PASS),
    "wrong": (check(), facts("yes"), Verdict.FAIL),
    "not-there": (check(), facts(None), Verdict.FAIL),
    "not-there-and-that-is-good": (check(absent="pass"), facts(None), Verdict.PASS),
    "not-there-and-so-it-does-not-apply": (check(absent="not-applicable"), facts(None), Verdict.NOT_APPLICABLE),
    "there-and-wrong-whatever-absence-means": (check(absent="pass"), facts("yes"), Verdict.FAIL),
    "no-section-at-all": (check("nft.chains", expect={"none": {"equals": 1}}), facts(), Verdict.FAIL),
    "a-file-that-is-not-there": (
        check("paths[/root/.rhosts]", expect={"present": False}),
        facts(values={"paths": {"/root/.rhosts": {"exists": False}}}),
        Verdict.PASS,
    ),
    "refused-to-the-auditor": (check(), facts(refused={"sshd.effective": "sudo: no"}), Verdict.NOT_CHECKED),
    "refused-in-part": (check("sshd"), facts(refused={"sshd.effective": "sudo: no"}), Verdict.NOT_CHECKED),
    "refused-elsewhere": (check(), facts(refused={"sshd.matches": "no", "nft": "no"}), Verdict.PASS),
    "refused-where-the-need-is": (
        check(needs=Need(path.parse("packages[x]"), expectation.parse({"present": True}), "no x")),
        facts(refused={"packages": "no"}),
        Verdict.NOT_CHECKED,
    ),
    "refused-under-a-name-that-is-no-path": (check(), facts(refused={"sshd.[x": "no"}), Verdict.NOT_CHECKED),
    "the-collector-failed": (check(), facts(broken={"sshd": "KeyError: 'x'"}), Verdict.ERROR),
    "another-role": (check(roles=("control-plane",)), facts("yes"), Verdict.NOT_APPLICABLE),
    "this-role": (check(roles=("worker", "plain")), facts("yes"), Verdict.FAIL),
    "its-own-kernel": (check(where="own-kernel"), facts("yes"), Verdict.FAIL),
    "a-shared-kernel": (
        check(where="own-kernel"), facts("no", values={"node": {"shared_kernel": True}}), Verdict.NOT_CHECKED,
    ),
    "a-need-that-is-not-met": (
        check(needs=Need(path.parse("packages[x]"), expectation.parse({"present": True}), "no x")),
        facts("yes", values={"packages": {}}),
        Verdict.NOT_APPLICABLE,
    ),
    "one-of-two-facts-wrong": (
        check(["sysctl.live[a.b]", "sysctl.boot[a.b]"], expect={"equals": 1}),
        facts(values={"sysctl": {"live": {"a.b": "1"}, "boot": {"a.b": "0"}}}),
        Verdict.FAIL,
    ),
    "only-rows-that-are-meant": (
        check("users", rows=ROOT_ID, expect=ROOT_NAME),
        facts(values={"users": [{"uid": 0, "name": "root"}, {"uid": 1, "name": "bin"}]}),
        Verdict.PASS,
    ),
    "no-row-that-is-meant": (
        check("users", rows=ROOT_ID, expect=ROOT_NAME),
        facts(values={"users": [{"uid": 1, "name": "bin"}]}),
        Verdict.FAIL,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("one", "about", "wanted_"), CASES.values(), ids=CASES)
def test_a_check_ends_as_it_should(one: Check, about: Facts, wanted_: Verdict) -> None:
    found = verdict(one, about)
    assert found.verdict is wanted_
    if wanted_ in {Verdict.ERROR, Verdict.NOT_CHECKED, Verdict.NOT_APPLICABLE}:
        assert found.reason


def test_what_cannot_be_seen_in_a_container_says_so() -> None:
    found = verdict(check(where="own-kernel"), facts(values={"node": {"shared_kernel": True}}))
    assert found.reason == SHARED == "not verifiable here: shared kernel"


def test_a_section_that_is_missing_says_which_program_the_node_lacks() -> None:
    found = verdict(check("nft.chains", expect={"empty": False}), facts(values={"missing": {"nft": "/usr/sbin/nft"}}))
    assert found.reason == "/usr/sbin/nft is not on the node"


def test_what_was_observed_is_short_and_begins_with_what_offends() -> None:
    rows = [{"name": f"chain-{n}", "policy": "drop" if n < 200 else "accept"} for n in range(220)]
    one = check("nft.chains", expect={"each": {"fields": {"policy": {"equals": "drop"}}}})
    found = verdict(one, facts(values={"nft": {"chains": rows}}))
    assert found.observed.startswith('20 of 220: [{"name": "chain-200", "policy": "accept"}')
    assert len(found.observed) < 700


def test_levels_are_cumulative_and_a_check_may_be_stricter_than_its_control() -> None:
    low, high = check(id="NODE-SSH-001"), check(id="NODE-SSH-002", level="cl3")
    known = catalogue(low, high, GPK_SSH_001="cl2", GPK_SSH_002="cl3")
    assert known.level_of(low) == "cl2"
    assert [one.id for one in selected(known, "cl1")] == []
    assert [one.id for one in selected(known, "cl2")] == ["NODE-SSH-001"]
    assert [one.id for one in selected(known, "cl3")] == ["NODE-SSH-001", "NODE-SSH-002"]
    assert selected(known, "cl3", frozenset({"NODE-SSH-002"})) == [high]


# --- waivers ---


@pytest.mark.parametrize(
    "changes",
    [{}, {"subject": "node/isb-1"}, {"control": "NODE-SSH-001"}],
    ids=["the-host", "the-whole-site", "one-check"],
)
def test_an_approved_waiver_turns_a_fail_into_waived_and_is_shown(changes: dict[str, Any]) -> None:
    found = verdict(check(), facts("yes"), waivers=(waiver(**changes),))
    assert found.verdict is Verdict.WAIVED
    assert found.observed == "yes"
    assert found.reason == (
        "waiver old-appliance, approved by alice@ntc.example, proposed by dd@ntc.example, until 2027-01-31: "
        "until it is gone"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "node/isb-2"},
        {"subject": "node/isb-1/web-10"},
        {"subject": "node/isb-1/web"},
        {"control": "GPK-SSH-0"},
    ],
    ids=["another-site", "another-host", "part-of-a-name", "another-control"],
)
def test_a_waiver_of_something_else_changes_nothing(changes: dict[str, Any]) -> None:
    assert verdict(check(), facts("yes"), waivers=(waiver(**changes),)) == verdict(check(), facts("yes"))


def test_a_waiver_that_does_not_count_changes_no_verdict_and_is_named() -> None:
    found = verdict(check(), facts("yes"), waivers=(waiver(standing="it expired on 2026-10-01"),))
    assert found.verdict is Verdict.FAIL
    assert found.reason == "waiver old-appliance does not count: it expired on 2026-10-01"


def test_one_that_counts_wins_over_one_that_does_not() -> None:
    both = (waiver(name="old", standing="nobody has approved it"), waiver(name="new"))
    assert verdict(check(), facts("yes"), waivers=both).evidence["waiver"] == "new"


def test_a_waiver_for_what_passes_is_said_to_be_unneeded() -> None:
    found = verdict(check(), facts("no"), waivers=(waiver(),))
    assert found.verdict is Verdict.PASS
    assert found.reason == "waiver old-appliance is not needed here"


@pytest.mark.parametrize(
    "about", [facts(refused={"sshd": "no"}), facts(broken={"sshd": "no"})], ids=["refused", "broken"]
)
def test_what_was_not_seen_is_not_waived(about: Facts) -> None:
    assert verdict(check(), about, waivers=(waiver(),)).verdict is not Verdict.WAIVED


# --- hosts ---


def told(**changes: Any) -> list[Finding]:
    seen = {
        "ports": {"open": [22, 23], "closed": [], "silent": []},
        "ssh": {"banner": "SSH-2.0-x", "kex": ["a"], "host_keys": [], "ciphers": ["aes", "3des"], "macs": ["m"]},
        "tls": [],
    }
    self_, out = check(), check("outside.ports.open", id="NODE-FWL-001", expect={"subset_of": [22]})
    both = check("outside.ports.unexpected", id="NODE-FWL-002", expect={"empty": True})
    host = next(one for one in site().spec.hosts if one.name == "web-1")
    one = Gathered(**{"host": host, "facts": None, "seconds": 0.1, "seen": seen} | changes)
    return findings(one, [self_, out, both], catalogue(self_, out, both), HOST)


def verdicts(found: list[Finding]) -> dict[str, str]:
    return {one.id: one.verdict.value for one in found}


def test_a_host_that_answers_is_judged_by_its_words_and_by_what_is_seen() -> None:
    said = facts("no", values={"listening": [{"protocol": "tcp", "port": 22}]})
    found = told(facts=said)
    assert verdicts(found) == {
        "NODE-000": "pass", "NODE-SSH-001": "pass", "NODE-FWL-001": "fail", "NODE-FWL-002": "fail",
    }  # fmt: skip
    assert found[3].observed == "[23]"
    assert {one.id: one.evidence["source"] for one in found}["NODE-FWL-001"] == "seen from outside"


@pytest.mark.parametrize("kind", ["unreachable", "wrong-host-key"])
def test_what_answers_for_a_host_that_was_not_recognised_is_not_believed_from_outside_either(kind: Any) -> None:
    found = told(diagnosis=Diagnosis(kind, "it does not answer in time", "see that it runs"))
    assert set(verdicts(found).values()) == {"error", "not-checked"}
    assert found[0].reason == "see that it runs"


def test_a_host_that_lets_nobody_in_has_passed_nothing_and_is_still_seen_from_outside() -> None:
    found = told(diagnosis=Diagnosis("no-access", "it does not let gcloud-pk in", "offer the key"))
    assert verdicts(found) == {
        "NODE-000": "error", "NODE-SSH-001": "not-checked", "NODE-FWL-001": "fail", "NODE-FWL-002": "not-checked",
    }  # fmt: skip


def test_where_nothing_spoke_ssh_from_outside_its_algorithms_are_not_checked() -> None:
    one = check("outside.ssh.ciphers", expect={"lacks": ["3des"]})
    host = site().spec.hosts[0]
    seen: dict[str, Any] = {"ports": {"open": [22], "closed": [], "silent": []}, "ssh": None, "tls": []}
    gathered_ = Gathered(host, facts(), 0.1, seen)
    (_, found) = findings(gathered_, [one], catalogue(one), HOST)
    assert found.verdict is Verdict.NOT_CHECKED


def test_a_host_that_lets_no_auditor_in_may_not_be_hardened_yet() -> None:
    found = told(diagnosis=Diagnosis("no-access", "it does not let gcloud-pk in", "offer the key"))
    assert "--user USER" in str(found[0].reason)


def test_a_host_that_sends_what_no_honest_collector_sends_has_only_errors() -> None:
    found = told(dishonest="more than 4194304 bytes")
    assert verdicts(found)["NODE-SSH-001"] == "error"
    assert "it sent what no honest collector sends" in str(found[1].reason)


def test_an_answer_to_another_question_is_dishonest() -> None:
    from gcloud_pk.nodes.call import Answer

    host = site().spec.hosts[0]
    old = b'\ngcloud-pk facts {"version": 1, "nonce": "of-yesterday", "facts": {}}\n'
    assert gathered(site(), host, [check()], lambda *_: Answer(old)).dishonest


def test_what_one_host_said_is_no_answer_of_another() -> None:
    from gcloud_pk.nodes.call import Answer
    from gcloud_pk.nodes.collector import MARK

    one, other = site().spec.hosts[:2]
    node = {"os": {}, "kernel": "6.1", "virtualization": "none", "shared_kernel": False}
    sent: list[bytes] = []

    def honest(_: Any, program: bytes) -> Answer:
        request = json.loads(program.decode().rpartition("json.loads('")[2].rpartition("'")[0])
        document = {
            "version": 1, "nonce": request["nonce"], "facts": {"node": node}, "refused": {}, "broken": {},
        }  # fmt: skip
        sent.append(f"\n{MARK}{json.dumps(document)}\n".encode())
        return Answer(sent[-1])

    assert gathered(site(), one, [check()], honest).facts
    replayed = gathered(site(), other, [check()], lambda *_: Answer(sent[0]))
    assert replayed.facts is None
    assert replayed.dishonest == "an answer to another question than was asked"


def _many(number: int) -> list[Check]:
    return [check(f"sysctl.live[net.ipv4.k{n}]", id=f"NODE-KRN-{n:03}") for n in range(number)]


@pytest.mark.parametrize(
    ("refused", "number", "observed"),
    [
        ({"sysctl": "no"}, 12, "the node withholds what 12 of 13 checks rest on"),
        (dict.fromkeys([f"sysctl.live[net.ipv4.k{n}]" for n in range(11)], "no"), 20,
         "the node withholds what 11 of 21 checks rest on"),
        ({"sysctl": "no"}, 3, None),
        (dict.fromkeys([f"sysctl.live[net.ipv4.k{n}]" for n in range(10)], "no"), 20, None),
        ({}, 12, None),
    ],
    ids=["a-section", "one-by-one", "few", "not-most", "nothing"],
)  # fmt: skip
def test_a_node_that_withholds_most_of_what_it_is_asked_is_an_error_of_its_own(
    refused: dict[str, str], number: int, observed: str | None
) -> None:
    checks = [check(), *_many(number)]
    host = site().spec.hosts[0]
    found = findings(Gathered(host, facts(refused=refused), 0.1), checks, catalogue(*checks), HOST)
    said = [one for one in found if one.id == TELLS]
    assert found[0].verdict is Verdict.PASS
    assert [one.observed for one in said] == ([observed] if observed else [])
    assert all(one.verdict is Verdict.ERROR and one.evidence["source"] == SELF for one in said)


def test_what_is_not_asked_of_a_node_it_does_not_withhold() -> None:
    host = site().spec.hosts[0]
    checks = [check(), *(replace(one, where="own-kernel") for one in _many(20))]
    about = facts(refused={"sysctl": "no"}, values={"node": {"shared_kernel": True}})
    found = findings(Gathered(host, about, 0.1), checks, catalogue(*checks), HOST)
    assert TELLS not in verdicts(found)


def test_the_program_that_is_sent_names_what_the_checks_want_and_says_who_is_who() -> None:
    from gcloud_pk.nodes.gather import program

    checks = [
        check("sysctl.live[net.ipv4.ip_forward]"), check("paths[/etc/shadow].mode", id="NODE-FIL-001"),
        check("units[ssh.service].active", id="NODE-SRV-001"), check("modules.blocked[dccp]", id="NODE-MOD-001"),
        check("units_enabled", id="NODE-SRV-002"),
    ]  # fmt: skip
    assert wanted(checks) == {
        "sysctl": ["net.ipv4.ip_forward"], "paths": ["/etc/shadow"], "units": ["ssh.service"], "modules": ["dccp"],
    }  # fmt: skip
    sent = program(site().spec.ssh, checks, "nonce").decode()
    assert '"net.ipv4.ip_forward"' in sent.splitlines()[-1]
    compile(sent, "collector", "exec")
