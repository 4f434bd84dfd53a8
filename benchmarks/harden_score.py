"""Referees of others on a lab node, plain and hardened: OpenSCAP (ANSSI BP-028 high, NT-28 restrictive) and Lynis.

    make harden-score                                   a lab node, plain, then as `node harden` leaves it
    python -m benchmarks.harden_score --rules           every rule that is not passed, with the reason
    python -m benchmarks.harden_score --reach "ssh -F ssh_config node-1"       a node that is there, as it is

Needs root for the lab (see `gcloud-pk lab nodes doctor`). Count the passes of a fixed set of rules: a percentage rises
when a package is missing, because its rules are then "not applicable". A rule that fails and for which
policies/controls/referees.yaml has no reason is open; a run in which no rule applied is an error.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import hashlib
import io
import json
import shlex
import subprocess
import sys
import tarfile
import textwrap
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gcloud_pk import paths

CLI = Path(sys.executable).parent / "gcloud-pk"
LAB = "score"

CONTENT = "https://deb.debian.org/debian/pool/main/s/scap-security-guide/ssg-debian_0.1.76-1_all.deb"
CONTENT_SHA256 = "f6880719015c16e8e221bc2503c0e5a9f83d6a09fc6f9292d3522e46bf4fc9d7"
DATASTREAM = "usr/share/xml/scap/ssg/content/ssg-debian12-ds.xml"
PROFILES = {"BP-028 high": "anssi_bp28_high", "NT-28 restrictive": "anssi_np_nt28_restrictive"}

ANCHORS = (
    # State of the node; pass and fail of the profiles, in their order; Lynis. Measured on the same image by the same
    # tools; the results of DEBIAN12-CIS for BP-028 were not kept.
    ("plain + linux-base", (110, 167), (23, 19), 59),
    ("dev-sec os + ssh", (141, 187), (26, 17), 74),
    ("DEBIAN12-CIS", None, (24, 18), 62),
    ("oscap --remediate", (202, 136), (35, 12), 69),
)

SETUP = """
umask 077
mkdir -p /root/referee && cd /root/referee
cat > ds.xml.gz && gunzip -f ds.xml.gz
command -v oscap >/dev/null && command -v lynis >/dev/null && exit
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends openscap-scanner lynis >apt.log 2>&1 || {
    tail -5 apt.log >&2; exit 1; }
"""
OSCAP = """
cd /root/referee
oscap xccdf eval --profile {profile} ds.xml 2>errors; code=$?
test $code -le 2 || {{ tail -5 errors >&2; exit 1; }}
"""
LYNIS = """
cd /root/referee
lynis audit system --quick --quiet --no-colors --logfile lynis.log --report-file lynis.dat >/dev/null 2>&1
cat lynis.dat
"""


@dataclass(frozen=True)
class Score:
    """What the referees said of a node. `rules`: profile → rule → result."""

    rules: dict[str, dict[str, str]]
    lynis: int

    def count(self, profile: str, result: str) -> int:
        """Return how many rules of a profile had a result."""
        return sum(one == result for one in self.rules[profile].values())


@dataclass(frozen=True)
class Reason:
    """Why a rule of a referee is not passed."""

    reason: str
    why: str
    control: str | None


OPEN = Reason("open", "nobody said why", None)


def results_of(text: str) -> dict[str, str]:
    """Return rule → result of what `oscap xccdf eval` prints."""
    found: dict[str, str] = {}
    rule = ""
    for line in text.replace("\r", "").split("\n"):
        name, _, value = line.partition("\t")
        if name == "Rule":
            rule = value.strip().rpartition("content_rule_")[2]
        elif name == "Result" and rule:
            found[rule] = value.strip()
    return found


def judged(profile: str, rules: Mapping[str, str]) -> None:
    """Exit when a run says nothing: no rules, or none that applied, which oscap takes for success."""
    if not any(one in {"pass", "fail"} for one in rules.values()):
        raise SystemExit(f"{profile}: none of {len(rules)} rules applied to the node; the content is not for it")


def reasons() -> list[tuple[str, Reason]]:
    """Return pattern → reason, in the order of the file."""
    document = yaml.safe_load(paths.data("policies", "controls", "referees.yaml").read_text(encoding="utf-8"))
    return [
        (pattern, Reason(entry["reason"], entry["why"], entry.get("control")))
        for entry in document["reasons"]
        for pattern in entry["rules"]
    ]


def reason_of(rule: str, known: list[tuple[str, Reason]]) -> Reason | None:
    """Return why a rule is not passed, None if nobody said."""
    return next((reason for pattern, reason in known if fnmatch.fnmatchcase(rule, pattern)), None)


def datastream() -> bytes:
    """Return the content, from the cache or from Debian's archive; exits when its digest is not the pinned one."""
    kept = paths.cache("referees", Path(CONTENT).name)
    if not kept.is_file() or hashlib.sha256(kept.read_bytes()).hexdigest() != CONTENT_SHA256:
        print(f"fetching {CONTENT}", file=sys.stderr)
        with urllib.request.urlopen(CONTENT, timeout=60) as answer:
            package = answer.read()
        if (digest := hashlib.sha256(package).hexdigest()) != CONTENT_SHA256:
            raise SystemExit(f"{CONTENT}: refused, its SHA-256 is {digest}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(".part")
        temporary.write_bytes(package)
        temporary.replace(kept)
    with tarfile.open(fileobj=io.BytesIO(member(kept.read_bytes(), "data.tar.xz")), mode="r:xz") as archive:
        file = archive.extractfile(f"./{DATASTREAM}")
        if file is None:
            raise SystemExit(f"{kept}: it holds no {DATASTREAM}")
        return file.read()


def member(archive: bytes, name: str) -> bytes:
    """Return a member of an ar(5) archive, which a Debian package is."""
    at = 8
    while at + 60 <= len(archive):
        header = archive[at : at + 60]
        size = int(header[48:58])
        if header[:16].decode().strip().rstrip("/") == name:
            return archive[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise SystemExit(f"the package holds no {name}")


def on_node(reach: list[str], script: str, sent: bytes = b"") -> str:
    """Run a script as root on the node; return what it printed."""
    command = [*reach, f"sudo -n sh -c {shlex.quote(script)}"]
    done = subprocess.run(command, input=sent, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(reach)}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


def measured(reach: list[str], content: bytes) -> Score:
    """Let the referees look at a node; `reach` is the command that runs another there."""
    on_node(reach, SETUP, gzip.compress(content, 1))
    rules = {}
    for title, profile in PROFILES.items():
        rules[title] = results_of(on_node(reach, OSCAP.format(profile=profile)))
        judged(title, rules[title])
    report = on_node(reach, LYNIS)
    index = next((line for line in report.splitlines() if line.startswith("hardening_index=")), "hardening_index=0")
    return Score(rules, int(index.partition("=")[2]))


def cli(*arguments: str | Path) -> dict[str, Any]:
    """Run our own program; return its document."""
    done = subprocess.run([CLI, *arguments, "--format", "json"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"gcloud-pk {' '.join(map(str, arguments))}: exit {done.returncode}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@contextmanager
def lab(keep: bool) -> Iterator[dict[str, Any]]:
    """Bring up one plain node, and remove it afterwards; yields what `lab nodes status` says."""
    cli("lab", "nodes", "up", "--name", LAB, "--count", "1", "--racks", "1", "--fresh")
    try:
        yield cli("lab", "nodes", "status", "--name", LAB)
    finally:
        if not keep:
            cli("lab", "nodes", "down", "--name", LAB, "--purge")


def with_log_host(said: Mapping[str, Any]) -> None:
    """Give the lab's site a log host, as every site of ours has one, and sign the registry anew."""
    site = Path(said["registry"]) / "sites" / f"{said['site']}.yaml"
    document = yaml.safe_load(site.read_text(encoding="utf-8"))
    document["spec"]["logHost"] = "10.207.0.1"
    site.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    cli("--registry", said["registry"], "registry", "sign", "--key", said["keeper"]["key"])


def table(scores: Mapping[str, Score]) -> Iterator[str]:
    """Yield the lines of the comparison."""
    yield f"{'':22}{'BP-028 high':>22}{'NT-28 restrictive':>22}{'Lynis':>8}"
    yield f"{'':22}{'pass  fail   n/a':>22}{'pass  fail   n/a':>22}{'index':>8}"
    for name, high, restrictive, lynis in ANCHORS:
        cells = [
            f"{one[0]:>10}{one[1]:>6}{'':>6}" if one else f"{'-':>10}{'-':>6}{'':>6}" for one in (high, restrictive)
        ]
        yield f"{name:22}{cells[0]}{cells[1]}{lynis:>8}"
    for name, score in scores.items():
        cells = [
            "".join(
                f"{score.count(one, result):>{10 if result == 'pass' else 6}}"
                for result in ("pass", "fail", "notapplicable")
            )
            for one in PROFILES
        ]
        yield f"{name:22}{cells[0]}{cells[1]}{score.lynis:>8}"


def not_passed(score: Score, *, every: bool) -> Iterator[str]:
    """Yield what is not passed, by reason; each rule only with `every`, and where it is open."""
    known = reasons()
    for profile, rules in score.rules.items():
        groups: dict[Reason, list[str]] = {}
        for rule, result in sorted(rules.items()):
            if result not in {"pass", "notapplicable"}:
                groups.setdefault(reason_of(rule, known) or OPEN, []).append(rule)
        yield f"\n{profile}: {sum(map(len, groups.values()))} not passed"
        for reason, names in sorted(groups.items(), key=lambda one: one[0].reason):
            control = f" ({reason.control})" if reason.control else ""
            yield f"  {len(names):>3}  {reason.reason}{control}: {reason.why}"
            if every or reason is OPEN:
                yield from textwrap.wrap(", ".join(names), 110, initial_indent=" " * 7, subsequent_indent=" " * 7)


def main() -> None:
    """Measure, and print the table beside the anchors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reach", help="the command that runs others on a node that is there; no lab is made")
    parser.add_argument("--level", default="cl3", help="level to harden to")
    parser.add_argument("--rules", action="store_true", help="name every rule that is not passed")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    arguments = parser.parse_args()
    content = datastream()
    scores = {}
    if arguments.reach:
        scores["this node"] = measured(shlex.split(arguments.reach), content)
    else:
        with lab(arguments.keep) as said:
            reach = ["ssh", "-F", said["ssh_config"], said["nodes"][0]["name"]]
            scores["plain"] = measured(reach, content)
            with_log_host(said)
            cli("--registry", said["registry"], "--trust", said["trust"],
                "node", "harden", "--site", said["site"], "--level", arguments.level, "--yes")  # fmt: skip
            scores[f"gcloud-pk {arguments.level}"] = measured(reach, content)
    print("\n".join([*table(scores), *not_passed(list(scores.values())[-1], every=arguments.rules)]))


if __name__ == "__main__":
    main()
