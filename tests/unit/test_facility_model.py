"""A site's facility, racks and clusters: what a site file may say. The folder's files are the cases, by their names."""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from tests.unit.test_model_rules import site as a_site_of

from gcloud_pk import paths
from gcloud_pk.model import rules
from gcloud_pk.model.facility import (
    RATED,
    Accreditation,
    CoolingComponent,
    CoolingKind,
    Link,
    MachineClass,
    NetworkComponent,
    NetworkKind,
    PowerComponent,
    PowerKind,
    Rack,
    Tables,
)
from gcloud_pk.model.facility_rules import accreditation_problem
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.site import Cluster, Host, Kubelet, Site, SiteSpec
from gcloud_pk.registry import documents, tables
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.readings import load
from gcloud_pk.registry.sites import read_file

DATA = Path(__file__).parent / "data"
VALID = sorted((DATA / "sites" / "valid").glob("*.yaml"))
INVALID = sorted((DATA / "sites" / "invalid").glob("*.yaml"))
TODAY = dt.date(2026, 11, 22)
_HEAD = re.compile(r"# line (\d+): (\S+): (.*); expected (.*)")


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_site_has_no_problem(path: Path) -> None:
    found = read_file(path)
    assert found.problems == ()
    assert found.site is not None


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_what_is_wrong_with_a_site_is_named_all_at_once_by_line_and_field(path: Path) -> None:
    expected = [match.groups() for line in path.read_text().split("\n") if (match := _HEAD.fullmatch(line))]
    found = read_file(path)
    assert expected
    assert [(str(p.line), p.field or "-", p.message, p.expected) for p in found.problems] == expected
    assert {p.file for p in found.problems} == {str(path)}
    assert found.site is None


def a_site(name: str = "isb-1", **said: Any) -> Site:
    spec = {
        "operator": "NTC",
        "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
        "admits": ["open", "restricted"],
        "clusters": [{"name": f"{name}-a"}],
    }
    return Site.model_validate(
        {"apiVersion": "gcloud.gov.pk/v1alpha1", "kind": "Site", "metadata": {"name": name}, "spec": spec | said}
    )


def a_host(number: int, **said: Any) -> dict[str, Any]:
    return {
        "name": f"c{number}",
        "address": f"10.207.0.{number}",
        "hostKeys": [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHost{number}"],
    } | said


# --- what the model answers ---


def test_a_host_without_supplies_of_its_own_hangs_on_the_feeds_of_its_rack() -> None:
    spec = a_site(
        racks=[{"name": "rack-1", "feeds": ["pdu-a", "pdu-b"]}],
        hosts=[
            a_host(1, rack="rack-1"),
            a_host(2, rack="rack-1", powerSupplies=["pdu-a"]),
            a_host(3, rack="rack-1", powerSupplies=[]),
            a_host(4),
        ],
    ).spec
    assert [spec.supplies_of(host) for host in spec.hosts] == [("pdu-a", "pdu-b"), ("pdu-a",), (), ()]


def test_a_host_that_names_no_cluster_is_of_the_only_one_and_a_plain_one_of_none() -> None:
    planes, workers = {"role": "control-plane"}, {"role": "storage"}
    hosts = [a_host(1, **planes), a_host(2, **workers), a_host(3, role="plain"), a_host(4, cluster="isb-1-b")]
    one, two = a_site(hosts=hosts).spec, a_site(hosts=hosts, clusters=[{"name": "isb-1-a"}, {"name": "isb-1-b"}]).spec
    assert [host.name for host in one.hosts_of("isb-1-a")] == ["c1", "c2"]
    assert [host.name for host in one.control_planes(one.clusters[0])] == ["c1"]
    assert [host.name for host in one.workers("isb-1-a")] == []
    assert [host.name for host in one.hosts_for_tenants("isb-1-a")] == []
    assert [host.name for host in two.hosts_of("isb-1-a")] == []
    assert [host.name for host in two.hosts_of("isb-1-b")] == ["c4"]


def test_kilowatts_are_whole_watts_so_that_sums_are_exact() -> None:
    racks = a_site(racks=[{"name": f"rack-{n}", "kw": 0.1} for n in range(3)] + [{"name": "rack-9"}]).spec.racks
    assert sum(rack.watts or 0 for rack in racks) == 300
    assert racks[3].watts is None


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("https://10.207.0.10:6443", "10.207.0.10", 6443),
        ("https://api.isb-1.gov.pk", "api.isb-1.gov.pk", 443),
        ("https://[fd00::1]:6443/k8s", "fd00::1", 6443),
        ("https://[fd00::1]", "fd00::1", 443),
        (None, None, None),
    ],
)
def test_the_endpoint_has_a_host_and_a_port(endpoint: str | None, host: str | None, port: int | None) -> None:
    cluster = Cluster.model_validate({"name": "a", "endpoint": endpoint})
    assert (cluster.endpoint_host, cluster.endpoint_port) == (host, port)


def test_a_cluster_enforces_policies_unless_it_is_said_that_it_need_not() -> None:
    assert Cluster.model_validate({"name": "a"}).network_plugin == "cilium"


# --- classes of a cluster ---


def a_request(classification: str) -> TenantRequest:
    path = DATA / "requests" / "valid" / "every-field.yaml"
    found = load(documents.parse(path.read_bytes(), path.name), TenantRequest).model
    assert found is not None
    return found.model_copy(update={"spec": found.spec.model_copy(update={"classification": classification})})


def test_a_tenant_comes_to_a_cluster_that_admits_its_class_and_to_no_other() -> None:
    site = a_site(clusters=[{"name": "one", "admits": ["open"]}, {"name": "two"}])
    assert [cluster.name for cluster in rules.clusters_for(site, a_request("open"))] == ["one", "two"]
    assert [cluster.name for cluster in rules.clusters_for(site, a_request("restricted"))] == ["two"]


def test_where_no_cluster_admits_the_class_it_is_said() -> None:
    site = a_site(clusters=[{"name": "one", "admits": ["open"]}])
    said = rules.sharing_problem(site, a_request("restricted"))
    assert said == (
        "no cluster of site 'isb-1' that it could be on admits restricted data: one (open)",
        "another site, or a cluster that admits it",
    )


# --- several sites ---

NETWORKS = {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"}


def with_networks(name: str, **changed: str) -> Site:
    return a_site(name, clusters=[{"name": f"{name}-a", "networks": NETWORKS | changed}])


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"nodes": "10.207.0.0/25"}, "nodes 10.207.0.0/25 overlap the nodes of cluster isb-1-a of site isb-1"),
        ({"pods": "10.209.128.0/17"}, "pods 10.209.128.0/17 overlap the services of cluster isb-1-a of site isb-1"),
        ({"services": "10.208.0.0/24"}, "services 10.208.0.0/24 overlap the pods of cluster isb-1-a of site isb-1"),
    ],
    ids=["nodes", "pods", "services"],
)
def test_a_range_that_overlaps_one_of_another_site_is_named(changed: dict[str, str], found: str) -> None:
    apart = {"pods": "10.212.0.0/16", "services": "10.213.0.0/16", "nodes": "10.211.0.0/24"}
    sites = {"isb-1": with_networks("isb-1"), "lhe-1": with_networks("lhe-1", **apart)}
    assert rules.site_problems(sites) == []
    sites["lhe-1"] = with_networks("lhe-1", **(apart | changed))
    ((site, wrong),) = rules.site_problems(sites)
    assert (site, wrong.message.partition(" (")[0]) == ("lhe-1", found)


def test_ranges_of_two_families_do_not_overlap() -> None:
    six = {"pods": "fd00:1::/48", "services": "fd00:2::/108", "nodes": "::/1"}
    assert rules.site_problems({"isb-1": with_networks("isb-1"), "lhe-1": with_networks("lhe-1", **six)}) == []


# --- accreditation ---


@pytest.mark.parametrize(
    ("admits", "today", "serious"),
    [
        (["open", "public"], "2026-06-30", None),
        (["open", "public"], "2026-07-01", False),
        (["open", "restricted"], "2026-07-01", True),
        (["secret"], "2026-07-01", True),
    ],
    ids=["its last day", "open data", "restricted data", "secret data"],
)
def test_an_expired_accreditation_is_an_error_where_restricted_data_are_and_else_a_warning(
    admits: list[str], today: str, serious: bool | None
) -> None:
    site = a_site(admits=admits, accreditation={"scheme": "PTCL/NTC", "expires": "2026-06-30"})
    found = accreditation_problem(site, dt.date.fromisoformat(today))
    assert (found and found[1]) == serious


def test_a_site_that_tells_of_no_accreditation_has_none_that_expired() -> None:
    assert accreditation_problem(a_site(), TODAY) is None


def expire(registry: Path, admits: str) -> Registry:
    (registry / "sites").mkdir(exist_ok=True)
    (registry / "sites" / "pub-9.yaml").write_text(
        "apiVersion: gcloud.gov.pk/v1alpha1\nkind: Site\nmetadata: {name: pub-9}\nspec:\n  operator: NTC\n"
        f"  location: {{city: Karachi, province: sindh, kind: government}}\n  admits: [{admits}]\n"
        "  clusters: [{name: pub-9-a}]\n  accreditation: {scheme: PTCL/NTC, expires: 2026-11-21}\n"
    )
    return Registry(registry, dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC))


def test_the_registry_tells_of_an_expired_accreditation_and_goes_on(registry_folder: Path) -> None:
    found = expire(registry_folder, "open, public")
    assert found.problems == ()
    (note,) = found.notes
    assert str(note).startswith(f"{registry_folder}/sites/pub-9.yaml:9: spec.accreditation.expires: ")


def test_with_restricted_data_the_check_of_the_registry_fails_and_what_repairs_goes_on(registry_folder: Path) -> None:
    found = expire(registry_folder, "open, restricted")
    (wrong,) = found.problems
    assert (wrong.line, wrong.field) == (9, "spec.accreditation.expires")
    assert found.notes == ()
    assert "pub-9" in found.sites


# --- the page ---

PAGE = paths.data("docs", "site-file.md").read_text()


@pytest.mark.parametrize(
    "model",
    [
        SiteSpec, Cluster, Kubelet, Host, Rack, MachineClass, Accreditation, Link, PowerComponent, CoolingComponent,
        NetworkComponent, Tables,
    ],
)  # fmt: skip
def test_the_page_tells_of_every_field(model: type[BaseModel]) -> None:
    code = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL))
    assert {info.alias for info in model.model_fields.values()} <= set(re.findall(r"[A-Za-z]+", " ".join(code)))


@pytest.mark.parametrize("field", tables.TABLES)
def test_the_page_tells_of_every_column_of_a_table(field: str) -> None:
    (said,) = re.findall(rf"^\| `{field}` \| `([a-z.]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    table = tables.TABLES[field]
    columns = said[1].split(", ")
    assert said[0] == ".".join(table.path)
    assert {column.strip("*") for column in columns} == set(table.columns)
    assert {column.strip("*") for column in columns if column.startswith("**")} == set(table.required)


def test_the_page_tells_which_kinds_have_a_capacity() -> None:
    rows = re.findall(r"^\| `(power|cooling|network)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    kinds = {part: set(re.findall(r"`([a-z-]+)`", said)) for part, said, _ in rows}
    rated = {kind for _, _, said in rows for kind in re.findall(r"`([a-z-]+)`", said)}
    assert kinds == {
        "power": set(get_args(PowerKind)), "cooling": set(get_args(CoolingKind)), "network": set(get_args(NetworkKind)),
    }  # fmt: skip
    assert rated == RATED


def test_the_pages_recipe_makes_a_table_of_an_export(tmp_path: Path) -> None:
    (recipe,) = re.findall(r"^python3 -c '(.*?)' export\.csv", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "export.csv").write_text(
        '\ufeffRack,Hostname,Serial,Primary IP,SSH host key\r\nrack-1,w1,"A,1",10.207.0.21,ssh-ed25519 AAAA\r\n'
    )
    command = [sys.executable, "-c", recipe, str(tmp_path / "export.csv")]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    (row,), wrong = tables.parse(made, "made", tables.TABLES["hosts"])
    assert wrong == []
    assert row == {
        "name": "w1",
        "address": "10.207.0.21",
        "rack": "rack-1",
        "hostKeys": ["ssh-ed25519 AAAA"],
    }


# --- the whole ---


def test_the_example_is_a_whole_site() -> None:
    found = read_file(paths.data("examples", "registry", "sites", "isb-1.yaml"))
    assert found.problems == ()
    assert found.site is not None
    spec = found.site.spec
    assert all((spec.power.links, spec.cooling.links, spec.network.links, spec.racks, spec.hosts, spec.tier))
    assert len({host.rack for host in spec.control_planes(spec.clusters[0])}) == 3


def test_a_site_of_before_there_were_facilities_is_valid_still() -> None:
    site = a_site_of("isb-1")
    assert rules.site_problems({"isb-1": site}) == []
    assert (site.spec.power.components, site.spec.racks, site.spec.provider) == ((), (), "ssh")
