"""The playbooks are whole: each role says what it takes, what it does and which controls it serves."""

from __future__ import annotations

import configparser
import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from gcloud_pk.model.site import SiteSpec, Ssh
from gcloud_pk.nodes.inventory import API_PORT

ROOT = Path(__file__).parents[2]
PLAYBOOKS = ROOT / "playbooks"
ROLES = sorted(path for path in (PLAYBOOKS / "roles").iterdir() if path.is_dir())
HARDENING = [role for role in ROLES if not role.name.startswith("cluster")]
CATALOGUE = ROOT / "policies" / "controls" / "nodes"
PREPARING = "node"  # tells the others what a node is, and serves no control of its own

# Actions that a module of ansible-core or of ours does better; the words of a command begin with one of these.
DONE_BY_MODULES = {
    *("apt", "apt-get", "aptitude", "dpkg"),
    *("chmod", "chown", "chgrp", "cp", "echo", "install", "ln", "mkdir", "mv", "rm", "sed", "tee", "touch"),
    *("groupadd", "groupdel", "groupmod", "gpasswd", "useradd", "userdel", "usermod"),
    *("service", "sysctl", "systemctl"),
}
COMMANDS = {"ansible.builtin.command", "ansible.builtin.shell", "ansible.builtin.raw", "ansible.builtin.script"}

KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "path": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
    "raw": object,
}

by_hardening_role = pytest.mark.parametrize("role", HARDENING, ids=lambda role: role.name)
by_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


class _Loader(yaml.CSafeLoader):
    """Reads what Ansible adds to YAML as text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix}")


@functools.cache
def _yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), _Loader)


@functools.cache
def _tasks(role: Path) -> list[tuple[str, dict[str, Any], set[str]]]:
    """Return (file, task, tags with those of the blocks around it) of a role's tasks, blocks unfolded."""
    found: list[tuple[str, dict[str, Any], set[str]]] = []

    def walk(name: str, tasks: list[dict[str, Any]], inherited: set[str]) -> None:
        for task in tasks:
            tags = task.get("tags", [])
            known = inherited | ({tags} if isinstance(tags, str) else set(tags))
            parts = [part for part in ("block", "rescue", "always") if part in task]
            for part in parts:
                walk(name, task[part], known)
            if not parts:
                found.append((name, task, known))

    inherited = _tags_of_files(role)
    for path in sorted((role / "tasks").glob("*.yml")):
        walk(path.name, _yaml(path) or [], inherited.get(path.name, set()))
    return found


def _tags_of_files(role: Path) -> dict[str, set[str]]:
    """Return the tags that a file of tasks gets from the task that imports it, or includes it with `apply`."""
    passed: dict[str, set[str]] = {}
    for path in (role / "tasks").glob("*.yml"):
        for task in _yaml(path) or []:
            imported, included = (task.get(f"ansible.builtin.{verb}_tasks") for verb in ("import", "include"))
            if imported:
                passed[imported if isinstance(imported, str) else imported["file"]] = set(task.get("tags", []))
            if isinstance(included, dict):
                passed[included["file"]] = set(included.get("apply", {}).get("tags", []))
    return passed


def _controls(role: Path) -> set[str]:
    """Return the controls that a role stands for: one file of the nodes' catalogue, all of the clusters'."""
    ours = (CATALOGUE.parent / "cluster").glob("*.yaml") if role.name.startswith("cluster") else ()
    files = [path for path in (CATALOGUE / f"{role.name}.yaml", *ours) if path.exists()]
    return {one["id"] for path in files for one in _yaml(path)["controls"]}


def _roles_of_the_playbook() -> list[dict[str, Any]]:
    roles: list[dict[str, Any]] = _yaml(PLAYBOOKS / "harden.yml")[0]["roles"]
    return roles


def test_every_role_is_in_the_playbook_under_its_own_tag() -> None:
    named = {one["role"]: one["tags"] for one in _roles_of_the_playbook()}
    assert sorted(named) == [role.name for role in HARDENING]
    assert {name: tags for name, tags in named.items() if tags != [name]} == {PREPARING: ["always"]}


def cluster_roles() -> list[tuple[str, list[str]]]:
    """Return the roles of cluster.yml with their tags, in the order in which they act."""
    play = _yaml(PLAYBOOKS / "cluster.yml")[0]
    first = [(one["role"], one["tags"]) for one in play["roles"] if one["role"] != PREPARING]
    return first + [(task["ansible.builtin.import_role"]["name"], task["tags"]) for task in play["tasks"]]


def test_the_wrong_nodes_are_refused_first_and_integrity_is_recorded_last() -> None:
    names = [one["role"] for one in _roles_of_the_playbook()]
    assert (names[0], names[-1]) == (PREPARING, "file_integrity")


@by_role
@pytest.mark.parametrize("file", ["README.md", "tasks/main.yml", "defaults/main.yml", "meta/main.yml"])
def test_a_role_has_its_files(role: Path, file: str) -> None:
    assert (role / file).is_file()
    assert (role / file).read_text(encoding="utf-8").strip()


@by_role
def test_a_role_says_what_it_takes(role: Path) -> None:
    options = _yaml(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    prefixes = (f"{role.name}_", "node_")  # its own, and what it reads of the node
    defaults = {
        name
        for name in _yaml(role / "defaults" / "main.yml") or {}
        if name not in {"node_shared_kernel", "node_levels"}
    }
    assert sorted(defaults - set(options)) == []
    assert sorted(name for name in options if not name.startswith(prefixes)) == []
    assert sorted(name for name, option in options.items() if not option.get("description")) == []


@by_role
def test_the_defaults_satisfy_what_a_role_takes(role: Path) -> None:
    options = _yaml(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    for name, value in (_yaml(role / "defaults" / "main.yml") or {}).items():
        templated = isinstance(value, str) and "{{" in value
        if name in options and not templated:
            assert isinstance(value, KINDS[options[name].get("type", "str")]), name
            if options[name].get("choices"):
                assert value in options[name]["choices"]


@by_hardening_role
def test_tasks_are_tagged_with_the_controls_they_serve(role: Path) -> None:
    if role.name == PREPARING:
        return
    known = _controls(role)
    everywhere = set().union(*(_controls(one) for one in ROLES))
    assert known, f"no catalogue file for {role.name}"
    for file, task, tags in _tasks(role):
        controls = {tag for tag in tags if tag.startswith("GPK-")}
        passing = {"ansible.builtin.import_tasks", "ansible.builtin.include_tasks", "ansible.builtin.meta"} & set(task)
        assert passing or controls or "always" in tags, f"{file}: {task['name']} has no control"
        assert sorted(controls - everywhere) == [], f"{file}: {task.get('name')}"


@by_hardening_role
def test_every_control_that_a_role_remedies_tags_a_task(role: Path) -> None:
    path = CATALOGUE / f"{role.name}.yaml"
    if role.name == PREPARING:
        return
    served = set().union(*(tags for one in ROLES for _, _, tags in _tasks(one)))
    remedied = {one["id"] for one in _yaml(path)["controls"] if one["remediation"]}
    proposed = {_yaml(proposal)["control"] for proposal in (role / "waivers").glob("*.yaml")}
    assert sorted(remedied - served - proposed) == []


@by_role
def test_no_command_does_what_a_module_does(role: Path) -> None:
    for file, task, _ in [*_tasks(role), *(("handlers", one, set()) for one in _handlers(role))]:
        for name in COMMANDS & set(task):
            assert name == "ansible.builtin.command", f"{file}: {task['name']} uses a shell"
            said = task[name]
            words = said.get("argv") or said["cmd"].split() if isinstance(said, dict) else said.split()
            assert Path(words[0]).name not in DONE_BY_MODULES, f"{file}: {task['name']}"
            once = "creates" in str(said) or "creates" in task.get("args", {})
            assert "changed_when" in task or once, f"{file}: {task['name']}"


def _handlers(role: Path) -> list[dict[str, Any]]:
    path = role / "handlers" / "main.yml"
    return (_yaml(path) or []) if path.exists() else []


@by_role
def test_every_handler_that_is_notified_exists(role: Path) -> None:
    notified: set[str] = set()
    for _, task, _ in _tasks(role):
        names = task.get("notify", [])
        notified |= {names} if isinstance(names, str) else set(names)
    known = {name for one in _handlers(role) for name in (one["name"], *_listened(one))}
    assert sorted(notified - known) == []


def _listened(handler: dict[str, Any]) -> list[str]:
    listen = handler.get("listen", [])
    return [listen] if isinstance(listen, str) else listen


@by_role
def test_every_template_is_used(role: Path) -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("tasks", "defaults", "vars", "templates", "handlers")
        for path in (role / folder).glob("*")
    )
    unused = [path.name for path in (role / "templates").glob("*") if path.name not in text]
    assert unused == []


@by_role
def test_a_waiver_proposal_names_a_control_of_its_role_and_a_reason(role: Path) -> None:
    for path in (role / "waivers").glob("*"):
        proposal = _yaml(path)
        assert path.suffix == ".yaml"
        assert set(proposal) - {"where"} == {"control", "reason"}
        assert proposal["control"] in _controls(role)
        assert len(proposal["reason"].split()) >= 5


def test_every_concern_that_installs_packages_is_a_role() -> None:
    defaults = _yaml(PLAYBOOKS / "roles" / "packages" / "defaults" / "main.yml")
    concerns = {**defaults["packages_by_concern"], **defaults["packages_by_concern_kubernetes"]}
    assert sorted(set(concerns) - {role.name for role in ROLES}) == []


def test_no_other_role_calls_the_package_tools() -> None:
    callers = {
        role.name
        for role in ROLES
        for _, task, _ in _tasks(role)
        if {"ansible.builtin.apt", "ansible.builtin.package"} & set(task)
    }
    assert callers == {"packages", "cluster_programs"}


@pytest.mark.parametrize("playbook", ["harden.yml", "cluster.yml", "cluster_leave.yml", "cluster_observe.yml"])
def test_ansible_accepts_the_playbook_as_plain_ansible_would_run_it(playbook: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    ansible = Path(sys.executable).parent / "ansible-playbook"
    inventory = tmp_path / "inventory.yml"
    inventory.write_text("all: {hosts: {node-1: {node_level: cl1, node_admin_user: ops}}}\n")
    said = subprocess.run(
        [ansible, "--syntax-check", "-i", inventory, PLAYBOOKS / playbook],
        cwd=tmp_path,
        env={**environment, "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_LOCALHOST_WARNING": "False"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_order_of_the_readme_is_the_order_of_the_playbook() -> None:
    text = (PLAYBOOKS / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| \[`(\w+)`\]\(roles/\w+/README\.md\)", text, re.MULTILINE)
    of_a_cluster = [name for name in named if name.startswith("cluster")]
    assert [name for name in named if name not in of_a_cluster] == [one["role"] for one in _roles_of_the_playbook()]
    played = [role for role, _ in cluster_roles()] + ["cluster_leave"]
    assert of_a_cluster == played
    assert sorted(played) == sorted({role.name for role in ROLES} - {role.name for role in HARDENING})


def test_plain_ansible_and_the_product_make_the_same_of_a_site_that_says_nothing() -> None:
    ssh, fields = Ssh(), SiteSpec.model_fields
    role = PLAYBOOKS / "roles" / PREPARING
    defaults = _yaml(role / "defaults" / "main.yml")
    options = _yaml(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    said = {
        "node_audit_user": ssh.audit_user,
        "node_admin_keys": list(ssh.keys),
        "node_audit_keys": list(ssh.audit_keys),
        "node_ssh_port": ssh.port,
        "node_ssh_allow_from": list(ssh.allow_from),
        "node_time_servers": list(fields["time_servers"].default),
        "node_time_nts": fields["time_nts"].default,
        "node_log_host": fields["log_host"].default or "",
        "node_api_port": API_PORT,
    }
    assert {name: defaults[name] for name in said} == said
    assert {name: options[name]["default"] for name in said} == said


def test_a_node_that_hangs_is_given_up_at_the_first_question() -> None:
    (first, *_) = yaml.safe_load((PLAYBOOKS / "roles/node/tasks/main.yml").read_text())
    assert "node_probe" in first
    assert 30 <= first["timeout"] <= 60


def test_what_boot_masks_is_masked_by_no_other_role() -> None:
    links = _yaml(PLAYBOOKS / "roles/boot/tasks/main.yml")[0]["node_files"]["links"]
    linked = {Path(one["path"]).name for one in links if one["target"] == "/dev/null"}
    masked = set(_yaml(PLAYBOOKS / "roles/services/defaults/main.yml")["services_masked_cl1"])
    assert linked
    assert sorted(linked & masked) == []


def test_ansible_makes_no_folder_on_a_node_that_stays() -> None:
    settings = configparser.ConfigParser()
    settings.read(PLAYBOOKS / "ansible.cfg")
    assert settings["defaults"]["remote_tmp"] == "/tmp"


RUNTIME = (PLAYBOOKS / "roles/cluster_runtime/templates/config.toml.j2").read_text()
HARDENED = (PLAYBOOKS / "roles/kubernetes_node/templates/config.toml.j2").read_text()


@pytest.mark.parametrize(
    ("text", "owned"),
    [
        pytest.param(HARDENED, True, id="ours"),
        pytest.param('version = 2\n[plugins."io.containerd.internal.v1.opt"]\n', True, id="as Debian brings it"),
        pytest.param(RUNTIME, False, id="of the cluster's role, with its registry"),
        pytest.param("version = 2\n", False, id="somebody's own"),
    ],
)
def test_hardening_writes_no_settings_of_the_runtime_over_those_of_a_cluster(text: str, *, owned: bool) -> None:
    tasks = _yaml(PLAYBOOKS / "roles/kubernetes_node/tasks/node.yml")
    said = next(task for task in tasks if "block" in task)["vars"]["kubernetes_node_owned"]
    environment = jinja2.Environment(autoescape=False)
    environment.tests["search"] = lambda text, pattern: re.search(pattern, text) is not None
    known = {
        "kubernetes_node_containerd": True,
        "kubernetes_node_found": {"content": "x"},
        "kubernetes_node_text": text,
    }
    assert environment.from_string(said).render(known).strip() == str(owned)


def test_a_check_does_not_say_twice_what_one_task_writes() -> None:
    tasks = _yaml(PLAYBOOKS / "roles/kubernetes_node/tasks/node.yml")
    block = next(task for task in tasks if "block" in task)
    assert "kubernetes_node_owned" in block["vars"]
    written = block["block"][0]["vars"]["kubernetes_node_containerd_files"]
    modes = next(task["node_modes"]["paths"] for task in block["block"] if "node_modes" in task)
    assert [one["path"] for one in written if one["path"] not in modes] == []
