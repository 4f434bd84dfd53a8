"""A site's hosts: what a registry may say of them, and the level that each must meet."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gcloud_pk.model.baseline import LEVELS, highest, level_for, within
from gcloud_pk.model.rules import site_problems
from gcloud_pk.model.site import Site

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}"


def a_host(number: int = 1, **said: Any) -> dict[str, Any]:
    return {
        "name": f"node-{number}",
        "address": f"10.207.0.{10 + number}",
        "cluster": "isb-1-a",
        "hostKeys": [KEY.format(f"host{number}")],
    } | said


def a_site(*hosts: dict[str, Any], **said: Any) -> Site:
    spec = {
        "operator": "NTC",
        "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
        "admits": ["open", "restricted"],
        "clusters": [{"name": "isb-1-a"}],
        "hosts": list(hosts),
    }
    return Site.model_validate(
        {"apiVersion": "gcloud.gov.pk/v1alpha1", "kind": "Site", "metadata": {"name": "isb-1"}, "spec": spec | said}
    )


def wrong(site: Site) -> list[str]:
    return [f"{found.field}: {found.message}" for _, found in site_problems({"isb-1": site})]


def test_a_host_meets_the_level_of_the_most_sensitive_data_that_it_may_hold() -> None:
    site = a_site(a_host(), a_host(2, holds=["open"]), a_host(3, holds=["open"], level="cl3"))
    assert [site.spec.level_of(host) for host in site.spec.hosts] == ["cl2", "cl1", "cl3"]
    assert wrong(site) == []


def test_a_site_raises_the_level_of_all_its_hosts_and_lowers_none() -> None:
    assert [a_site(a_host(), level=level).spec.level_of(a_site(a_host()).spec.hosts[0]) for level in LEVELS] == [
        "cl2",
        "cl2",
        "cl3",
    ]


def test_levels_are_cumulative() -> None:
    assert within("cl2") == ("cl1", "cl2")
    assert level_for(["open", "secret"]) == "cl3"
    assert highest([]) == "cl1"


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        (
            [a_host(), a_host(2, name="node-1")],
            "spec.hosts[1].name: node-1 is the name of the host at 10.207.0.11 already",
        ),
        (
            [a_host(), a_host(2, address="10.207.0.11")],
            "spec.hosts[1].address: 10.207.0.11 is that of host node-1 already",
        ),
        ([a_host(), a_host(2, hostKeys=[KEY.format("host1")])], "spec.hosts[1].hostKeys: "),
        ([a_host(cluster="lhe-1-a")], "spec.hosts[0].cluster: the site has no cluster 'lhe-1-a'"),
        ([a_host(holds=["secret"])], "spec.hosts[0].holds[0]: the site does not admit secret data"),
        ([a_host(level="cl1")], "spec.hosts[0].level: cl1 is below cl2"),
    ],
    ids=["name twice", "address twice", "key twice", "unknown cluster", "class not admitted", "level too low"],
)
def test_what_no_single_field_shows_is_named(hosts: list[dict[str, Any]], found: str) -> None:
    (said,) = wrong(a_site(*hosts))
    assert said.startswith(found)


@pytest.mark.parametrize(
    "said",
    [
        {"address": "10.207.0.0/24"},
        {"address": "node-1"},
        {"hostKeys": []},
        {"hostKeys": ["ssh-ed25519 AAAA a comment"]},
        {"hostKeys": ["ssh-dss AAAA"]},
        {"hostKeys": ["ssh-ed25519 AAAA\nProxyCommand x"]},
        {"role": "master"},
        {"level": "cl4"},
        {"holds": []},
    ],
    ids=str,
)
def test_a_host_that_cannot_be_reached_safely_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_site(a_host(**said))


@pytest.mark.parametrize(
    "said", [{"user": "root me"}, {"port": 0}, {"port": True}, {"keys": ["x"]}, {"allowFrom": ["anywhere"]}], ids=str
)
def test_how_hosts_are_reached_is_checked(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_site(a_host(), ssh=said)
