"""`gcloud-pk datacenter drill`: an element taken out, what its users feel measured, and nothing lost."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_api, open_registry
from gcloud_pk.commands.node import writable
from gcloud_pk.commands.output import check_output, write_output
from gcloud_pk.console import somebody_answers
from gcloud_pk.errors import RefusedError, UnavailableError, WrongUsageError
from gcloud_pk.text import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.facility.casualties import Casualties
    from gcloud_pk.lab.nodes.layout import Layout
    from gcloud_pk.model.finding import Finding
    from gcloud_pk.model.site import Cluster, Site
    from gcloud_pk.proof.drill.kept import Kept
    from gcloud_pk.proof.drill.outage import Outage
    from gcloud_pk.proof.drill.run import Ground, Wish
    from gcloud_pk.proof.drill.series import Series

_MOST = 86_400.0
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class _Duration(click.ParamType[float]):
    """`90`, `90s`, `2m`, `1h`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float | int):
            return float(value)
        found = re.fullmatch(r"([0-9]{1,6})([smh]?)", str(value))
        seconds = int(found[1]) * _UNITS[found[2]] if found else 0
        if not 1 <= seconds <= _MOST:
            self.fail(f"{value!r} is no duration from 1s to 24h, such as 90s or 2m", param, ctx)
        return float(seconds)


@click.command(cls=Command, junit=True, draws=("html",))
@click.argument("site_name", metavar="SITE")
@click.option("--lose", "word", metavar="ELEMENT", help="host:NAME, rack:NAME, feed:NAME, or site: a power cut of all.")
@click.option("--suite", is_flag=True, help="Every element that the Tier III check calls survivable, one by one.")
@click.option("--restore", is_flag=True, help="Only bring back what a drill that was killed has left out.")
@click.option("--dry-run", is_flag=True, help="Say what would be lost, and what is promised; touch nothing.")
@click.option(
    "--for", "hold", type=_Duration(), default="60s", show_default=True, metavar="TIME",
    help="How long the element is out: 90s, 2m.",
)  # fmt: skip
@click.option("--times", type=click.IntRange(1, 1000), default=1, metavar="N", help="So many drills in a row.")
@click.option("--service", metavar="URL", help="A tenant's service to probe, http:// or https://.")
@click.option(
    "--image", metavar="IMAGE",
    help="With no --service: set one up of this image, which has python3.  [default: in a lab, the lab's]",
)  # fmt: skip
@click.option("--guided", is_flag=True, help="A person takes the element out, in a lab too.")
@click.option("--force", is_flag=True, help="On a degraded site too, and where the cluster would not survive it.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="With --format html: write here.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before something is taken out.")
@pass_invocation
def drill(
    invocation: Invocation,
    site_name: str,
    word: str | None,
    suite: bool,
    restore: bool,
    dry_run: bool,
    hold: float,
    times: int,
    service: str | None,
    image: str | None,
    guided: bool,
    force: bool,
    output: Path | None,
    yes: bool,
) -> int:
    """Take an element of a site out, measure what its users feel, and bring it back.

    The API is read and written and a service is asked every 100 ms, each time over a new connection. Every
    write stands in a ledger on this machine before it is sent, and is looked for afterwards: none that was
    acknowledged may be lost. In a lab the element goes abruptly; on a real site a person is guided.

    A drill that is killed is brought back by the next one, or by --restore. A site that is degraded already
    is not drilled without --force.

    Exit 6 where a target was missed, a promise broken or a write lost, 7 where something could not be told,
    8 where the element could not be brought back.

    \b
    gcloud-pk datacenter drill isb-1 --lose rack:rack-2 --dry-run
    gcloud-pk datacenter drill isb-1 --lose rack:rack-2 --for 120s
    gcloud-pk datacenter drill isb-1 --lose site
    gcloud-pk datacenter drill isb-1 --suite --format html -o drill.html
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    if sum((word is not None, suite, restore)) != 1:
        raise WrongUsageError(
            "give one of --lose ELEMENT, --suite and --restore",
            resolution=f"gcloud-pk datacenter drill {site_name} --lose rack:NAME --dry-run",
        )
    if service is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", service):
        raise WrongUsageError(f"--service {service!r} is no http:// or https:// URL")
    if output is not None and invocation.console.format != "html":
        raise WrongUsageError("-o is for --format html", resolution="add --format html")
    check_output(output, force=False)
    from gcloud_pk.proof.drill.run import Wish

    registry = open_registry(invocation)
    registry.trust(invocation.trust)
    site = registry.site(site_name)
    design = _design(site)
    elements = _elements(site, design, word, suite=suite)
    if dry_run:
        return _tell(invocation, site, elements)
    writable(invocation, registry)
    wish = Wish(hold=hold, service=service, image=image, force=force)
    return _drill(invocation, site, design, elements, wish, times, output, guided=guided, yes=yes)


def _design(site: Site) -> list[Finding]:
    from gcloud_pk.facility import tier

    return tier.judge(site)


def _elements(site: Site, design: Sequence[Finding], word: str | None, *, suite: bool) -> list[Casualties]:
    """Return what is to be drilled. Raises RefusedError for a suite without any element."""
    from gcloud_pk.facility.casualties import casualties, survivable, target

    if word is not None:
        return [casualties(site, target(word), design)]
    if not suite:
        return []
    found = survivable(site, design)
    if not found:
        raise RefusedError(
            f"the Tier III check calls no element of site {site.metadata.name} survivable",
            resolution=f"see why: gcloud-pk datacenter validate {site.metadata.name}",
        )
    return found


def _tell(invocation: Invocation, site: Site, elements: Sequence[Casualties]) -> int:
    """Say what would be lost."""
    console = invocation.console
    if console.machine:
        told = {"site": site.metadata.name, "dryRun": True, "elements": [one.as_dict() for one in elements]}
        console.document({**told, "omitted": {}})  # known only where elements are taken out
        return 0
    for one in elements:
        console.show(f"{one.target}: {number_of(len(one.down), 'host')} would go: {', '.join(one.down) or 'none'}")
        if one.cut_off:
            console.show(f"  no carrier would reach {', '.join(one.cut_off)}")
        if one.stopped:
            console.show(f"  without power, too: {', '.join(one.stopped)}")
        for promise in one.promises:
            said = {True: "survives", False: "does not survive", None: "is not promised anything"}[promise.survives]
            console.show(f"  cluster {promise.cluster} {said}: {promise.why}")
    return 0


def _drill(
    invocation: Invocation,
    site: Site,
    design: Sequence[Finding],
    elements: list[Casualties],
    wish: Wish,
    times: int,
    output: Path | None,
    *,
    guided: bool,
    yes: bool,
) -> int:
    from gcloud_pk.facility.casualties import casualties, target
    from gcloud_pk.lab.nodes.layout import of_registry
    from gcloud_pk.model.finding import exit_code
    from gcloud_pk.proof.drill.run import restore as bring_back
    from gcloud_pk.proof.drill.series import Series, series

    console = invocation.console
    started = dt.datetime.now(dt.UTC)
    lab = of_registry(invocation.registry) if site.spec.provider == "lab" else None
    kept = _kept(lab, site)
    left = kept.out()
    ground, image = _ground(invocation, site, kept, lab, left.uid if left else None, guided=guided)
    if wish.image is None and image is not None:
        from dataclasses import replace

        wish = replace(wish, image=image)
    omitted: dict[str, str] = {}
    for one in [one for one in elements if len(elements) > 1]:
        if why := ground.outage.unable(one):
            omitted[str(one.target)] = why
            elements.remove(one)
    with kept.alone():
        made = Series()
        if (left := kept.out()) is not None:
            lost = casualties(site, target(left.element), design)
            made.restored.append(bring_back(ground, lost, left))
        elif not elements:
            console.note(f"nothing of site {site.metadata.name} is out: no drill was killed")
            if console.machine:
                console.document({"site": site.metadata.name, "restored": None})
            return 0
        if elements:
            _agreed(invocation, ground, elements, times, yes=yes)
            drilled = series(ground, elements, wish, times)
            made.outcomes, made.failed = drilled.outcomes, drilled.failed
        found = made.findings()
        _present(invocation, ground, made, found, started, omitted, output)
    return exit_code(found)


def _agreed(invocation: Invocation, ground: Ground, elements: Sequence[Casualties], times: int, *, yes: bool) -> None:
    names = ", ".join(str(one.target) for one in elements[:6]) + (" …" if len(elements) > 6 else "")
    hosts = sorted({name for one in elements for name in (*one.down, *one.cut_off)})
    what = f"{names} of site {ground.site.metadata.name} goes ({', '.join(hosts) or 'no host with it'})"
    often = f", {times} times" if times > 1 else ""
    invocation.console.confirm(f"{what}{often}: begin?", yes=yes)


def _kept(lab: Layout | None, site: Site) -> Kept:
    from gcloud_pk import paths
    from gcloud_pk.proof.drill.kept import Kept

    return Kept(lab.folder / "drills" if lab else paths.state("drills", site.metadata.name))


def _ground(
    invocation: Invocation, site: Site, kept: Kept, lab: Layout | None, uid: str | None, *, guided: bool
) -> tuple[Ground, str | None]:
    """Return where drills take place, and the image that a service may run there.

    `uid`: of the cluster, where it is known and the cluster need not be asked. Raises RefusedError, UnavailableError.
    """
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.proof.drill.outage import Guided
    from gcloud_pk.proof.drill.run import Ground
    from gcloud_pk.text import stamp

    console = invocation.console
    outage: Outage
    image = None
    if lab is not None and not guided:
        from gcloud_pk.lab.datacenter.outage import IMAGE, LabOutage

        outage, image = LabOutage(lab, console), IMAGE
    else:
        if not somebody_answers():
            raise RefusedError(
                "a guided drill needs somebody who answers",
                resolution="run it at a terminal; nothing was taken out",
            )
        outage = Guided(lambda text: click.confirm(text, err=True))
    api = open_api(invocation)
    uid = uid or cluster_uid(api)
    return Ground(
        site=site,
        cluster=_cluster(site, uid, api),
        access=api.access,
        kept=kept,
        outage=outage,
        operator=operator_name(),
        uid=uid,
        say=console.note,
        stamp=lambda: stamp(dt.datetime.now(dt.UTC)).replace(":", "").replace("-", ""),
    ), image


def _cluster(site: Site, uid: str, api: Api) -> Cluster:
    found = next((cluster for cluster in site.spec.clusters if cluster.uid == uid), None)
    if found is None:
        raise RefusedError(
            f"the cluster at {api.access.server} is none of site {site.metadata.name}",
            resolution=f"choose another --context, or: gcloud-pk cluster register {site.metadata.name}",
        )
    if not site.spec.control_planes(found):
        raise UnavailableError(
            f"the site file names no hosts of cluster {found.name}: nothing of it can be taken out",
            resolution="name its hosts, with their racks, in the site file",
        )
    return found


def _present(
    invocation: Invocation,
    ground: Ground,
    made: Series,
    found: list[Finding],
    started: dt.datetime,
    omitted: Mapping[str, str],
    output: Path | None,
) -> None:
    from gcloud_pk.evidence.drill import page, to_drill
    from gcloud_pk.evidence.report import encodable, present, report
    from gcloud_pk.proof.drill.verdicts import SUITE
    from gcloud_pk.render.page import html
    from gcloud_pk.text import as_json

    console = invocation.console
    told = report(
        SUITE, found, operator=operator_name(), started=started, finished=dt.datetime.now(dt.UTC), omitted=omitted
    )
    told["site"], told["cluster"] = ground.site.metadata.name, ground.cluster.name
    told["measures"] = encodable(made.measures(ground.outage.name))
    told["omittedWhy"] = dict(omitted)
    name = f"report-{started:%Y%m%dT%H%M%SZ}.json"
    ground.kept.write("", name, as_json(told) + "\n")
    if console.format == "html":
        write_output(console, html(page(told, ground.site.metadata.name)), output)
    else:
        present(console, told, to_drill)
    console.debug(f"kept in {ground.kept.home / name}")
