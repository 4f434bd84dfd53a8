"""A run told when it is over: for people, and as a document. Texts of nodes are escaped by the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gcloud_pk.errors import ExitCode
from gcloud_pk.nodes.outcome import HostRun, Run
from gcloud_pk.text import number_of

if TYPE_CHECKING:
    from gcloud_pk.console import Console

_SHOWN = 10
_PATHS = 6
_LINES = 400
"""Lines of one difference that are shown; the rest is counted."""


def words(run: Run, *, code: ExitCode) -> str:
    """Return in a line what the run came to."""
    all_hosts, left = len(run.hosts), len(run.problems)
    carried = all_hosts - left
    changed = sum(1 for host in run.hosts.values() if host.changes)
    if code is ExitCode.INTERRUPTED:
        half = [host.host.name for host in run.hosts.values() if host.state == "half-done"]
        return "interrupted; " + (f"half done: {', '.join(half)}" if half else "nothing was written")
    if run.check:
        done = f"{changed} of {number_of(carried, 'host')} would change" if changed else "nothing would change"
    else:
        done = f"{number_of(carried, 'host')} hardened, {changed} changed"
    if not left:
        return done
    failed = f"{left} of {number_of(all_hosts, 'host')} not: {', '.join(host.host.name for host in run.problems[:20])}"
    return f"{done}; {failed}" if carried else f"no host was carried through; {failed}"


def show(console: Console, run: Run, levels: Mapping[str, str], *, code: ExitCode, diff: bool) -> None:
    """Print the run for people."""
    changed = "would change" if run.check else "changed"
    rows = [
        (
            host.host.name,
            host.host.rack or "-",
            levels[host.host.name],
            host.state,
            len(host.changes),
            len(host.refused),
            f"{host.seconds:.1f}",
        )
        for host in run.hosts.values()
    ]
    console.table(("host", "rack", "level", "outcome", changed, "refused", "seconds"), rows)
    if run.check or console.verbosity:
        _changes(console, run, changed)
    if diff:
        for host in run.hosts.values():
            _differences(console, host)
    _refused(console, run)
    _warnings(console, run)
    for host in run.problems:
        _problem(console, host)
    console.show(words(run, code=code))


def _hosts(run: Run, names: Iterable[str]) -> str:
    chosen = list(names)
    if len(chosen) == len(run.hosts) and len(chosen) > 1:
        return "all hosts"
    return ", ".join(chosen[:_SHOWN]) + (f" and {len(chosen) - _SHOWN} more" if len(chosen) > _SHOWN else "")


def _grouped(run: Run, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return each text once, with the hosts that it is true of."""
    of: dict[str, dict[str, None]] = {}
    for name, text in pairs:
        of.setdefault(text, {})[name] = None
    return [(text, _hosts(run, names)) for text, names in of.items()]


def _changes(console: Console, run: Run, verb: str) -> None:
    found = [
        (name, f"{change.role or '-'}: {change.task}{_paths(change.paths, every=bool(console.verbosity))}")
        for name, host in run.hosts.items()
        for change in host.changes
    ]
    if found:
        console.show(f"{verb}:")
    for text, hosts in _grouped(run, found):
        console.row("  ", f"{text}  [{hosts}]")


def _paths(paths: Sequence[str], *, every: bool) -> str:
    shown = paths if every else paths[:_PATHS]
    more = f" and {len(paths) - len(shown)} more" if len(paths) > len(shown) else ""
    return f" ({', '.join(shown)}{more})" if paths else ""


def _differences(console: Console, host: HostRun) -> None:
    for change in host.changes:
        if not change.diff and not change.withheld:
            continue
        console.row(f"{host.host.name}  ", f"{change.role or '-'}: {change.task}")
        if change.withheld:
            console.show("    (withheld: it holds secrets)")
        lines = change.diff.splitlines()
        for line in lines[:_LINES]:
            console.row("    ", line)
        if len(lines) > _LINES:
            console.show(f"    … {len(lines) - _LINES} more lines")


def _refused(console: Console, run: Run) -> None:
    found = [(name, _setting(one)) for name, host in run.hosts.items() for one in host.refused]
    grouped = _grouped(run, found)
    if not grouped:
        return
    console.show(f"{number_of(len(grouped), 'setting')} that a node did not take; nothing was pretended:")
    most = len(grouped) if console.verbosity else _SHOWN
    for text, hosts in grouped[:most]:
        console.row("  ", f"{text}  [{hosts}]")
    if len(grouped) > most:
        console.show(f"  and {len(grouped) - most} more (-v shows them, the record holds them)")


def _setting(refused: Mapping[str, str]) -> str:
    name = next((refused[one] for one in ("key", "unit", "path", "name") if one in refused), "a setting")
    wanted = f" wanted {refused['wanted']}" if "wanted" in refused else ""
    live = f", is {refused['live']}" if "live" in refused else ""
    why = f": {refused['why']}" if "why" in refused else ""
    return f"{name}{wanted}{live}{why}"


def _warnings(console: Console, run: Run) -> None:
    for text, hosts in _grouped(run, ((name, one) for name, host in run.hosts.items() for one in host.warnings)):
        # What was refused is listed already; a person has to see the others, such as a second uid 0.
        if console.verbosity or any(text in host.doubts for host in run.hosts.values()):
            console.row("  warning: ", f"{text}  [{hosts}]")


def _problem(console: Console, host: HostRun) -> None:
    where = f" in role {host.failed_in.role}, task {host.failed_in.name!r}" if host.failed_in else ""
    found = host.diagnosis
    console.row("", f"{host.host.name}: {host.state}{where}: {found.words if found else 'not reached'}")
    if found is None:
        return
    if found.kind == "failed" or console.verbosity:
        for line in found.said.splitlines()[1:12]:
            console.row("    ", line)
    console.row("    what to do: ", found.remedy)


def document(run: Run, levels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the hosts as records and JSON have them."""
    return [
        {**host.as_dict(), "level": levels[name], "rack": host.host.rack, "role": host.host.role}
        for name, host in run.hosts.items()
    ]
