"""Works by Ansible: what is run over whom, and what a run's end means for each host. Ansible itself is played."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.stacks.engine import host, site

from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.site import Host
from gcloud_pk.nodes import record
from gcloud_pk.nodes.events import End, Play, Result, Start, Task
from gcloud_pk.nodes.outcome import Run
from gcloud_pk.nodes.run import Order, Played
from gcloud_pk.stack import ansible_works
from gcloud_pk.stack.ansible_works import AnsibleWorks, read_observation, with_hosts
from gcloud_pk.stack.works import EtcdMember, Node

SITE = site()
CLUSTER = SITE.spec.clusters[0]
HOSTS = {one.name: one for one in SITE.spec.hosts}
OBSERVED = {
    "uid": "6c0e1c3e-0000-4000-8000-000000000001",
    "nodes": [
        {"name": "c1", "ready": True, "version": "v1.36.3"},
        {"name": "w1", "ready": False, "version": "v1.36.3"},
    ],
    "etcdMembers": [{"name": "c1", "healthy": True}],
}


class Stage:
    """Stands for Ansible: takes orders, and answers each by what `status` says of a host (ok where it says nothing)."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.status: dict[str, str] = {}
        self.observed: Mapping[str, Any] | None = OBSERVED

    def __call__(self, order: Order, tell: Callable[..., None] = lambda *_: None, **_: Any) -> Played:
        self.orders.append(order)
        run = Run.of(order.site, order.hosts, check=order.check)
        task = Task("t1", "Install packages", "packages", ())
        for event in (Play("p", ("node", "packages")), task):
            run.tell(event)
        for one in order.hosts:
            tell(run, Start(one.name, "t1"))
            status = self.status.get(one.name, "ok")
            run.tell(Result(one.name, "t1", status, 1.0, message="apt broke" if status != "ok" else ""))  # type: ignore[arg-type] # a status by its word
        failed = {name for name, status in self.status.items() if status in {"failed", "unreachable"}}
        run.tell(End(frozenset(failed)))
        run.close()
        for name, file in order.variables.items():
            if name == "cluster_observation_file" and self.observed is not None:
                Path(file).write_text(json.dumps(self.observed))
            if name == "cluster_credentials_folder":
                for identity in (*ansible_works.IDENTITIES,):
                    Path(file, f"{identity}.conf").write_text(f"kubeconfig of {identity}")
                Path(file, "ca.crt").write_text("CA")
        return Played(run, 2 if failed else 0, "", interrupted=False)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    found = Stage()
    monkeypatch.setattr(ansible_works, "play", found)
    monkeypatch.setenv("GCLOUD_PK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("GCLOUD_PK_SSH_CONFIG", str(tmp_path / "ssh_config"))
    return found


@pytest.fixture
def works(stage: Stage) -> AnsibleWorks:
    return AnsibleWorks(threading.Event())


def _nobody(*_: str) -> None:
    return


def _chosen(*names: str) -> list[Host]:
    return [HOSTS[name] for name in names]


def test_hardening_is_one_run_of_the_baseline_over_all_who_came(works: AnsibleWorks, stage: Stage) -> None:
    heard: list[tuple[str, str]] = []
    found = works.harden(SITE, _chosen("c1", "w1"), lambda name, line: heard.append((name, line)))

    (order,) = stage.orders
    assert (order.file.name, [one.name for one in order.hosts], order.beside) == ("harden.yml", ["c1", "w1"], ())
    assert order.ssh_config is not None
    assert {name: one.done for name, one in found.items()} == {"c1": True, "w1": True}
    assert heard == [("c1", "packages: Install packages"), ("w1", "packages: Install packages")]


def test_a_host_that_fails_is_told_from_one_that_was_never_written_to(works: AnsibleWorks, stage: Stage) -> None:
    stage.status = {"c1": "failed", "w1": "unreachable"}
    found = works.harden(SITE, _chosen("c1", "w1", "w2"), _nobody)

    assert (found["c1"].done, found["c1"].written) == (False, True)
    assert (found["w1"].done, found["w1"].written) == (False, False)
    assert found["w2"].done
    assert found["c1"].words == "c1: apt broke (packages: Install packages)"


def test_each_run_is_kept_as_node_harden_keeps_it(works: AnsibleWorks, tmp_path: Path) -> None:
    works.join(SITE, CLUSTER, _chosen("w1"), _nobody)
    ((_, kept),) = record.records(tmp_path / "runs")

    assert kept["playbook"]["name"] == "cluster.yml"
    assert kept["outcome"] == "done"
    assert kept["summary"] == "1 host done, 0 changed"
    assert [one["name"] for one in kept["hosts"]] == ["w1"]


def test_a_join_acts_on_those_who_join_with_the_others_beside(works: AnsibleWorks, stage: Stage) -> None:
    works.join(SITE, CLUSTER, _chosen("c2", "w1"), _nobody)

    (order,) = stage.orders
    assert order.tags == ("programs", "runtime", "endpoint", "join")
    assert [one.name for one in order.hosts] == ["c2", "w1"]
    assert [one.name for one in order.beside] == ["c1", "c3", "w2"]
    assert order.variables["cluster_name"] == "lab-dc-a"


def test_after_a_run_that_broke_off_only_those_joined_whom_the_cluster_knows(works: AnsibleWorks, stage: Stage) -> None:
    stage.status = {"c2": "failed"}
    found = works.join(SITE, CLUSTER, _chosen("c2", "w1", "w2"), _nobody)

    assert found["w1"].done
    assert not found["w2"].done
    assert found["w2"].words == "w2: the run ended before it had joined"


def test_credentials_come_with_the_control_plane_and_lie_nowhere_afterwards(works: AnsibleWorks, stage: Stage) -> None:
    assert works.bootstrap(SITE, CLUSTER, _chosen("c1"), _nobody).done
    access = works.access(SITE, CLUSTER)

    (order,) = stage.orders
    assert dict(access.kubeconfigs) == {name: f"kubeconfig of {name}" for name in ansible_works.IDENTITIES}
    assert access.ca == "CA"
    assert "kubeconfig of" not in repr(access)
    assert not Path(order.variables["cluster_credentials_folder"]).exists()


def test_those_who_join_next_are_prepared_with_the_control_plane_and_then_only_join(
    works: AnsibleWorks, stage: Stage
) -> None:
    stage.status = {"w2": "failed"}
    assert works.bootstrap(SITE, CLUSTER, _chosen("c1"), _nobody, _chosen("c2", "w1", "w2")).done
    stage.status = {}
    works.join(SITE, CLUSTER, _chosen("c1", "c2", "w1"), _nobody)
    works.join(SITE, CLUSTER, _chosen("w2"), _nobody)
    works.join(SITE, CLUSTER, _chosen("w1"), _nobody)

    assert [one.name for one in stage.orders[0].hosts] == ["c1", "c2", "w1", "w2"]
    assert [order.tags[0] for order in stage.orders] == ["programs", "join", "programs", "programs"]


def test_credentials_are_fetched_where_they_did_not_come(works: AnsibleWorks, stage: Stage) -> None:
    assert works.access(SITE, CLUSTER).ca == "CA"
    assert stage.orders[0].tags == ("credentials",)


def test_add_ons_come_on_the_members_that_there_are(works: AnsibleWorks, stage: Stage) -> None:
    assert works.addons(SITE, CLUSTER, _chosen("c1", "c2", "w1"), _nobody).done

    assert [one.name for one in stage.orders[-1].hosts] == ["c1", "w1"]


def test_a_host_that_left_the_site_is_in_the_inventory_once_more_when_it_leaves(
    works: AnsibleWorks, stage: Stage
) -> None:
    smaller = site(host("c1", 11), host("w1", 21))
    assert works.leave(smaller, CLUSTER, _chosen("w2"), _nobody, dismantle=False)["w2"].done

    (order,) = stage.orders
    assert (order.file.name, [one.name for one in order.hosts]) == ("cluster_leave.yml", ["w2"])
    assert "w2" in order.variables["cluster_hosts"]
    assert order.variables["cluster_leave_dismantle"] is False


def test_a_host_that_has_changed_leaves_as_what_it_was(works: AnsibleWorks, stage: Stage) -> None:
    # By its new address its old member of etcd would not be found, nor taken out.
    moved = site(host("c1", 11), host("c2", 12), host("c3", 33, role="worker"))
    assert works.leave(moved, CLUSTER, _chosen("c3"), _nobody, dismantle=False)["c3"].done

    (order,) = stage.orders
    assert [one.address for one in order.hosts] == ["10.207.0.13"]
    was = order.variables["cluster_hosts"]["c3"]
    assert was == {"address": "10.207.0.13", "role": "control-plane", "rack": "rack-3"}


@pytest.mark.parametrize("now", ["lab-dc-b", None])
def test_a_host_that_went_to_another_cluster_leaves_its_own(now: str | None, works: AnsibleWorks, stage: Stage) -> None:
    # Unknown to its cluster, the playbook would leave it alone, and say that all is done.
    renamed = site(host("c1", 11, cluster=now), host("w1", 21, cluster=now), name="lab-dc-b")
    assert works.leave(renamed, CLUSTER, _chosen("c1", "w1"), _nobody, dismantle=True)["w1"].done

    assert list(stage.orders[0].variables["cluster_hosts"]) == ["c1", "w1"]


def test_a_host_that_named_no_cluster_leaves_the_one_that_it_was_in(works: AnsibleWorks, stage: Stage) -> None:
    left = [one.model_copy(update={"cluster": None}) for one in _chosen("c1", "w1")]
    renamed = site(host("c9", 19, cluster=None), name="lab-dc-b")
    assert works.leave(renamed, CLUSTER, left, _nobody, dismantle=True)["w1"].done

    assert list(stage.orders[0].variables["cluster_hosts"]) == ["c1", "w1"]


def test_a_host_that_is_gone_has_left_once_the_cluster_knows_it_no_more(works: AnsibleWorks, stage: Stage) -> None:
    stage.status = {"w2": "unreachable", "w1": "unreachable"}

    assert works.leave(SITE, CLUSTER, _chosen("w2"), _nobody, dismantle=False)["w2"].done
    assert not works.leave(SITE, CLUSTER, _chosen("w1"), _nobody, dismantle=False)["w1"].done
    assert works.leave(SITE, CLUSTER, _chosen("w1"), _nobody, dismantle=True)["w1"].done


def test_a_cluster_that_left_the_site_is_known_for_the_leave(works: AnsibleWorks) -> None:
    other = CLUSTER.model_copy(update={"name": "lab-dc-b"})
    found = with_hosts(SITE, other, _chosen("w1"))

    assert [one.name for one in found.spec.clusters] == ["lab-dc-a", "lab-dc-b"]
    assert len(found.spec.hosts) == 5


def test_what_hardening_would_change_is_asked_in_check_mode(works: AnsibleWorks, stage: Stage) -> None:
    stage.status = {"c1": "changed", "w1": "unreachable"}
    found = works.deviations(SITE, _chosen("c1", "c2", "w1"), _nobody)

    assert stage.orders[0].check
    assert found == {"c1": ["packages: Install packages"], "c2": []}


def test_no_control_plane_that_answers_is_said(works: AnsibleWorks, stage: Stage) -> None:
    stage.observed = None
    with pytest.raises(UnavailableError, match="no control plane of lab-dc-a says how the cluster is"):
        works.observe(SITE, CLUSTER)


def test_an_observation_is_read_as_it_was_written() -> None:
    found = read_observation(json.dumps(OBSERVED).encode())

    assert found.nodes == (Node("c1", ready=True, version="v1.36.3"), Node("w1", ready=False, version="v1.36.3"))
    assert found.etcd == (EtcdMember("c1", healthy=True),)
    assert found.drifted == {}


def test_an_observation_tells_on_which_nodes_settings_were_changed() -> None:
    said = {**OBSERVED, "drifted": {"c1": ["kubelet", "control_plane"], "w1": []}}
    assert read_observation(json.dumps(said).encode()).drifted == {"c1": ("kubelet", "control_plane")}


@pytest.mark.parametrize(("whole", "hosts"), [(False, ["c1", "c2", "c3"]), (True, ["c1", "c2", "c3", "w1", "w2"])])
def test_workers_are_looked_at_only_where_the_whole_is_asked_for(
    whole: bool, hosts: list[str], works: AnsibleWorks, stage: Stage
) -> None:
    works.observe(SITE, CLUSTER, whole=whole)
    assert [host.name for host in stage.orders[0].hosts] == hosts


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"uid": 1, "nodes": [], "etcdMembers": []}', b"\xff"])
def test_an_answer_of_another_shape_is_none(said: bytes) -> None:
    with pytest.raises(UnavailableError, match="something else"):
        read_observation(said)
