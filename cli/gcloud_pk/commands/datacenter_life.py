"""`gcloud-pk datacenter preview | up | destroy | unlock`: the machines and clusters of a site, by its stack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.commands.node import home_of, ssh_config_of, ssh_config_option, writable
from gcloud_pk.errors import ExitCode, GcloudPkError, RefusedError
from gcloud_pk.text import number_of

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.model.site import Site
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.stack.backend import Place
    from gcloud_pk.stack.plan import Plan
    from gcloud_pk.stack.preflight import Ready
    from gcloud_pk.stack.session import Ended, Session


def site_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add SITE."""
    return click.argument("site_name", metavar="SITE")(command)


def on_stack(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add SITE and the options that say where its state lies, and by which engine it is kept."""
    for option in (
        click.option(
            "--engine",
            "engine_file",
            metavar="FILE",
            envvar="GCLOUD_PK_ENGINE",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Pulumi's program.  [default: PATH, the cache, else obtained; env: GCLOUD_PK_ENGINE]",
        ),
        click.option(
            "--backend",
            "backend_url",
            metavar="URL",
            help="Where the state is kept: file://…, s3://…, postgres://…  "
            "[default: your own state folder; env: PULUMI_BACKEND_URL]",
        ),
        ssh_config_option(),
        site_argument,
    ):
        command = option(command)
    return command


_parallel = click.option(
    "--parallel", type=click.IntRange(min=1, max=10_000), metavar="N", help="Steps at a time.  [default: 200]"
)
_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@dataclass(frozen=True)
class Surroundings:
    """What a command on a site's stack was given."""

    invocation: Invocation
    site: str
    backend_url: str | None
    engine_file: Path | None
    ssh_config: Path | None

    @property
    def console(self) -> Console:
        """Where it is shown."""
        return self.invocation.console

    def place(self) -> Place:
        """Return where the stack lies; that of a lab in the lab's own folder, and goes with it."""
        from gcloud_pk.lab.nodes.layout import of_registry
        from gcloud_pk.stack.backend import Place

        lab = of_registry(self.invocation.registry)
        return Place.of(self.site, url=self.backend_url, folder=lab.folder / "stacks" if lab else None)

    def ready(self, registry: Registry, *, writes: bool, unlocking: bool = False) -> Ready:
        """Return what the run needs. Raises everything that is wrong, at once.

        `unlocking`: a lock is what it is for.
        """
        from gcloud_pk.lab.nodes.layout import of_registry
        from gcloud_pk.stack import preflight

        lab = of_registry(self.invocation.registry)
        file = lab.folder / "passphrase" if lab else None

        def trusted() -> None:
            if writes:
                writable(self.invocation, registry)
            else:
                registry.trust(self.invocation.trust)

        found = preflight.look(
            registry,
            self.site,
            self.place(),
            trusted=trusted,
            passphrase_file=file if file and file.is_file() else None,
            engine_file=self.engine_file,
            console=self.console,
            unlocking=unlocking,
        )
        for note in found.notes:
            self.console.warn(note)
        return found

    def told(self, *, dismantle: bool = False) -> dict[str, str]:
        """Return the variables that the program and its plug-in read."""
        registry = self.invocation.registry
        trust = self.invocation.trust
        ssh_config = ssh_config_of(self.invocation, self.site, self.ssh_config)
        return {
            "GCLOUD_PK_SITE": self.site,
            "GCLOUD_PK_REGISTRY": str(registry.resolve()),
            "GCLOUD_PK_RUNS": str(home_of(self.invocation, self.site)),
            **({"GCLOUD_PK_TRUST": str(trust.resolve())} if trust else {}),
            **({"GCLOUD_PK_SSH_CONFIG": str(ssh_config.resolve())} if ssh_config else {}),
            **({"GCLOUD_PK_DISMANTLE": self.site} if dismantle else {}),
        }

    @contextmanager
    def open(
        self, ready: Ready, what: str, *, create: bool = False, recover: bool = True, dismantle: bool = False
    ) -> Iterator[Session]:
        """Open the stack; nobody else works on it meanwhile."""
        from gcloud_pk.nodes.record import moment, shown
        from gcloud_pk.stack.session import session

        holder = {"operator": operator_name(), "pid": os.getpid(), "started": shown(moment()), "what": what}
        with session(
            ready.place,
            ready.engine,
            ready.plugin,
            ready.secrets,
            self.told(dismantle=dismantle),
            holder=holder,
            say=self.console.note,
            create=create,
            recover=recover,
            on_interrupt=self._interrupted,
        ) as one:
            yield one

    def _interrupted(self, number: int) -> None:
        words = {1: "stopping after what is under way; once more ends it at once", 2: "stopping at once"}
        self.console.note(words.get(number, "ended"))


@click.command(cls=Command)
@on_stack
@click.option("--refresh", is_flag=True, help="Look at every node first: shows what is not as it was made (drift).")
@pass_invocation
def preview(
    invocation: Invocation,
    site_name: str,
    backend_url: str | None,
    engine_file: Path | None,
    ssh_config: Path | None,
    refresh: bool,
) -> None:
    """Show what `up` would make, change and remove. Writes nothing but the stack's own entry.

    The site file is compared with what the last run made of it; --refresh looks at the nodes too.
    """
    around = Surroundings(invocation, site_name, backend_url, engine_file, ssh_config)
    registry = open_registry(invocation)
    ready = around.ready(registry, writes=False)
    with around.open(ready, "preview", create=True) as one:
        _check_clusters(registry, ready.site, ready.place, one)
        plan = one.preview(_program(ready.site), _racks(ready.site), plan=None, refresh=refresh)
    if invocation.console.machine:
        invocation.console.document({"site": site_name, "plan": plan.as_dict()})
    else:
        show(invocation.console, plan, site_name)


@click.command(cls=Command)
@on_stack
@_parallel
@click.option("--refresh", is_flag=True, help="Look at every node first, and mend what is not as it was made.")
@_yes
@pass_invocation
def up(
    invocation: Invocation,
    site_name: str,
    backend_url: str | None,
    engine_file: Path | None,
    ssh_config: Path | None,
    parallel: int | None,
    refresh: bool,
    yes: bool,
) -> int:
    """Make the site's machines and clusters what its site file says.

    Everything is checked first and shown as a plan; that very plan is carried out. One machine that
    fails does not stop the others. Stopped or killed, run it again: it goes on from there.

    Exit 0, also where nothing is to be done; 3, 4, 5 where nothing was touched; 8 where a part is
    done; 130 interrupted before anything was written.
    """
    around = Surroundings(invocation, site_name, backend_url, engine_file, ssh_config)
    code, document = _up(around, yes=yes, refresh=refresh, parallel=parallel)
    if invocation.console.machine:
        invocation.console.document(document)
    return code


def provision(invocation: Invocation, site_name: str, *, yes: bool) -> tuple[int, dict[str, Any]]:
    """Do what `up` does; return its exit code, and the document that it prints with --format json."""
    return _up(Surroundings(invocation, site_name, None, None, None), yes=yes, refresh=False, parallel=None)


def _up(around: Surroundings, *, yes: bool, refresh: bool, parallel: int | None) -> tuple[int, dict[str, Any]]:
    from gcloud_pk.commands.datacenter_look import tenants_on
    from gcloud_pk.stack import progress
    from gcloud_pk.stack.session import PARALLEL, fault

    console, name = around.console, around.site
    registry = open_registry(around.invocation)
    ready = around.ready(registry, writes=True)
    site, again = ready.site, f"gcloud-pk datacenter up {name}"
    with around.open(ready, f"up of site {name}", create=True) as one:
        if gone := _check_clusters(registry, site, ready.place, one):
            tenants = tenants_on(site, ready.place, one)
            refuse_tenants(name, {cluster: tenants.get(cluster, []) for cluster in gone})
        if refresh:
            with progress.shown(console, f"looking at every node of site {name}") as tell:
                looked = one.refresh(_program(site), tell, parallel=parallel or PARALLEL)
            if error := fault(looked, ready.place, again):
                raise error
        file = ready.place.home / "plan.json"
        plan = one.preview(_program(site), _racks(site), plan=file)
        show(console, plan, name)
        if not plan.changed and not plan.entries:
            file.unlink(missing_ok=True)
            found = {"site": name, "outcome": "unchanged", "plan": plan.as_dict(), "failed": []}
            return ExitCode.DONE, {**found, **_clusters(one.plain_outputs() if console.machine else {})}
        if plan.changed:
            console.confirm(f"Do this to site {name}?", yes=yes)
        ended, kept = _carried_out(
            around,
            ready,
            plan,
            "up",
            lambda tell: one.up(_program(site), tell, plan=file, parallel=parallel or PARALLEL),
        )
        file.unlink(missing_ok=True)
    kept = {**kept, **_clusters(ended.outputs)}
    return _told(around, ready, ended, kept, fault(ended, ready.place, again))


def _clusters(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return what a document says of the clusters: endpoint, ca, uid and etcdMembers by name; uid of the first."""
    return {"clusters": outputs.get("clusters") or {}, "uid": outputs.get("uid")}


@click.command(cls=Command)
@on_stack
@_parallel
@click.option("--with-tenants", is_flag=True, help="Even where tenants live on its clusters: they go with them.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the site's name.")
@pass_invocation
def destroy(
    invocation: Invocation,
    site_name: str,
    backend_url: str | None,
    engine_file: Path | None,
    ssh_config: Path | None,
    parallel: int | None,
    with_tenants: bool,
    yes: bool,
) -> int:
    """Take a site's clusters down, and let its machines go.

    Says what goes, and asks for the site's name. Refuses while tenants live there. Hardening stays on
    machines that were there before; the history of the stack stays too.
    """
    from gcloud_pk.commands.datacenter_look import tenants_on
    from gcloud_pk.stack.session import PARALLEL, fault

    around = Surroundings(invocation, site_name, backend_url, engine_file, ssh_config)
    console = invocation.console
    registry = open_registry(invocation)
    ready = around.ready(registry, writes=True)
    again = f"gcloud-pk datacenter destroy {site_name}"
    with around.open(ready, f"destroy of site {site_name}", dismantle=True) as one:
        plan = one.preview_destroy(_racks(ready.site))
        if not plan.changed and not plan.entries:
            console.show(f"Site {site_name}: nothing is there to take down.")
            code: int = ExitCode.DONE
            document: dict[str, Any] = {"site": site_name, "outcome": "unchanged", "plan": plan.as_dict(), "failed": []}
        else:
            if not with_tenants:
                refuse_tenants(site_name, tenants_on(ready.site, ready.place, one))
            show(console, plan, site_name)
            console.confirm_name(f"Destroy site {site_name}?", "site", site_name, yes=yes)
            ended, kept = _carried_out(
                around, ready, plan, "destroy", lambda tell: one.destroy(tell, parallel=parallel or PARALLEL)
            )
            code, document = _told(around, ready, ended, kept, fault(ended, ready.place, again))
    if console.machine:
        console.document(document)
    return code


@click.command(cls=Command)
@on_stack
@_yes
@pass_invocation
def unlock(
    invocation: Invocation,
    site_name: str,
    backend_url: str | None,
    engine_file: Path | None,
    ssh_config: Path | None,
    yes: bool,
) -> None:
    """Take the lock of a run away that is gone for good, on another machine for example.

    A run that was killed on this machine needs none of this: the next one recovers by itself.
    """
    around = Surroundings(invocation, site_name, backend_url, engine_file, ssh_config)
    console = invocation.console
    ready = around.ready(open_registry(invocation), writes=True, unlocking=True)
    with around.open(ready, "unlock", recover=False) as one:
        held = ready.place.locks()
        if ready.place.state is not None and not held:
            words = "it is not locked"
        else:
            for lock in held:
                console.show(f"held by {lock}")
            console.confirm(
                f"Is that run gone for good? Two runs at once damage the state of site {site_name}. Unlock?", yes=yes
            )
            one.cancel()
            words = "unlocked"
        pending = one.mend()
    if console.machine:
        console.document(
            {"site": site_name, "outcome": words, "locks": [str(lock) for lock in held], "pending": pending}
        )
    else:
        under_way = f"; {number_of(pending, 'operation')} will be taken up again by the next up" if pending else ""
        console.show(f"Site {site_name}: {words}{under_way}.")


def show(console: Console, plan: Plan, site: str) -> None:
    """Show a plan: machines by rack, then clusters; what stays is counted."""
    from gcloud_pk.stack.plan import MARKS

    rows = [row for row in plan.rows() if row.op != "same"]
    if rows:
        console.show(f"Site {site}:")
        console.table(
            ("", "where", "what", "to do"), [(MARKS[row.op], row.where, row.subject, row.words) for row in rows]
        )
    counts = plan.counts
    if not rows:
        console.show(f"Site {site}: no change, {counts['same']} unchanged")
        return
    words = {"make": "to make", "change": "to change", "replace": "to replace", "remove": "to remove"}
    told = [f"{counts[op]} {what}" for op, what in words.items() if counts[op]]  # type: ignore[index]  # its own keys
    console.show(f"{', '.join(told)}, {counts['same']} unchanged")


def refuse_tenants(site: str, found: dict[str, list[str] | str]) -> None:
    """Raise RefusedError where tenants live on a cluster, or where that cannot be told. `found`: by cluster."""
    details = [
        f"{cluster}: it does not say whether it has tenants: {said}"
        if isinstance(said, str)
        else f"{cluster}: {number_of(len(said), 'tenant')}: {', '.join(said[:20])}{' …' if len(said) > 20 else ''}"
        for cluster, said in sorted(found.items())
        if said
    ]
    if details:
        raise RefusedError(
            f"tenants live on the clusters of site {site}, or may; nothing was written",
            details=details,
            resolution="offboard them (gcloud-pk tenant offboard), or give --with-tenants: all that they have goes",
        )


def _program(site: Site) -> Callable[[], None]:
    def program() -> None:
        from gcloud_pk.stack.programs.datacenter import declare

        declare(site)

    return program


def _racks(site: Site) -> dict[str, str]:
    return {host.name: host.rack for host in site.spec.hosts if host.rack}


def _check_clusters(registry: Registry, site: Site, place: Place, one: Session) -> list[str]:
    """Return the clusters that are to be taken down. Raises what the clusters that live cannot take."""
    from gcloud_pk.commands.datacenter_look import behind
    from gcloud_pk.stack import preflight
    from gcloud_pk.stack.provider.ground import DISMANTLE, going

    live = preflight.releases(one.resources())
    preflight.check_releases(registry, site, live, lambda wished: behind(site, place, one, wished))
    return preflight.check_clusters(site, live, going(site.metadata.name, os.environ.get(DISMANTLE, "")))


def _carried_out(
    around: Surroundings, ready: Ready, plan: Plan, act: str, run: Callable[[Any], Ended]
) -> tuple[Ended, dict[str, Any]]:
    """Run it, shown as it goes, with a record of it; return how it ended, and the record."""
    from gcloud_pk import __version__
    from gcloud_pk.evidence.report import commit
    from gcloud_pk.nodes import record
    from gcloud_pk.stack import progress

    started = record.moment()
    head: dict[str, Any] = {
        "site": around.site,
        "act": act,
        "operator": operator_name(),
        "tool": {"version": __version__, "commit": commit()},
        "engine": ready.engine.version,
        "started": record.shown(started),
        "plan": plan.as_dict(),
    }
    kept = record.Record.begin(ready.place.home, started)
    kept.write({**head, "outcome": "running"})
    steps = len([step for step in plan.steps if step.op != "same"])
    with progress.shown(around.console, f"{act} of site {around.site}: {number_of(steps, 'step')}", steps) as tell:
        ended = run(tell)
    full = {
        **head,
        "finished": record.shown(record.moment()),
        "outcome": ended.exit_code.name.lower(),
        "seconds": round(ended.seconds, 1),
        "failed": [{"kind": one.kind, "name": one.name, "message": one.words} for one in ended.failures],
    }
    kept.write(full)
    return ended, {**full, "record": str(kept.path)}


def _told(
    around: Surroundings, ready: Ready, ended: Ended, kept: dict[str, Any], error: GcloudPkError | None
) -> tuple[int, dict[str, Any]]:
    """Return exit code and document of a run; in text, what failed is raised."""
    from gcloud_pk.programs.heartbeat import duration

    console = around.console
    if error is None:
        if not console.machine:
            steps = len([step for step in ended.done if step.op != "same"])
            console.show(f"Site {around.site}: {number_of(steps, 'step')} done in {duration(ended.seconds)}.")
            if kept["act"] == "up" and any(cluster.version for cluster in ready.site.spec.clusters):
                console.note(f"its kubeconfig: gcloud-pk datacenter kubeconfig {around.site}")
        return ExitCode.DONE, kept
    if not console.machine:
        raise error
    return int(error.code), {**kept, "error": error.as_dict()}
