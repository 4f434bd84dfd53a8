"""What starts by itself, what packages brought, and what the next boot loads: read from texts."""

from __future__ import annotations

import pytest

from gcloud_pk.nodes import collector

LIVE = """\
table inet gcloud_pk {
\tchain input {
\t\ttype filter hook input priority 0; policy drop;
\t\tip saddr { 10.7.0.0/24, 10.8.0.0/16 } tcp dport 22 accept comment "SSH"
\t\tip saddr 10.7.0.0/24 meta l4proto ipencap accept
\t\tcounter drop comment "the rest"
\t}
}
"""

BOOT = """\
#!/usr/sbin/nft -f
table inet gcloud_pk
delete table inet gcloud_pk

table inet gcloud_pk {
    chain input {
        type filter hook input priority filter; policy drop;
        ip saddr { 10.8.0.0/16, 10.7.0.0/24 } tcp dport { 22 } accept comment "SSH"
        ip saddr { 10.7.0.0/24 } meta l4proto 4 accept
        counter drop comment "the rest"
    }
}
"""


def drift(boot: str) -> list[str]:
    return collector.drift([line.strip() for line in boot.splitlines()], collector.ruleset(LIVE))


def test_a_file_that_says_the_same_in_other_words_does_not_differ_from_what_is_in_force() -> None:
    assert drift(BOOT) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("policy drop", "policy accept", "chain at boot only: input input accept rules: 3"),
        ("counter drop", "accept", "rule at boot only: input: accept"),
        (
            "10.8.0.0/16, ",
            "0.0.0.0/0, ",
            "rule at boot only: input: ip saddr { 0.0.0.0/0, 10.7.0.0/24 } tcp dport 22 accept",
        ),
        ("#!/usr/sbin/nft -f", 'include "/etc/other"', 'beside the table: include "/etc/other"'),
        (
            "        counter",
            "        tcp dport 1 drop\n        counter",
            "chain at boot only: input input drop rules: 4",
        ),
    ],
)
def test_what_the_next_boot_changes_is_told(before: str, after: str, told: str) -> None:
    assert before in BOOT
    assert told in drift(BOOT.replace(before, after))


def test_what_stands_after_the_table_is_told() -> None:
    assert drift(BOOT + "add rule inet gcloud_pk input accept\n") == [
        "beside the table: add rule inet gcloud_pk input accept"
    ]
    assert drift(BOOT + "delete table inet gcloud_pk\n") == ["beside the table: delete table inet gcloud_pk"]
    assert drift("") != []


def test_the_shape_of_a_rule_keeps_what_it_matches_and_not_whom_it_lets_in() -> None:
    assert [row["shape"] for row in collector.ruleset(LIVE)["rules"]] == [
        "ip saddr S tcp dport 22 accept",
        "ip saddr S meta l4proto ipencap accept",
        "counter drop",
    ]
    assert collector.ruleset(LIVE)["rules"][0]["sources"] == ["10.7.0.0/24", "10.8.0.0/16"]


def test_files_of_packages_are_known_by_list_digest_and_as_conffiles() -> None:
    digest, other = "a" * 32, "b" * 32
    owned, digests = collector.packaged(
        ["/.\n/bin/login\n"], [f"{digest}  lib/x.so\n"], f"Conffiles:\n /etc/crontab {other}\n"
    )
    assert {"/usr/bin/login", "/usr/lib/x.so", "/etc/crontab"} <= owned
    assert digests == {"/usr/lib/x.so": digest, "/etc/crontab": other}


def test_diversions_that_a_person_made_have_no_package() -> None:
    text = "/bin/sh\n/bin/sh.distrib\ndash\n/usr/bin/x\n/usr/bin/x.real\n:\n"
    assert collector._diverted(text) == ["/bin/sh dash", "/usr/bin/x :"]


def test_what_apt_starts_is_told_whatever_name_its_option_has() -> None:
    lines = [
        'DPkg::Post-Invoke "";',
        'DPkg::Post-Invoke:: "one";',
        'APT::Update::Post-Invoke-Success::name "two";',
        'Acquire::http::Proxy-Auto-Detect "three";',
        'CommandLine::AsString "apt-config dump";',
        'APT::Get::Assume-Yes "true";',
    ]
    assert collector.apt_programs(lines) == [
        "acquire::http::proxy-auto-detect three",
        "apt::update::post-invoke-success::name two",
        "dpkg::post-invoke:: one",
    ]


@pytest.mark.parametrize(
    ("excluded", "blind"),
    [
        (["/etc/mtab$", "/usr/src", "/etc/cni/net\\.d"], []),
        (["/usr/lo[c]al"], ["/usr/local/bin/x"]),
        (["/root f"], ["/root/.ssh/authorized_keys", "/root/x"]),
        (["/(etc"], ["/(etc"]),
    ],
)
def test_an_exclusion_that_hides_programs_or_settings_is_told(excluded: list[str], blind: list[str]) -> None:
    assert collector.aide_blind(excluded) == blind


def test_messages_that_are_thrown_away_are_found_and_those_that_only_pass_through_are_not() -> None:
    from gcloud_pk.nodes.catalogue import standard

    check = standard().checks["NODE-LOG-120"].expect
    assert check.met(["local6.* stop", "*.* -/var/log/syslog", "# nothing"])
    for line in ("& stop", "auth.* stop", ':msg, contains, "x" ~', "if $x then { stop }", "*.* /dev/null"):
        assert not check.met([line]), line
