"""Rules of a site's hosts that no single field shows."""

from __future__ import annotations

from collections.abc import Iterator

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model.baseline import highest, level_for
from gcloud_pk.model.site import Host, Site


def host_problems(site: Site) -> Iterator[Problem]:
    """Yield names, addresses and keys that stand twice, unknown clusters and classes, and levels below the data's."""
    owners: dict[str, Host] = {}
    for i, host in enumerate(site.spec.hosts):
        where = f"spec.hosts[{i}]"
        for field, value in (
            ("name", host.name),
            ("address", host.address),
            *(("hostKeys", k) for k in host.host_keys),
        ):
            if (owner := owners.setdefault(f"{field} {value}", host)) is not host:
                whose = f"that of host {owner.name}" if field != "name" else f"the name of the host at {owner.address}"
                yield problem(f"{value} is {whose} already", field=f"{where}.{field}", expected="each its own")
        yield from _membership(site, host, where)


def _membership(site: Site, host: Host, where: str) -> Iterator[Problem]:
    clusters = [cluster.name for cluster in site.spec.clusters]
    if host.cluster is not None and host.cluster not in clusters:
        yield problem(
            f"the site has no cluster {host.cluster!r}",
            field=f"{where}.cluster",
            expected=f"one of {', '.join(sorted(clusters))}",
        )
    for j, held in enumerate(host.holds or ()):
        if held not in site.spec.admits:
            yield problem(
                f"the site does not admit {held} data",
                field=f"{where}.holds[{j}]",
                expected=f"some of {', '.join(site.spec.admits)}",
            )
    least = level_for(host.holds or site.spec.admits)
    if host.level is not None and highest([host.level, least]) != host.level:
        yield problem(
            f"{host.level} is below {least}, which its data ask for",
            field=f"{where}.level",
            expected=f"{least} or higher",
        )
