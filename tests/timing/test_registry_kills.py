"""kill -9 before every single step of every write to a registry: the old state or the new one, never half.

The act runs in a child process that counts what it asks of the operating system within the registry, and kills itself
before the n-th step, for each n until the act is done. What is left must be whole: each file as it was or complete, the
registry without a problem that was not there before. Then the same act, run again, must complete and tidy up.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from tests.unit.registry_world import World, make_keys, make_world, request_of, waiver

from gcloud_pk.main import main
from gcloud_pk.registry import approvers, documents, files, signatures, suspension
from gcloud_pk.registry.approvers import APPROVAL
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.history import read as read_history
from gcloud_pk.registry.suspension import Saved

NOT_REACHED = 0
STEPS = ("open", "replace", "rename", "unlink", "mkdir", "rmdir", "fsync", "fchmod", "fdopen")
"""What a write asks of the operating system, as Python names it; what only reads is not counted."""


def reads(name: str, rest: tuple[Any, ...]) -> bool:
    return (name == "open" and not rest[0] & os.O_CREAT) or (name == "fdopen" and rest[0] != "wb")


def killed_before(step: int, root: Path) -> None:
    """Count the steps within `root`, and kill this process before the one of that number."""
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *rest: Any, **options: Any) -> Any:
            nonlocal count
            path = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else os.fspath(target)
            if str(path).startswith(str(root)) and not reads(real.__name__, rest):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(target, *rest, **options)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def in_a_child(act: Callable[[], int], step: int, root: Path) -> int:
    """Run an act in a process of its own; return its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                if step:
                    killed_before(step, root)
                code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def cli(words: str) -> Callable[[World], int]:
    def act(world: World) -> int:
        where = ["--registry", str(world.path), "--trust", str(world.trust)]
        return main([*where, *words.format(root=world.root, keys=world.keys).split(" ")])

    return act


def state(tenant: str, name: str, key: str | None) -> Callable[[World], int]:
    def act(world: World) -> int:
        signed = world.keys / key if key else None
        world.registry().set_state(tenant, name, "operator", "why", signed)  # type: ignore[arg-type]
        return 0

    return act


def recorded(world: World) -> int:
    world.registry().record("moitt", "verify", "operator", cluster="c", detail={"pass": 3}, once=True)
    return 0


def kept(world: World) -> int:
    world.registry().keep("nadra")
    return 0


def taken_over(world: World) -> int:
    """Save what a suspension takes, over what it had saved before."""
    suspension.put(world.registry(), "itd", Saved("itd", "c", "quarantined", (binding("a"), binding("b"))))
    return 0


def given_back(world: World) -> int:
    suspension.clear(world.registry(), "itd", refused=Saved("itd", "c", "suspended", (binding("b"),)))
    return 0


def binding(name: str) -> dict[str, Any]:
    return {"kind": "RoleBinding", "metadata": {"namespace": "itd-eoffice-prod", "name": name}}


def registered(world: World) -> int:
    from gcloud_pk.registry.registration import register_cluster

    uid = "00000000-0000-0000-0000-000000000001"
    register_cluster(world.path, world.registry().sites["isb-1"], uid)
    return 0


WAIVER = (
    "waiver propose new --control GPK-IMG-01 --tenant moitt --environment eoffice-prod --workload Deployment/new "
    "--allow docker.io/library/new:1 --reason vendor --author dd@moitt.gov.pk --expires {day}"
).format(day=dict(line.split(": ", 1) for line in waiver("x").decode().splitlines())["expires"])

SIGN = cli("registry sign --key {keys}/keeper")

# Name → (act, exit codes of the same act once more: done, or refused because it is done already).
ACTS: dict[str, tuple[Callable[[World], int], set[int]]] = {
    "registry sign": (SIGN, {0}),
    "request submit": (cli("request submit {root}/outside/new.yaml --key {keys}/carol"), {0}),
    "request approve, the last that is needed": (cli("request approve nadra --yes --key {keys}/bob"), {0}),
    "request reject, signed": (cli("request reject nadra --reason no --key {keys}/bob"), {0}),
    "a request kept": (kept, {0}),
    "suspended, unsigned, over a signed state": (state("itd", "suspended", None), {0}),
    "suspended, signed": (state("moitt", "suspended", "bob"), {0}),
    "active, signed": (state("itd", "active", "bob"), {0}),
    "offboarded": (state("moitt", "offboarded", None), {0}),
    "an act recorded": (recorded, {0}),
    "what a suspension takes, saved": (taken_over, {0}),
    "what a suspension took, given back": (given_back, {0}),
    "a cluster registered": (registered, {0}),
    "organisation add": (cli("organisation add NEW --name-en New --tier federal --domain new.gov.pk"), {0, 3}),
    "organisation add --sign": (
        cli("organisation add NEW --name-en New --tier federal --domain new.gov.pk --sign {keys}/keeper"), {0, 3, 4}
    ),
    "approver add": (cli("approver add dave@ntc.example {keys}/stranger.pub"), {0}),
    "approver revoke": (cli("approver revoke expired@ntc.example --reason left"), {0, 5}),
    "waiver propose": (cli(WAIVER), {0}),
    "waiver approve": (cli("waiver approve queue --yes --key {keys}/alice"), {0}),
    "waiver expire": (cli("waiver expire portal --reason over"), {0}),
    "registry init": (
        cli("registry init {root}/made --approver a@ntc.example={keys}/alice.pub --organisations "
            "{root}/registry/organisations.yaml"), {0, 4}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> World:
    folder = tmp_path_factory.mktemp("kills")
    world = make_world(folder / "original", make_keys(folder / "keys", keys))
    request = request_of("moitt", ("revision: 3", "revision: 4"), ("pods: 50", "pods: 51"))
    (world.outside / "new.yaml").write_bytes(request)
    return world


def prepared(original: World, root: Path, name: str) -> World:
    world = original.copied(root)
    if name == "a request kept":
        data = (world.tenant("nadra") / "request.yaml").read_bytes()
        world.put("tenants/nadra/approvals/bob@ntc.example.sig", world.sign(data, "bob", APPROVAL))
    if "suspension" in name:
        suspension.put(world.registry(), "itd", Saved("itd", "c", "suspended", (binding("a"),)))
    return world


def contents(root: Path) -> dict[str, bytes]:
    """Return every file by its path, without what a killed writer left of its own."""
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if path.is_file() and not any(part.startswith(files.TEMPORARY) for part in name.parts):
            found[str(name)] = path.read_bytes()
    return found


def left_over(root: Path) -> list[str]:
    return [str(path) for path in root.rglob(f"{files.TEMPORARY}*")]


def half(name: str, data: bytes, before: bytes | None) -> str | None:
    """Return why a file is not whole, or None."""
    if name.endswith((".sig", ".sha256", "approvers", ".jsonl")) and not data.endswith(b"\n"):
        return "ends in the middle of a line"
    if name.endswith(".sig"):
        signatures.envelope(data)
    elif name.endswith(".json"):
        suspension.of(data, name)
    elif name.endswith(".yaml"):
        documents.parse(data, name)
    elif name.endswith("approvers"):
        return "; ".join(map(str, approvers.parse(data, name).problems)) or None
    elif name.endswith(".jsonl"):
        if before and not data.startswith(before):
            return "has lost lines"
        chain = read_history(data, name, Path(name).parent.name, dt.datetime.now(dt.UTC))
        return "; ".join(map(str, chain.problems)) or None
    return None


STATE = "state.yaml"


def closed(world: World) -> bool:
    """Whether no tenant is active whose state cannot be believed."""
    registry = world.registry()
    doubted = {name for name in registry.tenants for one in registry.problems if f"/{name}/{STATE}" in str(one)}
    return all(registry.standing(registry.entry(name)).state != "active" for name in doubted)


def problems(path: Path) -> set[str]:
    registry = Registry.open(path)
    return {str(found).replace(str(path), "") for found in registry.problems}


@pytest.mark.parametrize("name", ACTS)
def test_killed_before_any_step_it_leaves_the_old_or_the_new_and_completes_when_run_again(
    original: World, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, again = ACTS[name]
    scratch = tmp_path / "scratch"  # where a killed child leaves what it gave to ssh-keygen
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before: dict[str, bytes] = {}
    wrong: set[str] = set()
    steps = 0
    while True:
        steps += 1
        world = prepared(original, tmp_path / "w", name)
        if steps == 1:
            before, wrong = contents(world.root), problems(world.path)
        code = in_a_child(lambda: act(world), steps, world.root)  # noqa: B023 - called in this round
        if code != -signal.SIGKILL:
            break
        after = contents(world.root)
        assert {file for file in before if file not in after} <= {
            "registry/tenants/moitt/request.yaml.sig",
            "registry/tenants/moitt/approvals/alice@ntc.example.sig",  # superseded, and kept in history/
            "registry/tenants/itd/state.yaml.sig",
            "registry/tenants/itd/suspended/bindings.json",
        }
        changed = {file: data for file, data in after.items() if before.get(file) != data}
        broken = {file: why for file, data in changed.items() if (why := half(file, data, before.get(file)))}
        assert broken == {}, f"step {steps}"
        found = problems(world.path) - wrong
        assert {one for one in found if STATE not in one} == set(), f"step {steps}: {changed.keys()}"
        # A state and its signature are two files: in between it is closed, and never more open than asked.
        assert not found or closed(world), f"step {steps}"
        code = in_a_child(lambda: act(world), NOT_REACHED, world.root)  # noqa: B023
        assert code in again, f"step {steps}: exit {code}"
        if code and "--sign" in name:  # written and not signed: nobody acts on it until a keeper has looked
            assert in_a_child(lambda: SIGN(world), NOT_REACHED, world.root) == 0  # noqa: B023
        assert problems(world.path) <= wrong
        assert left_over(world.root) == [], f"step {steps}"
        shutil.rmtree(world.root)
    assert code == 0
    assert problems(tmp_path / "w" / ("made" if name == "registry init" else "registry")) == set()
    assert steps > 5
