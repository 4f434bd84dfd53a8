"""A site's life under the real engine: the provider's resources over scripted works."""

from __future__ import annotations

import pytest
from tests.stacks import scripted
from tests.stacks.engine import Desk, host, key, site

# A program of the Automation API that fails leaves coroutines and its event loop to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

ALL = ("c1", "c2", "c3", "w1", "w2")


@pytest.fixture
def standing(desk: Desk) -> Desk:
    """Three control planes and two workers that are there already."""
    assert desk.up(site()).error == ""
    desk.script.taken()
    return desk


def test_an_up_reaches_hardens_bootstraps_joins_and_then_adds_what_nodes_share(desk: Desk) -> None:
    result = desk.up(site())
    deeds = desk.script.taken()

    assert result.error == ""
    assert sorted(deeds[:5]) == [f"reach {name}" for name in ALL]
    assert deeds[5:] == [
        "harden c1,c2,c3,w1,w2",
        "bootstrap c1",
        "join c1,c2,c3,w1,w2",
        "addons c1,c2,c3,w1,w2",
    ]
    outputs = desk.stack(site()).outputs()
    assert outputs["uid"].value == scripted.UID
    assert outputs["etcdMembers"].value == ["c1", "c2", "c3"]
    assert outputs["clusters"].value["lab-dc-a"]["endpoint"] == "https://10.207.0.10:6443"
    assert outputs["kubeconfigs"].secret
    assert outputs["kubeconfig"].secret
    assert outputs["kubeconfigs"].value["lab-dc-a"]["verifier"] == scripted.SECRET
    # Progress came by the resource that it is of.
    assert ("info", "w1", "ssh: its settings") in result.said
    assert ("info", "c3", "cluster_join: join") in result.said
    assert ("info", "lab-dc-a", "c1: cluster_control_plane: init") in result.said


def test_a_second_up_asks_nothing_of_any_machine_and_changes_nothing(standing: Desk) -> None:
    result = standing.up(site())

    assert (result.error, result.operations, standing.script.taken()) == ("", {}, [])


def test_no_credential_stands_in_the_state_in_clear(standing: Desk) -> None:
    state = standing.state()

    assert "lab-dc-a" in state
    assert scripted.SECRET not in state
    assert scripted.SECRET.split(": ")[1] not in state


def test_a_changed_setting_of_the_kubelet_updates_exactly_the_members(standing: Desk) -> None:
    result = standing.up(site(kubelet={"maxPods": 90}))

    assert result.error == ""
    assert result.operations == {f"Member {name}": "update" for name in ALL}
    assert result.detailed["Member w1"] == {"kubelet.maxPods": "add"}
    assert standing.script.taken() == ["join c1,c2,c3,w1,w2"]


def test_what_no_machine_is_told_of_changes_nothing(standing: Desk) -> None:
    found = site()
    power = {"components": [{"name": "ups-a", "kind": "ups", "kw": 40}]}
    document = found.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    document["spec"]["power"] = power
    result = standing.up(type(found).model_validate(document))

    assert (result.error, result.operations) == ("", {})


def test_a_worker_that_left_the_site_leaves_the_cluster_before_its_machine_is_given_back(standing: Desk) -> None:
    remaining = [host("c1", 11), host("c2", 12), host("c3", 13), host("w1", 21)]
    result = standing.up(site(*remaining))

    assert result.error == ""
    assert result.operations == {
        "Addons lab-dc-a": "update",
        "Member w2": "delete",
        "HardenedNode w2": "delete",
        "Machine w2": "delete",
    }
    assert standing.script.taken() == ["addons c1,c2,c3,w1", "leave w2", "release w2"]


def test_a_node_more_touches_no_other(standing: Desk) -> None:
    five = [host("c1", 11), host("c2", 12), host("c3", 13), host("w1", 21), host("w2", 22)]
    result = standing.up(site(*five, host("w3", 23)))

    assert result.error == ""
    assert result.operations == {
        "Machine w3": "create",
        "HardenedNode w3": "create",
        "Member w3": "create",
        "Addons lab-dc-a": "update",
    }
    assert standing.script.taken() == ["reach w3", "harden w3", "join w3", "addons c1,c2,c3,w1,w2,w3"]


def test_a_control_plane_may_not_leave_while_another_is_down(standing: Desk) -> None:
    standing.script.set(down=["c3"])
    two = [host("c1", 11), host("c3", 13), host("w1", 21), host("w2", 22)]
    result = standing.up(site(*two))

    assert "without c2 etcd would have 1 of the 2 healthy members that 2 need (not healthy: c3)" in result.error
    assert "bring back what is down" in result.error
    assert not [deed for deed in standing.script.taken() if "leave" in deed or "release" in deed]

    standing.script.set()
    again = standing.up(site(*two))
    assert again.error == ""
    assert standing.script.taken() == ["leave c2", "release c2"]


def test_the_one_that_is_down_may_leave(standing: Desk) -> None:
    standing.script.set(down=["c2"])
    result = standing.up(site(host("c1", 11), host("c3", 13), host("w1", 21), host("w2", 22)))

    assert result.error == ""
    assert "leave c2" in standing.script.taken()


def test_one_machine_that_fails_does_not_undo_the_others(desk: Desk) -> None:
    desk.script.set(refuses=["reach w1"], fails=["harden w2"])
    result = desk.up(site())

    assert "w1: it cannot be reached" in result.error
    assert "w2: the task broke" in result.error
    assert "see that it runs" in result.error
    assert desk.script.taken()[-3:] == ["bootstrap c1", "join c1,c2,c3", "addons c1,c2,c3,w1,w2"]

    desk.script.set()
    again = desk.up(site())
    assert again.error == ""
    # w2 was begun, so it is gone on with; w1 was never there.
    assert again.operations == {
        "Machine w1": "create",
        "HardenedNode w1": "create",
        "Member w1": "create",
        "HardenedNode w2": "update",
        "Member w2": "create",
    }
    assert desk.script.taken() == ["reach w1", "harden w1,w2", "join w1,w2"]


def test_a_control_plane_that_was_half_made_is_gone_on_with(desk: Desk) -> None:
    desk.script.set(fails=["bootstrap lab-dc-a"])
    first = desk.up(site())
    assert "lab-dc-a: the task broke" in first.error
    assert "Member c1" not in first.operations

    desk.script.set()
    desk.script.taken()
    again = desk.up(site())
    assert again.error == ""
    assert again.operations["ControlPlane lab-dc-a"] == "update"
    assert desk.script.taken() == ["bootstrap c1", "join c1,c2,c3,w1,w2", "addons c1,c2,c3,w1,w2"]


def test_a_machine_with_other_host_keys_is_another_machine(standing: Desk) -> None:
    anew = host("w2", 22, hostKeys=[key("w2", 2)])
    result = standing.up(site(host("c1", 11), host("c2", 12), host("c3", 13), host("w1", 21), anew))

    assert result.error == ""
    assert standing.script.taken() == ["leave w2", "release w2", "reach w2", "harden w2", "join w2"]
    assert set(result.operations) == {"Machine w2", "HardenedNode w2", "Member w2"}


def test_a_host_key_more_is_no_other_machine(standing: Desk) -> None:
    anew = host("w2", 22, hostKeys=[key("w2"), key("w2", 2)])
    result = standing.up(site(host("c1", 11), host("c2", 12), host("c3", 13), host("w1", 21), anew))

    assert (result.error, result.operations) == ("", {"Machine w2": "update"})


def test_a_preview_does_nothing_on_any_machine(desk: Desk) -> None:
    assert len(desk.preview(site()).operations) == 23
    assert desk.up(site()).error == ""
    desk.script.taken()

    result = desk.preview(site(kubelet={"maxPods": 90}))

    assert len(result.operations) == 5
    assert desk.script.taken() == []


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"version": "1.38.0"}, "kubeadm goes up one minor version at a time, to 1.37 first"),
        ({"version": "1.35.9"}, "Kubernetes does not go back to 1.35.9"),
        ({"endpoint": "https://10.207.0.99:6443"}, "the endpoint of a cluster that lives cannot be changed"),
        (
            {"networks": {"pods": "10.218.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"}},
            "the networks of a cluster that lives cannot be changed",
        ),
    ],
    ids=["two-minors-up", "one-minor-down", "endpoint", "networks"],
)
def test_what_a_living_cluster_cannot_take_is_said_by_the_preview(
    standing: Desk, cluster: dict[str, object], words: str
) -> None:
    result = standing.preview(site(**cluster))

    assert words in result.error
    assert standing.script.taken() == []


def test_the_control_planes_are_never_all_exchanged_at_once(standing: Desk) -> None:
    others = [host("c4", 14), host("c5", 15), host("c6", 16), host("w1", 21), host("w2", 22)]
    result = standing.preview(site(*others))

    assert "none of the control planes that it has would stay (c1, c2, c3)" in result.error
    assert standing.script.taken() == []


def test_a_cluster_that_was_made_is_never_begun_anew_in_its_place(standing: Desk) -> None:
    standing.script.set(uid="6c0e1c3e-0000-4000-8000-00000000000f")
    result = standing.up(site(failureDetection="fast"))

    assert "has the UID 6c0e1c3e-0000-4000-8000-00000000000f; it had" in result.error
    assert standing.script.world["known"] == scripted.UID  # the playbook is told, and refuses to begin another


def test_a_cluster_that_was_restored_is_known_again_by_the_uid_that_the_site_registers(standing: Desk) -> None:
    former = "6c0e1c3e-0000-4000-8000-00000000000f"
    standing.script.set(uid=former)

    assert standing.refresh(site()).error == ""
    assert standing.up(site()).operations == {}, "nobody registered it: it stays another cluster"

    assert standing.refresh(site(uid=former)).error == ""
    result = standing.up(site(uid=former))
    assert result.error == ""
    assert result.operations == {"ControlPlane lab-dc-a": "update", "Addons lab-dc-a": "update"}
    assert standing.stack(site()).outputs()["uid"].value == former
    assert standing.refresh(site(uid=former)).error == ""
    assert standing.up(site(uid=former)).operations == {}


def test_a_cluster_is_not_taken_down_by_leaving_it_out(standing: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    found = site(version=None)
    refused = standing.up(found)

    assert "a cluster is not taken down by leaving it out of the site file" in refused.error
    assert standing.script.taken() == []

    monkeypatch.setenv("GCLOUD_PK_DISMANTLE", "lab-dc/lab-dc-a")
    assert standing.up(found).error == ""
    assert standing.script.taken() == ["reset c1,c2,c3,w1,w2"]


def test_a_refresh_finds_a_node_that_is_gone_and_a_machine_off_its_baseline(standing: Desk) -> None:
    world = standing.script.world
    del world["nodes"]["w2"]
    standing.script.world = world
    standing.script.set(deviates=["c2"])

    assert standing.refresh(site()).error == ""
    assert sorted(standing.script.taken()) == ["deviations c1,c2,c3,w1,w2", *(f"reach {name}" for name in ALL)]
    assert scripted.SECRET not in standing.state()

    result = standing.up(site())
    assert result.operations == {"Member w2": "create", "HardenedNode c2": "update"}
    assert standing.stack(site()).outputs()["kubeconfigs"].secret


def test_a_refresh_finds_settings_that_were_changed_on_a_node_and_the_next_up_puts_them_right(standing: Desk) -> None:
    standing.script.set(drifted=["c2", "w1"])
    assert standing.refresh(site()).error == ""

    standing.script.set(drifted=[])
    assert standing.up(site()).operations == {"Member c2": "update", "Member w1": "update"}


def test_a_destroy_ends_with_the_last_control_plane_and_gives_every_machine_back(standing: Desk) -> None:
    result = standing.destroy(site())
    deeds = standing.script.taken()

    assert result.error == ""
    assert sorted(deeds[:2]) == ["leave w1", "leave w2"]
    assert deeds[2:5] == ["leave c3", "leave c2", "reset c1"]
    assert sorted(deeds[5:]) == [f"release {name}" for name in ALL]


def test_a_cluster_that_goes_as_a_whole_is_only_reset(standing: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCLOUD_PK_DISMANTLE", "lab-dc")
    result = standing.destroy(site())

    assert result.error == ""
    assert standing.script.taken()[0] == "reset c1,c2,c3,w1,w2"


def test_a_cluster_with_another_uid_than_the_site_says_is_not_taken_for_ours(desk: Desk) -> None:
    result = desk.up(site(uid="6c0e1c3e-0000-4000-8000-00000000000f"))

    assert "it is another cluster" in result.error
    assert not [deed for deed in desk.script.taken() if deed.startswith("join")]


def test_where_a_preview_is_meant_nothing_is_written_whatever_the_engine_asks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCLOUD_PK_PREVIEW", "1")
    result = desk.up(site())

    assert "a preview writes nothing" in result.error
    assert desk.script.taken() == []
