"""The comparison with referees of others: what counts as said, and what has no reason."""

from __future__ import annotations

import fnmatch
import itertools

import pytest
import yaml
from benchmarks import harden_score
from tests.unit.node_modules import PLAYBOOKS

PRINTED = """--- Starting Evaluation ---

Title\r\tUse AIDE
Rule\r\txccdf_org.ssgproject.content_rule_package_aide_installed
Result\r\tpass

Title\r\tA
Rule\r\txccdf_org.ssgproject.content_rule_sysctl_kernel_sysrq
Result\r\tnotapplicable
"""


def test_rules_and_their_results_are_read_from_what_oscap_prints() -> None:
    assert harden_score.results_of(PRINTED) == {
        "package_aide_installed": "pass",
        "sysctl_kernel_sysrq": "notapplicable",
    }


@pytest.mark.parametrize("rules", [{}, {"a": "notapplicable"}, {"a": "notapplicable", "b": "notchecked"}])
def test_a_run_in_which_no_rule_applied_is_an_error(rules: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="applied"):
        harden_score.judged("BP-028 high", rules)


def test_a_run_in_which_a_rule_failed_is_none() -> None:
    harden_score.judged("BP-028 high", {"a": "notapplicable", "b": "fail"})


def test_a_rule_that_fails_without_a_reason_is_open_and_named() -> None:
    rules = {"sysctl_net_ipv4_ip_forward": "fail", "something_new": "fail", "package_aide_installed": "pass"}
    lines = list(harden_score.not_passed(harden_score.Score({"BP-028 high": rules}, 80), every=False))
    text = "\n".join(lines)
    assert "2 not passed" in text
    assert "open" in text
    assert "something_new" in text
    assert "waiver (GPK-KRN-014)" in text
    assert "sysctl_net_ipv4_ip_forward" not in text


def test_each_waiver_is_a_control_that_a_role_proposes_to_waive() -> None:
    proposed = {
        yaml.safe_load(file.read_text(encoding="utf-8"))["control"] for file in PLAYBOOKS.glob("roles/*/waivers/*.yaml")
    }
    named = {reason.control for _, reason in harden_score.reasons() if reason.reason == "waiver"}
    assert None not in named
    assert named <= proposed


def test_no_rule_has_two_reasons() -> None:
    patterns = [pattern for pattern, _ in harden_score.reasons()]
    for one, other in itertools.permutations(patterns, 2):
        assert not fnmatch.fnmatchcase(one, other), f"{one} is covered by {other} too"


def test_a_member_of_a_debian_package_is_found() -> None:
    def header(name: str, size: int) -> bytes:
        return f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{size:<10}`\n".encode()

    archive = b"!<arch>\n" + header("debian-binary", 3) + b"2.0\n" + header("data.tar.xz/", 4) + b"DATA"
    assert harden_score.member(archive, "data.tar.xz") == b"DATA"
    with pytest.raises(SystemExit, match="holds no"):
        harden_score.member(archive, "control.tar.xz")
