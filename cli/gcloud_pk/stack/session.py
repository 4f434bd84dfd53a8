"""One site's stack, driven by the Automation API: look, carry out, recover; never two runs at a time.

The engine's own words are turned into this program's errors here. Pulumi is imported inside the functions.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcloud_pk.errors import ExitCode, GcloudPkError, PartialError, RefusedError, UnavailableError, WrongUsageError
from gcloud_pk.nodes import record
from gcloud_pk.programs import files
from gcloud_pk.stack import checkpoint, forgetting, leftovers, locks
from gcloud_pk.stack.backend import Place, environment
from gcloud_pk.stack.engine import Engine
from gcloud_pk.stack.plan import Plan, Step, is_entry, step_of
from gcloud_pk.text import number_of

if TYPE_CHECKING:
    from pulumi.automation import CommandResult, EngineEvent, Stack

    from gcloud_pk.stack.command import EngineCommand

PARALLEL = 200
"""Operations at a time: those that come together become one run of Ansible, which has its own limit."""

STUCK = 15.0
"""Seconds without anything under way after which an engine is ended that lost a resource which was to be replaced."""

PREVIEW = "GCLOUD_PK_PREVIEW"
"""Set where nothing may be written: a second wall before the machines."""

Program = Callable[[], None]


@dataclass(frozen=True)
class Told:
    """One thing that the engine told while it ran. `what`: begins, done, failed, says or error."""

    what: str
    step: Step | None = None
    name: str = ""
    kind: str = ""
    text: str = ""


@dataclass(frozen=True)
class Failure:
    """What failed, and why, as the provider said it."""

    kind: str
    name: str
    words: str

    def __str__(self) -> str:
        head = f"{self.name}: " if self.name else ""
        return self.words if self.words.startswith(head) else f"{head}{self.words}"


@dataclass
class Ended:
    """How a run of the engine ended. `tail`: the end of what it said, for one that failed without a reason.

    `entries`: changes of the state alone, of what stands for no machine and no cluster; `outputs`: the plain ones;
    `torn`: something that was to be replaced could not go.
    """

    done: list[Step] = field(default_factory=list)
    entries: int = 0
    begun: dict[str, Step] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    code: int = 0
    interrupts: int = 0
    tail: str = ""
    seconds: float = 0.0
    outputs: dict[str, Any] = field(default_factory=dict)
    torn: bool = False

    @property
    def written(self) -> bool:
        """Whether something was written: a step that is done, or one that failed or was stopped under way."""
        known = {failure.name for failure in self.failures if failure.kind == "Machine"}
        under_way = [step for step in self.begun.values() if not (step.kind == "Machine" and step.name in known)]
        return self.torn or any(step.op != "same" for step in [*self.done, *under_way])

    @property
    def exit_code(self) -> ExitCode:
        """Return the exit code (architecture: Errors)."""
        if self.code == 0 and not self.failures:
            return ExitCode.DONE
        if self.written:
            return ExitCode.PARTIAL
        return ExitCode.INTERRUPTED if self.interrupts else ExitCode.UNAVAILABLE


Tell = Callable[[Told], None]


@dataclass
class Session:
    """A site's stack, opened. Use `session()`, which holds the site's lock."""

    place: Place
    stack: Stack
    command: EngineCommand
    env: Mapping[str, str]
    say: Callable[[str], None]

    def preview(self, program: Program, racks: Mapping[str, str], *, plan: Path | None, refresh: bool = False) -> Plan:
        """Return what `up` would do; saved to `plan` for an `up` that does just that. `refresh`: look at every node."""
        steps: list[Step] = []

        def listen(told: Told) -> None:
            if told.what == "begins" and told.step is not None:
                steps.append(told.step)

        ended = self._look(
            lambda hear: self.stack.preview(
                program=program, plan=str(plan) if plan else None, refresh=refresh, on_event=hear, color="never"
            ),
            listen,
            program_runs=True,
        )
        self._expect(ended, "the plan could not be made")
        return Plan(tuple(steps), racks, ended.entries)

    def up(self, program: Program, tell: Tell, *, plan: Path | None, parallel: int = PARALLEL) -> Ended:
        """Carry the plan out; a plan that the site or its state has left behind is refused by the engine."""
        return self._run(
            lambda hear: self.stack.up(
                program=program,
                plan=str(plan) if plan else None,
                parallel=parallel,
                continue_on_error=True,
                on_event=hear,
                color="never",
                suppress_outputs=True,
            ),
            tell,
            program_runs=True,
        )

    def refresh(self, program: Program, tell: Tell, *, parallel: int = PARALLEL) -> Ended:
        """Look at every node, as the site has it now, and write down what is there."""
        return self._run(
            lambda hear: self.stack.refresh(
                program=program,
                run_program=True,  # or it would be the site as the last run had it
                parallel=parallel,
                on_event=hear,
                color="never",
                suppress_outputs=True,
            ),
            tell,
            program_runs=True,
        )

    def preview_destroy(self, racks: Mapping[str, str]) -> Plan:
        """Return what `destroy` would take down."""
        steps: list[Step] = []

        def listen(told: Told) -> None:
            if told.what == "begins" and told.step is not None:
                steps.append(told.step)

        ended = self._look(lambda hear: self.stack.preview_destroy(on_event=hear, color="never"), listen)
        self._expect(ended, "the plan could not be made")
        return Plan(tuple(steps), racks)

    def destroy(self, tell: Tell, *, parallel: int = PARALLEL) -> Ended:
        """Take everything down; the stack stays, empty, with its history."""
        return self._run(
            lambda hear: self.stack.destroy(
                parallel=parallel, continue_on_error=True, on_event=hear, color="never", suppress_outputs=True
            ),
            tell,
        )

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs, secret ones in clear: for memory only."""
        with self._words("its outputs could not be read"):
            return {name: one.value for name, one in self.stack.outputs().items()}

    def plain_outputs(self) -> dict[str, Any]:
        """Return the stack's outputs that are no secrets."""
        with self._words("its outputs could not be read"):
            return _plain_outputs(self.stack.outputs())

    def resources(self) -> list[dict[str, Any]]:
        """Return what the state holds, secrets encrypted."""
        found: list[dict[str, Any]] = self._export()["deployment"].get("resources") or []
        return found

    def cancel(self) -> None:
        """Take the stack's locks away."""
        with self._words("its lock could not be taken away"):
            self._engine("cancel", "--yes", "--stack", self.place.site)
        checkpoint.restore(self.place, self.say)  # not before: he who held it might have been writing

    def mend(self) -> int:
        """Settle what a killed run left pending in the state; returns how many operations that were.

        A create is dropped (the next run makes it again, by name); what was changed half way is marked, so that the
        next run changes it even where the wish is the old one again. The engine's own way would look at every node.
        """
        state = self._export()
        deployment = state["deployment"]
        pending = deployment.get("pending_operations") or []
        if not pending:
            return 0
        half = {one["resource"]["urn"] for one in pending if one.get("type") in {"updating", "deleting"}}
        for resource in deployment.get("resources") or []:
            if resource["urn"] in half and resource.get("custom"):
                resource["initErrors"] = ["a run was killed while it was at work here"]
        deployment["pending_operations"] = []
        self._import(state, "its state could not be mended")
        return len(pending)

    def forget(self, cluster: str) -> int:
        """Take a cluster and its machines out of the state, touching none of them; return how many resources went."""
        state = self._export()
        resources = state["deployment"].get("resources") or []
        gone = forgetting.of_cluster(resources, cluster)
        if gone:
            state["deployment"]["resources"] = [one for one in resources if one["urn"] not in gone]
            self._import(state, f"cluster {cluster} could not be forgotten")
        return len(gone)

    def _import(self, state: Mapping[str, Any], otherwise: str) -> None:
        file = self.place.home / "state.json"
        try:
            files.write(file, json.dumps(state))  # secrets are encrypted in it, as in the state itself
            with self._words(otherwise):
                self._engine("stack", "import", "--file", str(file), "--stack", self.place.site)
        finally:
            file.unlink(missing_ok=True)

    def _export(self) -> dict[str, Any]:
        # Not Stack.export_stack: that one decrypts, and its import writes what is decrypted to a file.
        with self._words("its state could not be read"):
            document: dict[str, Any] = json.loads(self._engine("stack", "export", "--stack", self.place.site).stdout)
        document["deployment"] = document.get("deployment") or {}
        return document

    def _engine(self, *words: str) -> CommandResult:
        return self.command.run(list(words), str(self.place.home), dict(self.env))

    @contextmanager
    def _words(self, otherwise: str) -> Iterator[None]:
        from pulumi.automation.errors import CommandError

        try:
            yield
        except CommandError as error:
            raise in_words(str(error), self.place, otherwise) from None

    def _look(self, act: Callable[[Any], object], tell: Tell, *, program_runs: bool = False) -> Ended:
        """Run an operation that writes nothing; the plug-in is told so, beside what the engine tells it."""
        workspace: Any = self.stack.workspace
        workspace.env_vars = {**self.env, PREVIEW: "1"}
        try:
            return self._run(act, tell, program_runs=program_runs)
        finally:
            workspace.env_vars = dict(self.env)

    def _expect(self, ended: Ended, otherwise: str) -> None:
        if ended.code == 0 and not ended.failures:
            return
        if ended.interrupts:
            raise KeyboardInterrupt
        if ended.failures and (not ended.tail or not _known(ended.tail)):
            raise UnavailableError(
                f"{otherwise}; nothing was written",
                details=[str(one) for one in ended.failures],
                resolution="mend what it says, then run it again",
            )
        raise in_words(ended.tail, self.place, otherwise)

    def _run(self, act: Callable[[Any], object], tell: Tell, *, program_runs: bool = False) -> Ended:
        """Run one operation of the engine; what fails in it is told in the result, unless it never began."""
        from pulumi.automation.errors import CommandError

        ended = Ended()
        listener = _Listener(ended, tell)
        before, started = self.command.interrupts, time.monotonic()
        surroundings = _surroundings(self.env, program_runs)
        with self.command.interruptible(), _quiet(program_runs), surroundings, _unstuck(listener, self.command.stop):
            try:
                result = act(listener)
                ended.outputs = _plain_outputs(getattr(result, "outputs", None) or {})
            except CommandError as error:
                ended.code, ended.tail = _code(error), _plain(str(error))
            except RuntimeError as error:
                # The Automation API, where no summary came: the engine ended before.
                ended.code, ended.tail = ended.code or 1, _plain(str(error))
        ended.interrupts = self.command.interrupts - before
        ended.seconds = time.monotonic() - started
        if ended.code and not ended.begun and not ended.done and not ended.interrupts and _known(ended.tail):
            raise in_words(ended.tail, self.place, "the engine failed")
        return ended


def _plain_outputs(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.value for name, one in outputs.items() if not one.secret}


@dataclass
class _Listener:
    """Takes in the engine's events, on a thread of the Automation API.

    `at_work`: resources by what is done with them now; `moved`: when that changed last (monotonic).
    """

    ended: Ended
    tell: Tell
    at_work: set[tuple[str, str]] = field(default_factory=set)
    moved: float = 0.0

    def __call__(self, event: EngineEvent) -> None:
        self._follow(event)
        if event.resource_pre_event is not None:
            step = step_of(event.resource_pre_event.metadata)
            if step is None:
                self.ended.entries += is_entry(event.resource_pre_event.metadata)
            else:
                if step.op != "same":
                    self.ended.begun[step.urn] = step
                self.tell(Told("begins", step, step.name, step.kind))
        elif event.res_outputs_event is not None:
            step = step_of(event.res_outputs_event.metadata)
            if step is not None:
                self.ended.begun.pop(step.urn, None)
                self.ended.done.append(step)
                self.tell(Told("done", step, step.name, step.kind))
        elif event.res_op_failed_event is not None:
            step = step_of(event.res_op_failed_event.metadata)
            if step is not None:
                self.tell(Told("failed", step, step.name, step.kind))
        elif event.diagnostic_event is not None:
            self._said(event.diagnostic_event)

    def _follow(self, event: EngineEvent) -> None:
        began, over, failed = event.resource_pre_event, event.res_outputs_event, event.res_op_failed_event
        if (found := began or over or failed) is None:
            return
        metadata, self.moved = found.metadata, time.monotonic()
        either, op = metadata.new or metadata.old, str(getattr(metadata.op, "value", metadata.op))
        if began is not None and either is not None and either.custom:
            self.at_work.add((metadata.urn, op))
        elif began is None:
            self.at_work.discard((metadata.urn, op))
        self.ended.torn |= failed is not None and op == "delete-replaced"

    def _said(self, said: Any) -> None:
        text = _unwrapped(_plain(said.message))
        urn = said.urn or ""
        kind, name = urn.split("::")[2].rpartition(":")[2] if urn.count("::") >= 3 else "", urn.rpartition("::")[2]
        if "pulumi:pulumi:Stack" in urn:
            kind, name = "", ""
        if not text:
            return
        if said.severity == "error":
            if not _echo(text):
                self.ended.failures.append(Failure(kind, name, text))
                self.tell(Told("error", None, name, kind, text))
        elif said.severity in {"info", "info#err", "warning"}:
            self.tell(Told("says" if said.ephemeral or said.severity != "warning" else "warns", None, name, kind, text))


_NOISE = ("update failed", "preview failed", "resource update failed", "update canceled", "refresh failed")


def _echo(text: str) -> bool:
    """Whether an error only says that there were errors, or what a plan expected of those that were not begun.

    Or that a plug-in ended without a word: a preview that refreshes ends the one of its first half itself, and calls
    that premature. One that really dies fails what it was at work on.
    """
    return (
        text in _NOISE
        or text.startswith(
            ("update canceled", "preview canceled", "refresh canceled", "expected resource operations for ")
        )
        or (text.startswith("Detected that ") and text.endswith("STDERR streams of the plugin:"))
    )


def _unwrapped(text: str) -> str:
    """Return the words of a provider in one line: the engine wraps those of half-done resources in a list."""
    return " ".join(re.sub(r"^\s*\d+ errors? occurred:\s*\* ", "", text).split())


def _plain(text: str) -> str:
    """Return an engine's text without its colour directives (`<{%reset%}>`)."""
    return re.sub(r"<\{%[^%]*%\}>|\x1b\[[0-9;]*m", "", text)


def _code(error: Any) -> int:
    found = re.search(r"^ code: (-?\d+)$", str(error), re.MULTILINE)
    return int(found[1]) if found else 1


_KNOWN = (
    "incorrect passphrase",
    "passphrase must be set",
    "currently locked by",
    "not allowed by the plan",
    "violates plan",
    "no resource plugin",
    "could not find plugin",
    "error reading from server: EOF",
)


def _known(text: str) -> bool:
    return any(word in text for word in _KNOWN)


def in_words(text: str, place: Place, otherwise: str) -> GcloudPkError:
    """Return the error that stands for what the engine said where it failed."""
    text = _plain(text)
    site = place.site
    if "incorrect passphrase" in text:
        return RefusedError(
            f"the passphrase is not the one that site {site}'s state was made with; nothing was written",
            resolution="give the right one by PULUMI_CONFIG_PASSPHRASE_FILE or PULUMI_CONFIG_PASSPHRASE",
        )
    if "passphrase must be set" in text:
        return WrongUsageError(
            "the passphrase that keeps the stack's secrets is missing",
            resolution="set PULUMI_CONFIG_PASSPHRASE_FILE to a file of yours (0600), or PULUMI_CONFIG_PASSPHRASE",
        )
    if "currently locked by" in text:
        return locked(place, locks.from_words(text))
    if "not allowed by the plan" in text or "violates plan" in text:
        return RefusedError(
            "the plan is not what would be done any more: the site or its state has changed since it was made",
            resolution=f"run gcloud-pk datacenter up {site} again, and look at the new plan",
        )
    if "no resource plugin" in text or "could not find plugin" in text:
        return UnavailableError(
            "the engine does not find the resource plug-in pulumi-resource-gcloudpk; nothing was written",
            resolution="install gcloud-pk anew",
        )
    return UnavailableError(
        f"{otherwise}: the engine failed",
        details=said(text),
        resolution="mend what it says, then run it again",
    )


def said(text: str) -> list[str]:
    """Return the last lines of what the engine said."""
    lines = [re.sub(r"^\s*(code: -?\d+|stdout:|stderr:)", "", line).strip() for line in text.splitlines()]
    return [line for line in lines if line][-12:]


def locked(place: Place, held: list[locks.Lock]) -> RefusedError:
    """Return the error for a stack that somebody else's run holds."""
    return RefusedError(
        f"the state of site {place.site} is locked by another run; nothing was written",
        details=[str(one) for one in held],
        resolution=f"wait until that run is over; where it is gone for good: gcloud-pk datacenter unlock {place.site}",
    )


@contextmanager
def _quiet(program_runs: bool) -> Iterator[None]:
    """Keep what Python says of a program's torn coroutines off standard error: the reason is told as an event."""
    if not program_runs:
        yield
        return
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not ("coroutine" in repr(unraisable.object) or "event loop" in str(unraisable.exc_value)):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        gc.collect()  # what is torn is collected while nobody hears it
        sys.unraisablehook = before


@contextmanager
def _unstuck(listener: _Listener, stop: Callable[[], None]) -> Iterator[None]:
    """Have an engine end that waits for nothing any more.

    Where it goes on in spite of errors, and what is to be replaced cannot be taken away first, it never answers the
    program that asked for the new one (Pulumi 3.259).
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            idle = time.monotonic() - listener.moved
            if listener.ended.torn and not listener.at_work and idle > STUCK:
                stop()
                return

    thread = threading.Thread(target=watch, name="unstuck", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _surroundings(env: Mapping[str, str], program_runs: bool) -> Iterator[None]:
    """Give an inline program the variables that the engine and its plug-ins have; the passphrase aside."""
    told = {name: value for name, value in env.items() if name.startswith("GCLOUD_PK_")} if program_runs else {}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def session(
    place: Place,
    engine: Engine,
    plugin: Path,
    secrets: Mapping[str, str],
    told: Mapping[str, str],
    *,
    holder: Mapping[str, Any],
    say: Callable[[str], None],
    create: bool = False,
    recover: bool = True,
    on_interrupt: Callable[[int], None] = lambda number: None,  # noqa: ARG005 - nobody listens
) -> Iterator[Session]:
    """Open the stack of a site, recovered from whatever a killed run left; its lock is held meanwhile.

    `holder`: who it is, for him who comes second; `told`: variables of the program and its plug-in. Raises RefusedError
    where another run holds it, where the passphrase is wrong, and where there is no such stack and none is to be
    created.
    """
    place.prepare(plugin)
    with alone(place, holder):
        count = leftovers.clear(str(place.home), say)
        checkpoint.restore(place, say)
        one = _opened(place, engine, environment(place, secrets, told), say, on_interrupt, create=create)
        if recover:
            _recover(one, count)
        yield one


@contextmanager
def alone(place: Place, holder: Mapping[str, Any]) -> Iterator[None]:
    """Hold the site's lock of this machine. Raises RefusedError where another run holds it."""
    held = record.alone(place.home, holder)
    try:
        held.__enter__()  # its body has errors of its own, which are none of the lock's
    except UnavailableError as error:
        if not record.busy(place.home):
            raise
        raise RefusedError(
            f"another run over site {place.site} is at work; nothing was written",
            details=error.details,
            resolution=error.resolution,
        ) from None
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def _opened(
    place: Place,
    engine: Engine,
    env: dict[str, str],
    say: Callable[[str], None],
    on_interrupt: Callable[[int], None],
    *,
    create: bool,
) -> Session:
    from pulumi import automation as auto

    from gcloud_pk.stack.command import EngineCommand

    command = EngineCommand(engine, on_interrupt)
    workspace = auto.LocalWorkspace(
        work_dir=str(place.home),
        pulumi_home=str(place.engine_home),
        env_vars=env,
        secrets_provider="passphrase",
        pulumi_command=command,
    )
    try:
        if create:
            stack = auto.Stack.create_or_select(place.site, workspace)
        else:
            stack = auto.Stack.select(place.site, workspace)
    except auto.StackNotFoundError:
        raise RefusedError(
            f"site {place.site} was never made from here: {place.backend} has no state of it",
            resolution=f"run gcloud-pk datacenter up {place.site}, or name its backend with --backend URL",
        ) from None
    except auto.CommandError as error:
        raise in_words(str(error), place, f"the backend {place.backend} could not be opened") from None
    return Session(place, stack, command, env, say)


def _recover(one: Session, count: int) -> None:
    """Bring a stack that a killed run left to where the next one can begin."""
    held = one.place.locks()
    if held and all(lock.is_dead() for lock in held):
        one.say(f"a run that was killed left the state locked ({held[0]}): recovered")
        one.cancel()
        held = []
    if held:
        raise locked(one.place, held)
    if (number := one.mend()) or count:
        what = f"{number} operations were under way and are taken up again" if number else "nothing was under way"
        one.say(f"a run over site {one.place.site} was stopped half way: {what}")


def fault(ended: Ended, place: Place, again: str) -> GcloudPkError | None:
    """Return the error of a run that did not end well; None for one that did. `again`: the command that goes on."""
    code = ended.exit_code
    if code == ExitCode.DONE:
        return None
    if not ended.failures and not ended.interrupts and _known(ended.tail):
        return in_words(ended.tail, place, "the engine failed")
    steps = len([step for step in ended.done if step.op != "same"])
    if ended.interrupts:
        what = f"interrupted after {number_of(steps, 'step')}" if ended.written else "interrupted; nothing was written"
    elif ended.code < 0:
        what = f"the engine was killed after {number_of(steps, 'step')}"
    else:
        failed = len({(one.kind, one.name) for one in ended.failures}) or 1
        what = f"{number_of(failed, 'step')} failed, {steps} are done"
    kinds: dict[ExitCode, type[GcloudPkError]] = {ExitCode.PARTIAL: PartialError, ExitCode.INTERRUPTED: StoppedError}
    details = [str(one) for one in ended.failures]
    if not details and not ended.interrupts and ended.code > 0:
        details = said(ended.tail)
    mend = "" if ended.interrupts or ended.code < 0 else "mend what it says, then "
    return kinds.get(code, UnavailableError)(
        what, details=details, resolution=f"{mend}run {again} again: it goes on from here"
    )


class StoppedError(GcloudPkError):
    """Ctrl-C before anything was written."""

    code = ExitCode.INTERRUPTED
