"""docs/verify-by-hand.md, run as it stands: each check must hold, and fail where its thing is tampered with."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.registry_world import KEEPER, World, make_keys, make_world, request_of

from gcloud_pk.onboarding.serials import SERIALS
from gcloud_pk.registry import acts
from gcloud_pk.registry.approvers import APPROVAL, REQUEST, STATE, revocation_line

PAGE = Path(__file__).parents[2] / "docs" / "verify-by-hand.md"
HISTORY = "tenants/moitt/history.jsonl"
SIGNED_BY_ALICE = "tenants/moitt/approvals/alice@ntc.example.sig"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("jq", "ssh-keygen", "sha256sum"))),
    reason="jq, ssh-keygen or sha256sum is missing: the commands of docs/verify-by-hand.md were not run",
)


def blocks() -> dict[str, list[str]]:
    """Return the shell blocks of the page under their headings."""
    sections = re.split(r"^#+ (.*)\n", PAGE.read_text(), flags=re.MULTILINE)
    found = {
        head: re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for head, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    return {head: made for head, made in found.items() if made}


BLOCKS = blocks()
(BEGINNING,) = BLOCKS.pop("Verify by hand")
CHECKS = [(head, number) for head, made in BLOCKS.items() for number in range(len(made))]


@pytest.fixture(scope="module")
def original(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("by-hand")
    world = make_world(folder / "original", make_keys(folder / "keys", keys))
    tell_the_cluster(world)
    return world


def tell_the_cluster(world: World) -> None:
    """Write what `kubectl get` says of the tenant, and of the registry, after an onboarding."""
    last = (world.path / HISTORY).read_bytes().splitlines(keepends=True)[-1]
    digest = hashlib.sha256((world.tenant() / "request.yaml").read_bytes()).hexdigest()
    said = {"spec": {"requestDigest": digest}, "status": {"historyHead": hashlib.sha256(last).hexdigest()}}
    (world.root / "tenant.json").write_text(json.dumps(said))
    trusted = world.registry().trust(world.trust)
    annotations = {SERIALS: json.dumps({trusted.key: trusted.serial, "SHA256:gone": 99})}
    (world.root / "lease.json").write_text(json.dumps({"metadata": {"annotations": annotations}}))


@pytest.fixture
def world(original: World, tmp_path: Path) -> World:
    return original.copied(tmp_path / "w")


def run(world: World, head: str, number: int = 0) -> subprocess.CompletedProcess[str]:
    program = f"{BEGINNING}\n{BLOCKS[head][number]}"
    return subprocess.run(["sh", "-c", program], cwd=world.root, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(("head", "number"), CHECKS)
def test_a_check_of_the_page_holds_for_a_registry_that_is_in_order(world: World, head: str, number: int) -> None:
    done = run(world, head, number)
    assert done.returncode == 0, done.stdout + done.stderr


Change = Callable[[World], object]


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    return lambda w: w.put(HISTORY, b"".join(change((w.path / HISTORY).read_bytes().splitlines(keepends=True))))


def added(name: str, text: str) -> Change:
    return lambda w: w.put(name, (w.path / name).read_text() + text)


def in_turn(*changes: Change) -> Change:
    def change(w: World) -> None:
        for one in changes:
            one(w)

    return change


def approver(line: str) -> Change:
    def change(w: World) -> None:
        first = (w.path / "approvers").read_text().splitlines()[0].split(" ")
        stranger = (w.keys / "stranger.pub").read_text().split()
        key = " ".join(stranger[:2])
        w.put("approvers", (w.path / "approvers").read_text() + line.format(key=key, alice=" ".join(first[2:])) + "\n")

    return change


def by(key: str, name: str, over: str, namespace: str) -> Change:
    """Put a signature of a request or a state in the place of an honest one."""
    return lambda w: w.put(name, w.sign((w.path / over).read_bytes(), key, namespace))


REQUEST_YAML, STATE_YAML = "tenants/moitt/request.yaml", "tenants/itd/state.yaml"
PORTAL, BOBS = "waivers/portal.yaml", "waivers/portal.yaml.bob@ntc.example.sig"
SPACES = 'namespaces="gcloud-pk-approval"'

TAMPERED: dict[tuple[str, int], dict[str, Change]] = {
    ("Who signed the registry", 0): {
        "settings changed": added("settings.yaml", "\n"),
        "a site added": lambda w: shutil.copy(w.path / "sites/isb-1.yaml", w.path / "sites/khi-1.yaml"),
        "a site removed": lambda w: (w.path / "sites/isb-2.yaml").unlink(),
        "digests changed": in_turn(added("approvers", "\n"), World.list_anew),
        "signed by a stranger": lambda w: w.resign("stranger"),
        "signed for another purpose": lambda w: w.resign(namespace=APPROVAL),
        "counted twice": in_turn(added("registry.sha256", "# serial 9, 2026-11-20T12:00:00Z\n"), World.resign),
        "counted by nobody": in_turn(lambda w: w.edit("registry.sha256", "# serial", "# number"), World.resign),
    },
    ("Who may sign", 0): {
        "a wildcard": approver(f"*@ntc.example {SPACES} {{key}}"),
        "a list": approver(f"a,b {SPACES} {{key}}"),
        "an authority": approver(f"mallory cert-authority,{SPACES} {{key}}"),
        "no namespaces": approver("mallory {key}"),
        "every namespace": approver('mallory namespaces="gcloud-pk-*" {key}'),
        "a key twice": approver(f"mallory {SPACES} {{alice}}"),
        "a name twice": approver(f"alice@ntc.example {SPACES} {{key}}"),
    },
    ("The approvals of a request", 0): {
        "the request changed": added(REQUEST_YAML, "# more\n"),
        "a stranger's": by("stranger", "tenants/moitt/approvals/stranger.sig", REQUEST_YAML, APPROVAL),
        "another's name": by("bob", SIGNED_BY_ALICE, REQUEST_YAML, APPROVAL),
        "another purpose": by("alice", SIGNED_BY_ALICE, REQUEST_YAML, STATE),
        "expired at that time": by(
            "expired", "tenants/moitt/approvals/expired@ntc.example.sig", REQUEST_YAML, APPROVAL
        ),
        "not valid yet": by("future", "tenants/moitt/approvals/future@ntc.example.sig", REQUEST_YAML, APPROVAL),
        "no approval": lambda w: (w.path / SIGNED_BY_ALICE).unlink(),
    },
    ("The requester's signature", 0): {
        "the request changed": added(REQUEST_YAML, "# more\n"),
        "by who may not": by("alice", "tenants/moitt/request.yaml.sig", REQUEST_YAML, REQUEST),
        "an approval": by("carol", "tenants/moitt/request.yaml.sig", REQUEST_YAML, APPROVAL),
    },
    ("The state of a tenant", 0): {
        "changed": added(STATE_YAML, "# more\n"),
        "edited to active": lambda w: w.edit(STATE_YAML, "suspended", "active"),
        "of another tenant": lambda w: w.set_state(w.state("moitt"), "bob", "itd"),
        "an active from before": lambda w: w.set_state(
            w.state("itd", time="2026-01-31T09:00:00Z").replace(b"active", b'"active"').replace(b": itd", b': "itd"'),
            "bob",
            "itd",
        ),
        "by a stranger": by("stranger", f"{STATE_YAML}.sig", STATE_YAML, STATE),
        "unsigned": lambda w: (w.path / f"{STATE_YAML}.sig").unlink(),
    },
    ("Waivers", 0): {
        "another image": lambda w: w.edit(PORTAL, "portal:4.2", "miner:1"),
        "by a stranger": lambda w: w.approve_waiver("queue", "stranger"),
        "for another purpose": lambda w: w.approve_waiver("portal", "bob", APPROVAL),
        "no day of expiry": lambda w: w.edit(PORTAL, "expires: ", "expiry: "),
    },
    ("What was accepted", 0): {
        "a kept request changed": lambda w: kept(w, "request.yaml").write_bytes(b"x"),
        "a kept approval of something else": lambda w: kept(w, "approvals/*.sig").write_bytes(w.sign(b"x", "alice")),
        "kept under another digest": lambda w: kept(w, "request.yaml").parent.rename(
            w.tenant() / "history" / ("0" * 64)
        ),
    },
    ("The history, line by line", 0): {
        "a line changed": lines(lambda found: [found[0], found[1].replace(b"alice", b"bobby"), *found[2:]]),
        "a line removed": lines(lambda found: [found[0], *found[2:]]),
        "the first line removed": lines(lambda found: found[1:]),
        "two lines in another order": lines(lambda found: [found[0], found[2], found[1], *found[3:]]),
        "the last line truncated": lines(lambda found: [*found[:-1], found[-1][:-9]]),
        "another tenant's": lambda w: shutil.copy(w.tenant("itd") / "history.jsonl", w.path / HISTORY),
        "another end": lines(lambda found: [*found, found[-1].replace(b"alice", b"bobby")]),
        "a second beginning": lines(lambda found: [*found, found[0].replace(b"submit", b"reject")]),
    },
    ("The history, line by line", 1): {
        "another signature": by("alice", SIGNED_BY_ALICE, PORTAL, APPROVAL),
    },
    ("What the cluster says", 0): {
        "another request": added(REQUEST_YAML, "# more\n"),
        "a history shortened": lines(lambda found: found[:-1]),
        "a history written anew": lines(lambda found: [found[0].replace(b"submit", b"reject")]),
        "no history": lambda w: (w.path / HISTORY).unlink(),
    },
    ("What the cluster says", 1): {
        "last year's rules, validly signed": lambda w: [
            shutil.copy(w.outside / f"last-year-{name}", w.path / name)
            for name in ("approvers", "registry.sha256", "registry.sha256.sig")
        ],
        "no serial": lambda w: w.edit("registry.sha256", "# serial 2,", "# number 2,"),
        "nobody is trusted": lambda w: w.trust.write_text(""),
    },
}


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kept(world: World, pattern: str) -> Path:
    return next((world.tenant() / "history").glob(f"*/{pattern}"))


@pytest.mark.parametrize(
    ("check", "case"), [(check, case) for check, cases in TAMPERED.items() for case in cases], ids=str
)
def test_a_check_of_the_page_fails_where_its_thing_was_tampered_with(
    world: World, check: tuple[str, int], case: str
) -> None:
    TAMPERED[check][case](world)
    done = run(world, *check)
    assert done.returncode != 0, done.stdout + done.stderr


OVER: dict[str, tuple[Change, str]] = {
    "ended": (lambda w: w.put("waivers/portal.ended.yaml", "x"), "was ended"),
    "ended in history": (
        lambda w: w.registry().record(
            "moitt", "waiver", "bob", detail={"step": "ended", "digest": sha(w.path / PORTAL)}
        ),
        "was ended",
    ),
    "expired": (
        lambda w: w.put(PORTAL, re.sub(rb"expires: .*", b"expires: 2026-01-31", (w.path / PORTAL).read_bytes())),
        "expired",
    ),
}


@pytest.mark.parametrize("case", OVER)
def test_a_waiver_that_is_over_is_said_and_hides_no_other(world: World, case: str) -> None:
    end, said = OVER[case]
    world.approve_waiver("queue", "alice")
    end(world)
    done = run(world, "Waivers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{PORTAL} {said}: it counts no more" in done.stdout
    world.approve_waiver("queue", "stranger", principal="alice@ntc.example")
    assert run(world, "Waivers").returncode != 0


def revoke(world: World, name: str, reason: str) -> None:
    """Revoke a key, a while after what it signed: times are of whole seconds."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    found = (world.path / "approvers").read_text().splitlines()
    lines = [revocation_line(at, KEEPER, reason, one) if one.startswith(f"{name}@") else one for one in found]
    world.put("approvers", "\n".join(lines) + "\n")


@pytest.mark.parametrize("reason", ["left the service", 'lost: eve namespaces="x" was seen'])
def test_what_an_approver_signed_before_he_was_revoked_holds_though_another_approved_it_since(
    world: World, reason: str
) -> None:
    revoke(world, "alice", reason)
    revoke(world, "rsa3072", reason)
    while dt.datetime.now(dt.UTC) <= world.registry().approvers.revoked[1].time + dt.timedelta(seconds=1):
        time.sleep(0.1)
    acts.approve(world.registry(), world.registry().entry("moitt"), world.keys / "bob")
    for head in ("The approvals of a request", "What was accepted", "The requester's signature"):
        done = run(world, head)
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SIGNED_BY_ALICE} held then and counts no more" in run(world, "The approvals of a request").stdout
    past = world.registry().past(world.registry().entry("moitt"))
    assert (past.signatures, past.unchecked) == ((), ())
    # What was signed after the revocation does not.
    world.approve_by_hand("rsa3072")
    assert run(world, "The approvals of a request").returncode != 0


def test_the_approvals_hold_after_a_new_revision_was_submitted_and_approved(world: World) -> None:
    file = world.outside / "moitt.yaml"
    file.write_bytes(request_of("moitt", ("revision: 3", "revision: 4")))
    acts.submit(world.registry(), file)
    acts.approve(world.registry(), world.registry().entry("moitt"), world.keys / "bob")
    for head in ("The approvals of a request", "What was accepted"):
        done = run(world, head)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_check_of_the_page_is_tampered_with() -> None:
    assert set(TAMPERED) == set(CHECKS)


def test_the_page_uses_no_program_but_those_it_names() -> None:
    assert "gcloud-pk " not in "".join(block for made in BLOCKS.values() for block in made)
