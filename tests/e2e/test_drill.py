"""Drills against a real API server: known gaps are measured as they are, and no acknowledged write goes missing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import running
from tests.e2e.scripted_site import Killed, ScriptedSite, Stopped

from gcloud_pk.errors import PartialError, RefusedError, UnavailableError
from gcloud_pk.facility import tier
from gcloud_pk.facility.casualties import Casualties, Target, casualties
from gcloud_pk.model.finding import Verdict
from gcloud_pk.proof.drill.kept import Kept
from gcloud_pk.proof.drill.run import Wish, drill, restore
from gcloud_pk.proof.drill.stage import gone
from gcloud_pk.proof.drill.verdicts import findings
from gcloud_pk.proof.drill.watch import look


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedSite]:
    with running(f"drill-{os.getpid()}", tmp_path_factory.mktemp("drill")) as lab, ScriptedSite(lab) as site:
        yield site


def test_an_api_server_that_is_stopped_for_three_seconds_is_a_gap_of_three_seconds(
    scripted: ScriptedSite, tmp_path: Path
) -> None:
    lost = casualties(scripted.site, Target("rack", "rack-1"), tier.judge(scripted.site))
    outage = Stopped(scripted, 3.0)
    outcome = drill(scripted.ground(tmp_path, outage), lost, Wish(hold=9, calm=2, back=30, settle=1))
    reads, writes = outcome.worst(outcome.reads), outcome.worst(outcome.writes)
    assert reads is not None
    assert writes is not None
    assert outage.away - 0.2 <= reads.seconds <= outage.away + 1.0
    assert outage.away - 0.2 <= writes.seconds <= outage.away + 1.5
    assert outcome.balance is not None
    assert outcome.balance.acknowledged > 40
    assert not outcome.balance.lost
    assert not outcome.balance.strange
    verdicts = {one.id: one.verdict for one in findings([outcome])}
    assert verdicts["DRL-001"] is Verdict.FAIL  # 3 s are more than 1.5 s
    assert verdicts["DRL-003"] is verdicts["DRL-008"] is verdicts["DRL-009"] is Verdict.PASS


def test_an_api_server_that_is_killed_is_a_gap_until_it_is_back(scripted: ScriptedSite, tmp_path: Path) -> None:
    lost = casualties(scripted.site, Target("site"), tier.judge(scripted.site))
    outage = Killed(scripted)
    outcome = drill(scripted.ground(tmp_path, outage), lost, Wish(hold=4, calm=2, back=60, settle=2))
    reads = outcome.worst(outcome.reads)
    assert reads is not None
    assert 4 <= reads.seconds <= outage.back - outage.begun + 1.0
    assert outcome.api_back is not None
    verdicts = {one.id: one.verdict for one in findings([outcome])}
    assert verdicts["DRL-003"] is verdicts["DRL-010"] is Verdict.PASS
    assert verdicts["DRL-001"] is Verdict.NOT_APPLICABLE
    assert outcome.writes[-1].ok  # nobody has taken the namespace away meanwhile, as `cluster init` might


QUICK = Wish(hold=3, calm=1.5, back=30, settle=0.5)


def rack(scripted: ScriptedSite, name: str = "rack-2") -> Casualties:
    return casualties(scripted.site, Target("rack", name), tier.judge(scripted.site))


class Jammed(Stopped):
    """An element that does not come back at the first try."""

    def give_back(self, lost: Casualties) -> None:
        if self.seconds:
            self.seconds = 0
            raise UnavailableError("the breaker is jammed")
        super().give_back(lost)


def test_an_element_that_does_not_come_back_is_remembered_and_restored_with_its_ledger_judged(
    scripted: ScriptedSite, tmp_path: Path
) -> None:
    lost, outage = rack(scripted), Jammed(scripted, 0.5)
    ground = scripted.ground(tmp_path, outage)
    with pytest.raises(PartialError, match="could not be brought back: the breaker is jammed") as told:
        drill(ground, lost, QUICK)
    assert "--restore" in str(told.value.resolution)
    left = Kept(tmp_path).out()
    assert left is not None
    assert (left.element, left.hosts) == ("rack:rack-2", ("c2",))

    restored = restore(ground, lost, left)

    assert scripted.down == set()
    assert Kept(tmp_path).out() is None
    assert restored.balance is not None
    assert restored.balance.acknowledged > 5
    assert not restored.balance.lost
    assert gone(scripted.api, 30)


class Declined(Stopped):
    """Nobody takes the element out."""

    def take_out(self, lost: Casualties) -> None:
        raise RefusedError(f"{lost.target} was not taken out")


def test_a_drill_that_was_declined_leaves_nothing_behind(scripted: ScriptedSite, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="was not taken out"):
        drill(scripted.ground(tmp_path, Declined(scripted, 0)), rack(scripted), QUICK)
    assert Kept(tmp_path).out() is None
    assert gone(scripted.api, 30)


def test_a_degraded_site_is_refused_before_anything_is_written(scripted: ScriptedSite, tmp_path: Path) -> None:
    path = "/api/v1/nodes/c3"
    scripted.down.add("c3")
    try:
        assert scripted.api.request("DELETE", path).ok
        with pytest.raises(RefusedError, match="degraded") as refused:
            drill(scripted.ground(tmp_path, Stopped(scripted, 0)), rack(scripted), QUICK)
        assert "c3 is no node of the cluster" in [one.message for one in refused.value.details]
        assert list(tmp_path.iterdir()) == []
    finally:
        scripted.api.request("POST", "/api/v1/nodes", body={"metadata": {"name": "c3"}})
        scripted.down.discard("c3")
        end = time.monotonic() + 20
        while not all(look(scripted.api).ready.values()) and time.monotonic() < end:
            time.sleep(0.2)


def test_without_a_service_that_answers_nothing_is_taken_out(scripted: ScriptedSite, tmp_path: Path) -> None:
    wish = Wish(hold=3, calm=1.5, service="http://127.0.0.1:1/")
    with pytest.raises(UnavailableError, match="service probes are not answered: ConnectionRefusedError"):
        drill(scripted.ground(tmp_path, Stopped(scripted, 0)), rack(scripted), wish)
    assert scripted.down == set()
    assert Kept(tmp_path).out() is None
