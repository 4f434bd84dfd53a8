"""`gcloud-pk datacenter` over the real engine and scripted machines: carried out, stopped, killed, taken up again."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.stacks import scripted
from tests.stacks.desk_of_cli import SITE, CliDesk
from tests.stacks.engine import host, key, site

pytestmark = pytest.mark.slow

ALL = ("c1", "c2", "c3", "w1", "w2")


@pytest.fixture
def desk(tmp_path: Path, program: Path, registry_folder: Path, keys: Path, public: Callable[[str], str]) -> CliDesk:
    """Return a registry with one site, signed by its keeper; nothing was made of it yet."""
    (tmp_path / "trust").write_text(f'keeper@ntc.example namespaces="gcloud-pk-registry" {public("keeper")}\n')
    one = CliDesk(tmp_path, program)
    one.write(site(), keys / "keeper")
    return one


def test_an_up_is_shown_carried_out_and_then_has_nothing_left_to_do(desk: CliDesk) -> None:
    first = desk.up()

    assert (first.code, first.err.count("error")) == (0, 0), first.err
    assert "rack-1   c1        take in; harden; join lab-dc-a as control-plane" in first.out
    assert "6 to make, 0 unchanged" in first.out
    assert "c1: harden: done" in first.err

    desk.script.taken()
    second = desk.up("--format", "json")

    assert second.code == 0
    assert second.document["outcome"] == "unchanged"
    assert second.document["plan"]["counts"]["same"] == 6
    assert desk.script.taken() == []
    assert second.seconds < 30


def test_a_preview_touches_no_machine(desk: CliDesk) -> None:
    shown = desk.run("preview", SITE, "--format", "json")

    assert shown.code == 0, shown.err
    assert shown.document["plan"]["counts"]["make"] == 6
    assert desk.script.taken() == []


def test_a_preview_that_looks_at_every_node_shows_what_deviates_and_writes_nothing(desk: CliDesk) -> None:
    assert desk.up().code == 0
    desk.script.taken()
    same = desk.run("preview", SITE, "--refresh", "--format", "json")
    assert (same.code, same.document["plan"]["counts"]["same"]) == (0, 6), same.err

    desk.script.set(deviates=["c2"])
    desk.script.taken()
    shown = desk.run("preview", SITE, "--refresh")
    assert shown.code == 0, shown.err
    assert "harden again (baseline changed)" in shown.out
    assert "1 to change, 5 unchanged" in shown.out
    assert all(deed.startswith(("reach", "deviations")) for deed in desk.script.taken())


def test_the_state_is_readable_by_its_owner_alone_and_holds_no_credential_in_clear(desk: CliDesk) -> None:
    assert desk.up().code == 0

    for path in [desk.place.folder, *desk.place.folder.rglob("*")]:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
        if path.is_file():
            assert scripted.SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("killed", ["the program", "the engine", "both"])
def test_after_a_kill_the_next_up_goes_on_without_anybodys_help(desk: CliDesk, killed: str) -> None:
    desk.script.set(seconds={"harden": 3})
    with desk.start("up", SITE, "--yes") as process:
        desk.until("reach")
        time.sleep(1.5)
        engine = desk.engine()
        if killed != "the engine":
            process.kill()
        if killed != "the program":
            os.kill(engine, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    if killed == "the engine":
        assert process.returncode == 8, err
        assert "the engine was killed" in err
    desk.script.set()

    again = desk.up()

    assert again.code == 0, again.err
    assert sorted(desk.script.world["nodes"]) == list(ALL)
    assert desk.place.locks() == []
    assert not desk.state().get("pending_operations")
    assert desk.at_work() == []
    assert desk.up("--format", "json").document["outcome"] == "unchanged"


@pytest.mark.parametrize("cut", [f"{SITE}.json", f"{SITE}.json.attrs"], ids=["state", "attributes"])
def test_a_state_that_a_killed_engine_left_cut_is_put_back_and_gone_on_with(desk: CliDesk, cut: str) -> None:
    assert desk.up().code == 0
    assert desk.place.state
    file = desk.place.state / ".pulumi" / "stacks" / "datacenter" / cut
    file.write_bytes(file.read_bytes()[:40])

    again = desk.up()

    assert again.code == 0, again.err
    assert f"a run that was killed left {'the state' if cut.endswith('json') else cut} cut" in again.err
    assert len(list(file.parent.glob(f"{cut}.broken-*"))) == 1
    assert sorted(desk.script.world["nodes"]) == list(ALL)
    assert desk.up("--format", "json").document["outcome"] == "unchanged"


def test_ctrl_c_waits_for_what_is_under_way_and_leaves_a_state_that_is_whole(desk: CliDesk) -> None:
    desk.script.set(seconds={"harden": 3})
    with desk.start("up", SITE, "--yes") as process:
        desk.until("reach w2")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert process.returncode == 8, err
    assert "stopping after what is under way" in err
    assert "run gcloud-pk datacenter up lab-dc again" in err
    assert desk.place.locks() == []
    assert not desk.state().get("pending_operations")
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_a_second_ctrl_c_ends_at_once_and_the_next_up_goes_on(desk: CliDesk) -> None:
    desk.script.set(seconds={"harden": 20})
    with desk.start("up", SITE, "--yes") as process:
        desk.until("reach w2")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, err = process.communicate(timeout=60)

    assert process.returncode == 8, err
    assert time.monotonic() - started < 10
    desk.script.set()
    assert desk.up().code == 0


def test_a_second_run_is_refused_and_told_who_is_at_work(desk: CliDesk) -> None:
    desk.script.set(seconds={"harden": 12})
    with desk.start("up", SITE, "--yes") as process:
        desk.until("reach")
        second = desk.up()
        process.kill()
        process.communicate(timeout=60)

    assert second.code == 4
    assert "another run over site lab-dc is at work" in second.err
    assert f"process {process.pid}: up of site lab-dc" in second.err


def test_one_machine_that_fails_stops_none_of_the_others(desk: CliDesk) -> None:
    desk.script.set(fails=["join w1"])
    first = desk.up("--format", "json")

    assert first.code == 8
    assert [one["name"] for one in first.document["failed"]] == ["w1"]
    assert first.document["error"]["code"] == 8
    assert "w2" in desk.script.world["nodes"]

    desk.script.set()
    assert desk.up().code == 0
    assert "w1" in desk.script.world["nodes"]


def test_a_machine_that_cannot_be_spared_for_its_replacement_is_said_and_the_run_ends(
    desk: CliDesk, keys: Path
) -> None:
    assert desk.up().code == 0
    desk.script.taken()
    desk.script.set(down=["c2"])
    desk.write(
        site(host("c1", 11), host("c2", 12), host("c3", 13, hostKeys=[key("c3", 2)]), host("w1", 21), host("w2", 22)),
        keys / "keeper",
    )

    done = desk.up()

    assert done.code == 8, done.err
    assert "without c3 etcd would have 1 of the 2 healthy members that 2 need" in done.err
    assert not [deed for deed in desk.script.taken() if "leave" in deed or "release" in deed]
    desk.script.set()
    assert desk.up().code == 0


def test_machines_that_cannot_be_reached_are_no_half_done_work(desk: CliDesk) -> None:
    desk.script.set(refuses=[f"reach {name}" for name in ALL])
    done = desk.up()

    assert done.code == 5, done.err
    assert "w1: it cannot be reached" in done.err


def test_a_passphrase_that_is_another_one_is_refused(desk: CliDesk) -> None:
    assert desk.up().code == 0
    desk.script.taken()

    done = desk.up(PULUMI_CONFIG_PASSPHRASE="another one")

    assert done.code == 4, done.err
    assert "the passphrase is not the one" in done.err
    assert desk.script.taken() == []


def test_everything_that_is_missing_is_named_at_once(desk: CliDesk, keys: Path) -> None:
    desk.write(site(endpoint=None), keys / "keeper")

    done = desk.up(PULUMI_CONFIG_PASSPHRASE="", GCLOUD_PK_ENGINE=str(desk.folder / "no-engine"))

    assert done.code == 3, done.err
    assert "cluster lab-dc-a is to be made and has no endpoint" in done.err
    assert "sites/lab-dc.yaml:" in done.err
    assert "the passphrase that keeps the stack's secrets is missing" in done.err
    assert "no-engine is no Pulumi engine" in done.err
    assert not desk.place.home.exists()


def test_kubeadm_takes_one_minor_release_at_a_time(desk: CliDesk, keys: Path) -> None:
    assert desk.up().code == 0
    desk.script.taken()
    desk.write(site(version="1.38.0"), keys / "keeper")

    done = desk.up()

    assert done.code == 3, done.err
    assert "cluster lab-dc-a runs 1.36.3: kubeadm goes up one minor release at a time" in done.err
    assert "spec.clusters[0].version" in done.err
    assert desk.script.taken() == []


def test_the_lock_of_a_living_process_is_respected_until_it_is_unlocked(desk: CliDesk) -> None:
    assert desk.up().code == 0
    assert desk.place.state
    folder = desk.place.state / ".pulumi" / "locks" / "organization" / "datacenter" / SITE
    folder.mkdir(parents=True, exist_ok=True)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    held = {"pid": os.getpid(), "username": "noor", "hostname": socket.gethostname(), "timestamp": since}
    (folder / "8d1f6a62-6c86-4c4b-9a9b-0c8f0a0d1a11.json").write_text(json.dumps(held))

    refused = desk.up()
    unlocked = desk.run("unlock", SITE, "--yes")

    assert refused.code == 4, refused.err
    assert f"noor@{socket.gethostname()} since {since}, process {os.getpid()}" in refused.err
    assert unlocked.code == 0, unlocked.err
    assert desk.place.locks() == []
    assert desk.up().code == 0


def test_a_state_that_another_machine_left_cut_is_put_back_once_it_is_unlocked(desk: CliDesk) -> None:
    assert desk.up().code == 0
    assert desk.place.state
    folder = desk.place.state / ".pulumi" / "locks" / "organization" / "datacenter" / SITE
    folder.mkdir(parents=True, exist_ok=True)
    held = {"pid": 7, "username": "noor", "hostname": "another.example", "timestamp": "2026-11-22T13:29:00Z"}
    (folder / "8d1f6a62-6c86-4c4b-9a9b-0c8f0a0d1a11.json").write_text(json.dumps(held))
    file = desk.place.state / ".pulumi" / "stacks" / "datacenter" / f"{SITE}.json"
    file.write_bytes(b"")

    refused = desk.up()
    left = file.read_bytes()
    unlocked = desk.run("unlock", SITE, "--yes")

    assert (refused.code, left) == (4, b""), refused.err
    assert unlocked.code == 0, unlocked.err
    assert "a run that was killed left the state cut" in unlocked.err
    assert desk.up().code == 0


def test_a_changed_setting_is_shown_with_both_values_and_changes_just_that(desk: CliDesk, keys: Path) -> None:
    desk.write(site(kubelet={"maxPods": 110}), keys / "keeper")
    assert desk.up().code == 0
    desk.script.taken()
    desk.write(site(kubelet={"maxPods": 90}), keys / "keeper")

    done = desk.up()

    assert done.code == 0, done.err
    assert "configure (kubelet.maxPods: 110 → 90)" in done.out
    assert "5 to change, 1 unchanged" in done.out
    assert desk.script.taken() == ["join c1,c2,c3,w1,w2"]


def test_a_cluster_that_the_site_file_leaves_out_is_taken_down_by_its_name_alone(desk: CliDesk, keys: Path) -> None:
    assert desk.up().code == 0
    desk.script.taken()
    desk.write(site(version=None), keys / "keeper")

    seen, done = desk.run("preview", SITE), desk.up()

    for one in (seen, done):
        assert one.code == 4, one.err
        assert "lab-dc-a: a cluster is not taken down by leaving it out of the site file" in one.err
    named = desk.up(GCLOUD_PK_DISMANTLE="lab-dc/lab-dc-a")
    assert named.code == 4, named.err
    assert "tenants live on the clusters of site lab-dc, or may" in named.err
    assert desk.script.taken() == []


def test_a_machine_that_left_the_site_is_drained_before_it_goes(desk: CliDesk, keys: Path) -> None:
    assert desk.up().code == 0
    desk.script.taken()
    desk.write(
        site(*(host(name, 11 + n if name[0] == "c" else 18 + n) for n, name in enumerate(ALL[:-1]))), keys / "keeper"
    )

    done = desk.up()

    assert done.code == 0, done.err
    assert "-  rack-2" in done.out
    assert "cordon, drain, leave etcd, reset" in done.out
    deeds = desk.script.taken()
    assert deeds.index("leave w2") < deeds.index("release w2")


def test_destroy_wants_the_sites_name_and_then_takes_everything_down(desk: CliDesk) -> None:
    assert desk.up().code == 0

    unsaid = desk.run("destroy", SITE, "--with-tenants")
    done = desk.run("destroy", SITE, "--with-tenants", "--yes")
    again = desk.run("destroy", SITE, "--with-tenants", "--yes")

    assert (unsaid.code, unsaid.err.count("confirmation is missing")) == (4, 1)
    assert done.code == 0, done.err
    assert desk.script.world["nodes"] == {}
    assert (again.code, again.out.strip()) == (0, "Site lab-dc: nothing is there to take down.")


def test_destroy_refuses_where_it_cannot_tell_whether_tenants_live_there(desk: CliDesk) -> None:
    assert desk.up().code == 0
    desk.script.taken()

    done = desk.run("destroy", SITE, "--yes")

    assert done.code == 4, done.err
    assert "tenants live on the clusters of site lab-dc, or may" in done.err
    assert scripted.SECRET not in done.err + done.out
    assert desk.script.taken() == []


def test_a_cluster_whose_machines_are_lost_is_forgotten_and_made_anew(desk: CliDesk) -> None:
    assert desk.up().code == 0
    desk.script.taken()

    asked = desk.run("forget", SITE, "--cluster", "lab-dc-a")
    assert asked.code == 4, asked.err
    assert "confirmation is missing: Forget cluster lab-dc-a" in asked.err
    assert desk.up("--format", "json").document["outcome"] == "unchanged"

    done = desk.run("forget", SITE, "--cluster", "lab-dc-a", "--yes", "--format", "json")
    assert done.code == 0, done.err
    assert done.document["outcome"] == "forgotten"
    assert [name.partition(" ")[0] for name in done.document["silent"]] == list(ALL)
    assert "c1 (10.207.0.11) does not say what it carries; it must not come back as it was" in done.err
    assert desk.script.taken() == [], "no machine is touched"

    again = desk.run("forget", SITE, "--cluster", "lab-dc-a", "--yes", "--format", "json")
    assert (again.code, again.document["outcome"]) == (0, "unchanged")
    assert desk.run("forget", SITE, "--cluster", "lab-dc-x", "--yes").code == 3
    shown = desk.run("preview", SITE, "--format", "json")
    assert shown.document["plan"]["counts"]["make"] == 6
    assert desk.up().code == 0
