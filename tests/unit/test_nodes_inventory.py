"""The inventory that Ansible is given, and the options that ssh is: compared with what these programs make of them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcloud_pk.errors import InvalidInputError
from gcloud_pk.model.site import Site
from gcloud_pk.nodes.inventory import Route, below, fingerprint, inventory, known_hosts, select

CASES = sorted((Path(__file__).parent / "data/nodes/inventory").iterdir())
ROUTE = Route(Path("/run/known_hosts"), Path("/etc/gcloud/ssh config"))


def site(case: str = "two-clusters") -> Site:
    path = Path(__file__).parent / "data/nodes/inventory" / case / "site.yaml"
    return Site.model_validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_a_site_becomes_this_inventory_and_these_known_hosts(case: Path) -> None:
    given = site(case.name)
    assert inventory(given, select(given), ROUTE) == json.loads((case / "inventory.json").read_text())
    assert known_hosts(given, select(given)) == (case / "known_hosts").read_text()


def test_ansible_reads_the_inventory_as_it_is_meant(tmp_path: Path) -> None:
    given = site()
    path = tmp_path / "inventory.yml"
    path.write_text(json.dumps(inventory(given, select(given), ROUTE)))
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(path), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no warning about names of groups
    said: dict[str, Any] = json.loads(done.stdout)
    groups = {name: sorted(group["hosts"]) for name, group in said.items() if "hosts" in group}
    assert groups == {
        "role_control_plane": ["cp-1"],
        "role_plain": ["log-1"],
        "role_worker": ["web-1"],
        "rack_rack_1": ["cp-1"],
        "rack_rack_2": ["web-1"],
        "cluster_isb_1_a": ["cp-1"],
        "cluster_isb_1_b": ["web-1"],
        "level_cl2": ["log-1", "web-1"],
        "level_cl3": ["cp-1"],
    }
    assert said["_meta"]["hostvars"]["cp-1"]["node_admin_user"] == "platform"


def effective(options: list[str], name: str, home: Path) -> dict[str, str]:
    """Return what ssh itself would do, by its own word."""
    done = subprocess.run(["ssh", *options, "-G", name], capture_output=True, text=True, env={"HOME": str(home)})
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_whom_ssh_believes_is_not_for_a_configuration_to_say(tmp_path: Path) -> None:
    config = tmp_path / "ssh config"
    config.write_text(
        "Host cp-1\n  HostName 192.0.2.1\n  ProxyJump bastion\n  User mallory\n"
        "Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile /tmp/mine\n  GlobalKnownHostsFile /tmp/all\n"
        "  VerifyHostKeyDNS yes\n  ForwardAgent yes\n  UpdateHostKeys yes\n  BatchMode no\n"
        "  PermitLocalCommand yes\n  LocalCommand touch /tmp/x\n  CanonicalizeHostname yes\n  RequestTTY force\n"
    )
    found = effective(Route(tmp_path / "known", config).options(site().spec.hosts[0]), "cp-1", tmp_path)
    expected = {
        "hostname": "10.207.0.11",
        "stricthostkeychecking": "true",
        "userknownhostsfile": str(tmp_path / "known"),
        "globalknownhostsfile": "none",
        "verifyhostkeydns": "false",
        "forwardagent": "no",
        "updatehostkeys": "false",
        "batchmode": "yes",
        "permitlocalcommand": "no",
        "canonicalizehostname": "false",
        "requesttty": "false",
        "proxyjump": "bastion",  # how to get there is the configuration's to say
    }
    assert {name: found.get(name) for name in expected} == expected


def test_the_options_of_a_host_survive_ansibles_splitting() -> None:
    given = site()
    args = inventory(given, select(given), ROUTE)["all"]["hosts"]["cp-1"]["ansible_ssh_common_args"]
    assert shlex.split(args) == ROUTE.options(given.spec.hosts[0])


@pytest.mark.parametrize(("case", "name"), [("lab", "10.207.0.11"), ("two-clusters", "[10.207.0.12]:2222")])
def test_ssh_keygen_finds_each_host_in_the_known_hosts(tmp_path: Path, case: str, name: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(known_hosts(site(case), select(site(case))))
    done = subprocess.run(["ssh-keygen", "-F", name, "-f", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_fingerprint_is_the_one_ssh_keygen_prints(keys: Path) -> None:
    done = subprocess.run(["ssh-keygen", "-lf", keys / "alice.pub"], capture_output=True, text=True, check=True)
    assert fingerprint((keys / "alice.pub").read_text()) == done.stdout.split()[1]


@pytest.mark.parametrize(
    ("limit", "names"),
    [
        ([], ["cp-1", "web-1", "log-1"]),
        (["web-1"], ["web-1"]),
        (["10.207.0.11"], ["cp-1"]),
        (["rack-1,log-1"], ["cp-1", "log-1"]),
        (["log-1", "rack-1"], ["cp-1", "log-1"]),
        (["worker"], ["web-1"]),
        (["isb-1-a"], ["cp-1"]),
        (["cl2"], ["web-1", "log-1"]),
    ],
)
def test_a_limit_names_hosts_racks_clusters_roles_and_levels(limit: list[str], names: list[str]) -> None:
    assert [host.name for host in select(site(), limit)] == names


@pytest.mark.parametrize("limit", [["nobody"], ["cp-1,nobody"], [""], ["cp-1,"]])
def test_a_limit_that_names_nobody_is_refused_and_the_hosts_are_named(limit: list[str]) -> None:
    with pytest.raises(InvalidInputError) as raised:
        select(site(), limit)
    assert "cp-1, web-1, log-1" in str(raised.value.details[0])


def test_a_site_without_hosts_says_where_to_add_them() -> None:
    given = site()
    empty = given.model_copy(update={"spec": given.spec.model_copy(update={"hosts": ()})})
    with pytest.raises(InvalidInputError, match="has no hosts") as raised:
        select(empty)
    assert "sites/isb-1.yaml" in str(raised.value.resolution)


def test_only_hosts_whose_data_ask_for_more_are_below_a_level() -> None:
    assert below(site(), select(site()), "cl1") == ["cp-1", "web-1", "log-1"]
    assert below(site(), select(site()), "cl2") == ["cp-1"]
    assert below(site(), select(site()), "cl3") == []


def test_a_level_given_stands_in_place_of_each_hosts_own() -> None:
    document = inventory(site(), select(site()), ROUTE, "cl1")
    assert {host["node_level"] for host in document["all"]["hosts"].values()} == {"cl1"}
    assert sorted(document["all"]["children"]["level_cl1"]["hosts"]) == ["cp-1", "log-1", "web-1"]
