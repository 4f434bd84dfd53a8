"""The lab's registry is one like any other: valid, signed, and whoever edits it keeps what he wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.unit.lab_commands import run

from gcloud_pk.lab.datacenter import site
from gcloud_pk.lab.nodes import access, layout, registry
from gcloud_pk.lab.nodes.layout import Layout, Node, plan
from gcloud_pk.model.hosts import host_problems
from gcloud_pk.model.site import Site
from gcloud_pk.programs import files
from gcloud_pk.registry.folder import Registry


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("lab") / "default")
    files.make_folder(made.folder)
    access.ensure_keys(made)
    return made


@pytest.fixture
def fresh(lab: Layout, tmp_path: Path) -> Layout:
    own = Layout(tmp_path / "lab")
    files.make_folder(own.folder)
    own.keys.symlink_to(lab.keys)
    return own


def hosts(count: int) -> list[tuple[Node, tuple[str, ...]]]:
    return [(node, (f"ssh-ed25519 {'A' * 60}{node.number:04d}AAAA",)) for node in plan(count, 1)]


def test_the_site_is_valid_and_asks_for_the_highest_level(lab: Layout) -> None:
    site = Site.model_validate(yaml.safe_load(registry.site(lab, hosts(3))))
    assert list(host_problems(site)) == []
    assert {site.spec.level_of(host) for host in site.spec.hosts} == {"cl3"}
    assert site.spec.ssh.keys != site.spec.ssh.audit_keys
    assert [host.role for host in site.spec.hosts] == ["worker"] * 3


def test_the_registry_is_valid_and_its_keeper_stands_outside_of_it(fresh: Layout) -> None:
    registry.ensure(fresh, registry.site(fresh, hosts(2)), None)
    opened = Registry.open(fresh.registry)
    assert not opened.problems
    assert opened.trust(fresh.trust).signer == registry.KEEPER
    assert [signer.principal for signer in opened.approvers.listed] == [layout.APPROVER]
    assert not fresh.trust.is_relative_to(fresh.registry)


def test_a_lab_that_changed_writes_its_site_again_and_signs_it(fresh: Layout) -> None:
    former = registry.ensure(fresh, registry.site(fresh, hosts(2)), None)
    registry.ensure(fresh, registry.site(fresh, hosts(3)), former)
    opened = Registry.open(fresh.registry)
    trusted = opened.trust(fresh.trust)
    assert (trusted.trusted, trusted.serial) == (True, 2)
    assert len(opened.sites["lab-nodes"].spec.hosts) == 3


def test_a_lab_that_did_not_change_leaves_the_site_as_somebody_edited_it(fresh: Layout) -> None:
    content = registry.site(fresh, hosts(1))
    former = registry.ensure(fresh, content, None)
    where = fresh.registry / "sites" / "lab-nodes.yaml"
    edited = where.read_text().replace("gcloud-pk lab", "somebody")
    where.write_text(edited)
    assert registry.ensure(fresh, content, former) == former
    assert where.read_text() == edited


@pytest.mark.parametrize("last", ["sites/lab-nodes.yaml", "approvers", "registry.sha256", "registry.sha256.sig"])
def test_a_registry_whose_making_was_stopped_is_finished(fresh: Layout, last: str) -> None:
    content = registry.site(fresh, hosts(1))
    registry.ensure(fresh, content, None)
    for name in ("registry.sha256.sig", "registry.sha256", "approvers", "sites/lab-nodes.yaml"):
        (fresh.registry / name).unlink()
        if name == last:
            break
    registry.ensure(fresh, content, None)
    assert Registry.open(fresh.registry).trust(fresh.trust).trusted


SETTINGS = site.settings("registry.lab.example:5000/k8s/")


def test_settings_are_written_when_the_registry_is_made_and_signed_with_it(fresh: Layout) -> None:
    registry.ensure(fresh, registry.site(fresh, hosts(1)), None, SETTINGS)
    opened = Registry.open(fresh.registry)
    assert not opened.problems
    assert opened.trust(fresh.trust).trusted
    assert opened.settings.base_registries == ("registry.lab.example:5000/k8s/",)
    assert "  settings.yaml" in (fresh.registry / "registry.sha256").read_text()


@pytest.mark.parametrize("theirs", [None, "signedRequests: [restricted]\n"], ids=["none", "their-own"])
def test_settings_of_a_registry_that_is_there_are_never_written(fresh: Layout, theirs: str | None) -> None:
    former = registry.ensure(fresh, registry.site(fresh, hosts(1)), None)
    where = fresh.registry / "settings.yaml"
    if theirs:
        where.write_text(theirs)
    registry.ensure(fresh, registry.site(fresh, hosts(2)), former, SETTINGS)
    assert (where.read_text() if where.exists() else None) == theirs


def test_a_registry_that_was_made_and_not_signed_gets_the_settings_it_lacks(fresh: Layout) -> None:
    content = registry.site(fresh, hosts(1))
    registry.ensure(fresh, content, None)
    (fresh.registry / "registry.sha256.sig").unlink()
    registry.ensure(fresh, content, None, SETTINGS)
    assert (fresh.registry / "settings.yaml").read_text() == SETTINGS


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status"], 5, "there is no lab default of nodes"),
        (["status", "--name", "../x"], 2, "cannot name a lab"),
        (["ssh", "node-1"], 5, "has no node node-1"),
        (["ssh", "node-1", "--format", "json", "--", "uptime"], 2, "--format stands behind the node"),
        (["down"], 5, "there is no lab default of nodes"),
        (["down", "--purge", "--name", "typo"], 5, "there is no lab typo of nodes"),
        (["up", "--mirror", "notaurl"], 2, "no address of a mirror"),
        (["up", "--count", "1", "--racks", "2"], 2, "1 node can stand in 1 rack"),
        (["up", "--count", "0"], 2, "0"),
        (["up", "--count", "2", "--racks", "3"], 2, "racks"),
    ],
    ids=lambda value: "-".join(value).replace("/", "_") if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("gcloud_pk.lab.nodes.doctor.require", lambda **_: None)
    found, document, errors = run("lab", "nodes", *arguments)
    assert found == code, errors
    assert said in json.dumps(document)
    assert not (tmp_path / "gcloud-pk" / "node-labs" / "default").exists()
