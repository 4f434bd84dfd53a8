"""`gcloud-pk datacenter backup`: which site and which cluster are meant, before any node is spoken to."""

from __future__ import annotations

import json

import pytest
from tests.unit.lab_commands import run

from gcloud_pk import paths
from gcloud_pk.commands.node import cluster_of
from gcloud_pk.errors import InvalidInputError
from gcloud_pk.registry.folder import Registry

REGISTRY = ("--registry", str(paths.data("examples", "registry")))


@pytest.mark.parametrize(
    ("words", "message", "more"),
    [
        (("khi-9",), "has no site 'khi-9'", "its sites: isb-1, lhe-1, public-1"),
        (
            ("isb-1", "--cluster", "isb-1-b"),
            "site isb-1 has no cluster 'isb-1-b' with control planes",
            "name one with --cluster: isb-1-a",
        ),
        (("lhe-1",), "site lhe-1 has 0 clusters with control planes", "spec.clusters, spec.hosts"),
        (("lhe-1", "--cluster", "lhe-1-a"), "has no cluster 'lhe-1-a' with control planes", "spec.hosts"),
    ],
)
def test_a_site_or_a_cluster_that_is_not_there_is_answered_with_those_that_are(
    words: tuple[str, ...], message: str, more: str
) -> None:
    code, said, _ = run(*REGISTRY, "datacenter", "backup", words[0], "list", *words[1:])
    assert code == 3
    assert message in json.dumps(said)
    assert more in json.dumps(said)


def test_the_only_cluster_with_control_planes_needs_no_name() -> None:
    site = Registry.open(paths.data("examples", "registry")).site("isb-1")
    (cluster,) = site.spec.clusters
    clusters = [cluster, cluster.model_copy(update={"name": "isb-1-b"})]
    hosts = [host.model_copy(update={"cluster": cluster.name}) for host in site.spec.hosts]
    both = site.model_copy(update={"spec": site.spec.model_copy(update={"clusters": clusters, "hosts": hosts})})
    assert cluster_of(both, None, made=True) == cluster
    assert cluster_of(both, "isb-1-b") == clusters[1]
    with pytest.raises(InvalidInputError, match="site isb-1 has 2 clusters"):
        cluster_of(both, None)
