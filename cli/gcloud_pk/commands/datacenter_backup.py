"""`gcloud-pk datacenter backup | restore`: snapshots of a site's clusters, and the way back to one."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.commands.datacenter_life import site_argument
from gcloud_pk.commands.node import cluster_of, home_of, ssh_config_of, ssh_config_option, writable
from gcloud_pk.errors import (
    ExitCode,
    GcloudPkError,
    PartialError,
    RefusedError,
    UnavailableError,
    problem,
)
from gcloud_pk.text import in_line, number_of, stamp

if TYPE_CHECKING:
    from gcloud_pk.cluster.kubeconfig import Access
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.console import Console
    from gcloud_pk.model.site import Cluster, Site
    from gcloud_pk.onboarding.readmission import Readmission
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.stack.recovery.doors import Door
    from gcloud_pk.stack.recovery.judging import Expected
    from gcloud_pk.stack.recovery.restoring import Restoring
    from gcloud_pk.stack.recovery.snapshot import Snapshot

READY_PATIENCE = 180.0
"""Seconds that the restored API server gets until it serves."""

ACTS = ("now", "list", "verify")


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        ssh_config_option(),
        click.option(
            "--signers",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="More host keys that may have signed snapshots, such as those of nodes that are gone.",
        ),
        click.option("--cluster", "cluster_name", metavar="NAME", help="Of several clusters of the site, this one."),
    ):
        command = option(command)
    return command


def _key_option(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--key",
        metavar="FILE",
        required=required,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A recipient's private key (PEM), kept outside of the cluster.",
    )


@dataclass(frozen=True)
class _Around:
    """What a command was given: the site, and one cluster of it."""

    invocation: Invocation
    registry: Registry
    site: Site
    cluster: Cluster
    ssh_config: Path | None
    signers: Path | None

    @property
    def console(self) -> Console:
        return self.invocation.console

    @contextmanager
    def doors(self) -> Iterator[list[Door]]:
        from gcloud_pk.stack.recovery import doors

        hosts = self.site.spec.control_planes(self.cluster)
        with doors.of(
            self.site, hosts, ssh_config_of(self.invocation, self.site.metadata.name, self.ssh_config)
        ) as ways:
            yield ways

    def expected(self) -> Expected:
        """Return whose a snapshot has to be: signed by a host key of the site, or of the file that was named."""
        from gcloud_pk.stack.recovery.judging import Expected
        from gcloud_pk.stack.recovery.snapshot import signers_of

        keys = {key: host.name for host in self.site.spec.hosts for key in host.host_keys}
        if self.signers is not None:
            keys |= signers_of(_lines(self.signers))
        return Expected(self.site.metadata.name, self.cluster.name, self.cluster.uid, keys)

    @property
    def keep(self) -> dict[str, int]:
        backup = self.cluster.backup
        return {"hours": backup.keep_hours, "days": backup.keep_days}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"{file} cannot be read: {error}", resolution="name a file of public keys") from None


def _around(
    invocation: Invocation,
    site_name: str,
    cluster_name: str | None,
    ssh_config: Path | None,
    signers: Path | None,
    *,
    writes: bool,
) -> _Around:
    """Open the registry and find the cluster. Raises InvalidInputError, RefusedError."""
    registry = open_registry(invocation)
    if writes:
        writable(invocation, registry)
    else:
        registry.trust(invocation.trust)
    site = registry.site(site_name)
    return _Around(invocation, registry, site, cluster_of(site, cluster_name, made=True), ssh_config, signers)


# --- backup -----------------------------------------------------------------------------------------------------------


@click.command(cls=Command, junit=True)
@site_argument
@click.argument("act", default="now", type=click.Choice(ACTS))
@click.option(
    "--to",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder of this machine to keep snapshots in.  [default: they stay on the control planes]",
)
@click.option("--snapshot", "name", metavar="NAME", help="Verify this one.  [default: the newest]")
@_key_option(required=False)
@_shared
@pass_invocation
def backup(
    invocation: Invocation,
    site_name: str,
    act: str,
    folder: Path | None,
    name: str | None,
    key: Path | None,
    cluster_name: str | None,
    signers: Path | None,
    ssh_config: Path | None,
) -> int:
    """Make, list or verify snapshots of a site's cluster: etcd and keys, sealed to the site's recipients.

    `now` (the default) makes one on a control plane; with --to it is brought here too. `list` shows what there is.
    `verify` restores one into a scratch etcd on this machine and compares it with what its manifest says: exit 0 where
    all is well, 6 where it is not, 7 where not everything could be looked at (without --key, for example).

    \b
    gcloud-pk datacenter backup isb-1
    gcloud-pk datacenter backup isb-1 now --to /srv/backups
    gcloud-pk datacenter backup isb-1 verify --to /srv/backups --key recipient.key
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    around = _around(invocation, site_name, cluster_name, ssh_config, signers, writes=act == "now")
    if act != "verify" and invocation.console.format == "junit":
        raise click.UsageError("--format junit is for verify")
    if act == "now":
        return _now(around, folder)
    if act == "list":
        return _list(around, folder)
    return _verify(around, folder, name, key)


def _now(around: _Around, folder: Path | None) -> int:
    from gcloud_pk.stack.recovery import shelf

    console = around.console
    shelf.check_recipients(around.site, around.cluster)
    with around.doors() as ways:
        made, door = shelf.make(ways, around.site, around.cluster)
        manifest = made["manifest"]
        brought: dict[str, Any] = {}
        if folder is not None:
            brought = shelf.bring(door, around.cluster, str(made["name"]), folder, around.keep)
    for warning in made["warnings"]:
        console.warn(str(warning))
    total = sum(manifest["objects"].values())
    if console.machine:
        console.document(
            {
                "site": around.site.metadata.name,
                "cluster": around.cluster.name,
                "snapshot": {key: made[key] for key in ("name", "folder", "removed", "warnings")}
                | {"node": door.name, "revision": manifest["revision"], "objects": total, "taken": manifest["taken"]},
                "brought": brought or None,
            }
        )
    else:
        console.show(
            f"{made['name']}: revision {manifest['revision']}, {total} objects, on {door.name}: {made['folder']}"
        )
        if brought:
            console.show(f"brought to {brought['folder']}")
            for gone in brought["removed"]:
                console.show(f"  removed by the rule: {gone}")
        console.note(f"verify it: gcloud-pk datacenter backup {around.site.metadata.name} verify --key FILE")
    return ExitCode.DONE


def _list(around: _Around, folder: Path | None) -> int:
    from gcloud_pk.stack.recovery import shelf

    console = around.console
    if folder is not None:
        places = {"here": shelf.listed_here(folder)}
        silent: dict[str, str] = {}
    else:
        with around.doors() as ways:
            places, silent = shelf.listed(ways)
    if not places:
        raise UnavailableError("no control plane says what it keeps", details=list(silent.values()))
    if console.machine:
        console.document(
            {"site": around.site.metadata.name, "cluster": around.cluster.name, "places": places, "silent": silent}
        )
    else:
        rows = [
            (
                place,
                one["name"],
                one["taken"],
                one["revision"],
                f"{one['bytes'] / 2**20:.1f} MiB",
                _note(around.cluster, one),
            )
            for place, found in places.items()
            for one in found["snapshots"]
        ]
        console.table(("where", "snapshot", "taken", "revision", "size", "note"), rows)
        for place, found in places.items():
            for strange, why in found["strange"]:
                console.warn(f"{place}: {in_line(strange)} is no snapshot: {in_line(why)}")
        for words in silent.values():
            console.warn(words)
    return ExitCode.NOT_CHECKED if silent else ExitCode.DONE


def _note(cluster: Cluster, one: dict[str, Any]) -> str:
    if cluster.uid and one["uid"] != cluster.uid:
        return "of another cluster"
    taken = dt.datetime.fromisoformat(one["taken"])
    return "dated in the future" if taken > dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5) else ""


def _verify(around: _Around, folder: Path | None, name: str | None, key: Path | None) -> int:
    from gcloud_pk.evidence.report import present, report
    from gcloud_pk.model.finding import exit_code
    from gcloud_pk.stack.recovery import judging, scratch, shelf, snapshot

    started = dt.datetime.now(dt.UTC)
    console = around.console
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-") as scratch_folder:
        if folder is not None:
            here = shelf.listed_here(folder)
            chosen = folder / (name or shelf.newest(around.cluster, here, str(folder)))
        else:
            with around.doors() as ways:
                chosen = shelf.newest_brought(ways, around.cluster, name, Path(scratch_folder))
        found = snapshot.read(chosen)
        console.note(f"verifying {found.name}, taken {stamp(found.taken)}")
        with judging.judge(found, around.expected(), key, lambda: scratch.obtain(console)) as judged:
            findings = judged.findings
        if judged.good:
            with around.doors() as ways:
                shelf.note_restored(ways, found.name, console.debug)
    told = report(judging.SUITE, findings, operator_name(), started, dt.datetime.now(dt.UTC))
    present(console, told)
    return exit_code(findings)


# --- restore ----------------------------------------------------------------------------------------------------------


@click.command(cls=Command)
@site_argument
@click.option(
    "--from",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of one snapshot.",
)
@_key_option(required=True)
@_shared
@click.option("--keys-only", is_flag=True, help="Put the keys on a first control plane that is new, and end.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the site's name.")
@pass_invocation
def restore(
    invocation: Invocation,
    site_name: str,
    folder: Path,
    key: Path,
    keys_only: bool,
    cluster_name: str | None,
    signers: Path | None,
    ssh_config: Path | None,
    yes: bool,
) -> int:
    """Bring a cluster back to a snapshot, and its tenants to what the registry says now.

    The snapshot is restored into a scratch etcd on this machine first: one that is damaged, cut, or another
    cluster's is refused before anything is touched. Then the API closes to the outside, etcd's data are replaced on all
    control planes (the old ones stay aside), the registry's tenants are brought again, so that access revoked since
    does not come back, and the API opens. Stopped or killed: run it again, it goes on; the API stays closed meanwhile.

    --kubeconfig names the way in as the cluster's administrator (`datacenter kubeconfig SITE`).

    Exit 4 and 5 where nothing was touched, 8 where it stopped half way.
    """
    from gcloud_pk import __version__
    from gcloud_pk.evidence.report import commit
    from gcloud_pk.nodes import record
    from gcloud_pk.stack.recovery import judging, scratch, snapshot
    from gcloud_pk.stack.recovery.restoring import Restoring

    around = _around(invocation, site_name, cluster_name, ssh_config, signers, writes=True)
    console = around.console
    if around.cluster.uid is None and not keys_only:
        raise RefusedError(
            f"the site file does not say the uid of cluster {around.cluster.name}: another cluster's snapshot could "
            "not be told; nothing was touched",
            resolution=f"gcloud-pk cluster register {site_name}, then registry sign",
        )
    access = None if keys_only else _administrator(invocation)
    found = snapshot.read(folder)
    began = time.monotonic()
    console.note(f"looking into {found.name}, taken {stamp(found.taken)}")
    with (
        judging.judge(found, around.expected(), key, lambda: scratch.obtain(console)) as judged,
        around.doors() as ways,
    ):
        if not judged.good or judged.file is None:
            raise RefusedError(
                f"snapshot {found.name} is refused; nothing was touched",
                details=[
                    problem(f"{one.id} {one.title}: {one.observed or one.reason}")
                    for one in judged.findings
                    if one.verdict.value != "pass"
                ],
                resolution="take another snapshot, or the key that it was sealed to",
            )
        restoring = Restoring(ways, found, console.note)
        if access is None:
            return _seeded(around, restoring, judged.keys, yes=yes)
        _same_authority(access, judged.keys)
        restoring.seconds["judge"] = round(time.monotonic() - began, 2)
        started = record.moment()
        head = {
            "site": site_name,
            "act": "restore",
            "cluster": around.cluster.name,
            "snapshot": {
                "name": found.name,
                "taken": stamp(found.taken),
                "revision": found.revision,
                "objects": found.total,
            },
            "operator": operator_name(),
            "tool": {"version": __version__, "commit": commit()},
            "started": record.shown(started),
        }
        holder = {**head, "pid": os.getpid(), "what": f"restore of cluster {around.cluster.name}"}
        home = home_of(invocation, site_name)
        with record.alone(home, holder):
            restoring.look()
            _agreed(console, around, found, restoring, yes=yes)
            kept = record.Record.begin(home, started)
            kept.write({**head, "outcome": "running"})
            try:
                with _interrupted():
                    restoring.data(judged.file, judged.keys)
                    readmission = None if restoring.is_opening else _tenants(around, access, restoring)
                    restoring.serve()
                    aside = restoring.open()
            except GcloudPkError as error:
                ended = {"finished": record.shown(record.moment()), "phases": restoring.seconds}
                kept.write({**head, **ended, "outcome": "partial", "error": error.as_dict()})
                raise
            document = {
                **head,
                "finished": record.shown(record.moment()),
                "outcome": "done",
                "tenants": readmission.as_dict() if readmission else None,
                "aside": aside,
                "phases": restoring.seconds,
                "seconds": round(time.monotonic() - began, 1),
            }
            kept.write(document)
    if console.machine:
        console.document({**document, "record": str(kept.path)})
    else:
        _tell(console, document, readmission)
    return ExitCode.DONE


def _seeded(around: _Around, restoring: Restoring, keys: dict[str, bytes], *, yes: bool) -> int:
    console, site = around.console, around.site.metadata.name
    console.confirm(f"Put the keys of cluster {around.cluster.name} on {restoring.doors[0].name}?", yes=yes)
    node = restoring.seed(keys)
    if console.machine:
        console.document({"site": site, "cluster": around.cluster.name, "node": node, "outcome": "keys in place"})
    else:
        console.show(f"the keys of cluster {around.cluster.name} are on {node}")
        console.note(f"next: gcloud-pk datacenter up {site}, then restore without --keys-only (docs/backup.md)")
    return ExitCode.DONE


def _administrator(invocation: Invocation) -> Access:
    """Return the way in as the cluster's administrator: --context, else the context `admin`, else the current one."""
    from gcloud_pk.cluster import kubeconfig

    known = kubeconfig.contexts(invocation.kubeconfig)
    return kubeconfig.load(invocation.kubeconfig, invocation.context or ("admin" if "admin" in known else None))


def _same_authority(access: Access, keys: dict[str, bytes]) -> None:
    """See that the kubeconfig is the restored cluster's. Raises RefusedError."""
    from gcloud_pk.stack.recovery.opening import AUTHORITY

    def bare(pem: bytes) -> set[str]:
        return {"".join(part.split()) for part in pem.decode("ascii", "replace").split("-----") if len(part) > 100}

    if not bare(access.ca or b"") & bare(keys[AUTHORITY]):
        raise RefusedError(
            f"context {access.context!r} is of another cluster than the snapshot: its authority is another; nothing "
            "was touched",
            resolution="name the cluster's own with --kubeconfig and --context (gcloud-pk datacenter kubeconfig SITE)",
        )


def _agreed(console: Console, around: _Around, found: Snapshot, restoring: Restoring, *, yes: bool) -> None:
    """Say what goes, and have the site's name typed. Raises RefusedError."""
    site = around.site.metadata.name
    names = ", ".join(door.name for door in restoring.doors)
    if restoring.goes_on:
        console.note(f"an earlier run of this restore was stopped half way: going on ({restoring.id})")
        return
    console.show(
        f"cluster {around.cluster.name} of site {site} goes back to {stamp(found.taken)}, revision {found.revision}:"
    )
    console.show(f"  {found.total} objects; whatever was written since is gone from the API")
    console.show(f"  etcd's present data stay aside on {names}")
    console.confirm_name(f"Restore cluster {around.cluster.name}?", "site", site, yes=yes)


@contextmanager
def _interrupted() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise PartialError(
            "interrupted half way: the API is closed",
            resolution="run the same command again: it goes on from here",
        ) from None


def _tenants(around: _Around, access: Access, restoring: Restoring) -> Readmission:
    """Bring the registry's tenants again, while the API is closed to everybody else. Raises PartialError."""
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.commands.recording import Recorder
    from gcloud_pk.lab.state import known_uids
    from gcloud_pk.onboarding.readmission import readmit
    from gcloud_pk.onboarding.standing import recognise
    from gcloud_pk.stack.recovery.doors import NodeError

    console = around.console
    began = time.monotonic()
    try:
        with _closed_api(access, restoring) as api:
            _platform(api, console)
            uid = cluster_uid(api)
            if uid != around.cluster.uid:
                raise RefusedError(f"the restored cluster says that it is {uid}")
            standing = recognise(
                around.registry, uid, labs=known_uids(), trust=around.invocation.trust, allow_unregistered=False
            )
            recorder = Recorder(around.registry, console, uid)
            return readmit(around.registry, api, standing, record=recorder.onboard, say=console.note)
    except PartialError:
        raise
    except (GcloudPkError, NodeError) as error:
        words = error.message if isinstance(error, GcloudPkError) else str(error)
        raise PartialError(
            f"etcd is restored, and the registry's tenants could not be brought again: {words}; the API is closed",
            details=error.details if isinstance(error, GcloudPkError) else (),
            resolution="mend what it says and run the same command again: it goes on from here",
        ) from error
    finally:
        restoring.seconds["tenants"] = round(time.monotonic() - began, 2)


@contextmanager
def _closed_api(access: Access, restoring: Restoring) -> Iterator[Api]:
    """Yield the API of the first control plane, over SSH; wait until it serves. Raises UnavailableError, NodeError."""
    from dataclasses import replace

    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.stack.recovery.relay import relayed

    door = restoring.doors[0]
    with relayed(door, restoring.order(door, "relay")) as port:
        api = Api(replace(access, server=f"https://127.0.0.1:{port}", proxy=None), patience=30.0)
        end = time.monotonic() + READY_PATIENCE
        while True:
            try:
                if api.request("GET", "/readyz", patience=5.0).ok:
                    break
            except UnavailableError:
                if time.monotonic() > end:
                    raise
            if time.monotonic() > end:
                raise UnavailableError(f"the API server on {door.name} is not ready after {READY_PATIENCE:.0f} s")
            time.sleep(0.5)
        yield api


def _platform(api: Api, console: Console) -> None:
    """Bring what all tenants share to this version: a snapshot may hold an older one."""
    from gcloud_pk.cluster.waiting import policies_in_force
    from gcloud_pk.onboarding.platform import IN_FORCE_PATIENCE, install, plan_platform, refuse_downgrade
    from gcloud_pk.render.platform import platform_message

    refuse_downgrade(api, allowed=False)
    made = plan_platform(api)
    if made.writes:
        console.note(f"bringing what all tenants share: {number_of(len(made.writes), 'change')}")
        install(api, made)
    else:
        policies_in_force(api, platform_message(), timeout=IN_FORCE_PATIENCE)


def _tell(console: Console, document: dict[str, Any], readmission: Readmission | None) -> None:
    snapshot, name = document["snapshot"], document["cluster"]
    console.show(
        f"cluster {name} is back at {snapshot['taken']}, with {snapshot['objects']} objects, "
        f"in {document['seconds']:.0f} s."
    )
    if readmission is not None:
        console.show(
            f"{number_of(len(readmission.changes), 'tenant')} brought to what the registry says; "
            f"{number_of(readmission.revoked, 'object')} revoked since had come back and went again"
        )
        for tenant, (why, _) in sorted(readmission.shut.items()):
            console.warn(f"tenant {tenant} has no access: {why}")
    for node, where in sorted(document["aside"].items()):
        console.note(f"etcd's old data on {node}: {where}; remove them when nobody needs them any more")
