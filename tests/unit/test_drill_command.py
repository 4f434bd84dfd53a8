"""`gcloud-pk datacenter drill`: what is refused before anything is touched, what would be lost, and what is shown."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.cluster_server import DROP, Asked, serving
from tests.unit.facility_sites import site
from tests.unit.lab_commands import run
from tests.unit.test_drill_verdicts import RACK, outcome

from gcloud_pk import paths
from gcloud_pk.cluster.kubeconfig import Access
from gcloud_pk.commands.datacenter_drill import _Duration
from gcloud_pk.errors import PartialError, RefusedError, UnavailableError
from gcloud_pk.evidence.drill import page, to_drill
from gcloud_pk.evidence.report import report, to_junit
from gcloud_pk.facility import tier
from gcloud_pk.facility.casualties import Target, casualties
from gcloud_pk.proof.drill import run as course
from gcloud_pk.proof.drill import series as rows
from gcloud_pk.proof.drill.census import Census, Pods
from gcloud_pk.proof.drill.kept import Kept, Out
from gcloud_pk.proof.drill.ledger import Balance, Ledger
from gcloud_pk.proof.drill.outage import Guided
from gcloud_pk.proof.drill.run import Ground, Restored, Wish, faults, require_sound
from gcloud_pk.proof.drill.run import restore as bring_back
from gcloud_pk.proof.drill.series import Series, of_killed, series
from gcloud_pk.proof.drill.trace import Sample
from gcloud_pk.registry.acts import sign_registry
from gcloud_pk.registry.folder import Registry
from gcloud_pk.render.page import html

REGISTRY = ("--registry", str(paths.data("examples", "registry")))


def drill(*words: str) -> tuple[int, dict[str, Any], str]:
    return run(*REGISTRY, "datacenter", "drill", "isb-1", *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "one of --lose"),
        (("--lose", "rack:rack-1", "--suite"), "one of --lose"),
        (("--suite", "--restore"), "one of --lose"),
        (("--lose", "rack:rack-9"), "no rack 'rack-9'"),
        (("--lose", "nothing"), "names no element"),
        (("--lose", "site", "--for", "0s"), "no duration"),
        (("--lose", "site", "--for", "2 minutes"), "no duration"),
        (("--lose", "site", "--for", "25h"), "no duration"),
        (("--lose", "site", "--times", "0"), "--times"),
        (("--lose", "site", "--service", "file:///etc/passwd"), "no http"),
        (("--lose", "site", "-o", "drill.html"), "-o is for"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_code_2(words: tuple[str, ...], said: str) -> None:
    code, document, _ = drill(*words)
    assert code == 2
    assert said in json.dumps(document)


def test_a_dry_run_tells_what_would_be_lost_and_asks_no_cluster() -> None:
    code, document, _ = drill("--lose", "rack:rack-1", "--dry-run")
    assert code == 0
    (element,) = document["elements"]
    assert document["omitted"] == {}
    assert element["element"] == "rack:rack-1"
    assert element["down"]
    assert element["promises"][0]["survives"] is True


def test_a_dry_run_of_the_suite_names_every_element() -> None:
    code, document, _ = drill("--suite", "--dry-run")
    assert code == 0
    assert len(document["elements"]) > 10


def test_nothing_is_taken_out_on_the_word_of_a_registry_that_nobody_vouches_for() -> None:
    code, document, _ = drill("--lose", "rack:rack-1", "--yes")
    assert code == 4
    assert "is not trusted" in json.dumps(document)


def test_a_guided_drill_without_a_terminal_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    folder, key, trust = tmp_path / "registry", tmp_path / "keeper", tmp_path / "trust"
    shutil.copytree(paths.data("examples", "registry"), folder)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
    trust.write_text(f'keeper namespaces="gcloud-pk-registry" {key.with_suffix(".pub").read_text()}')
    sign_registry(Registry.open(folder), key, trust_file=trust)

    words = ("datacenter", "drill", "isb-1", "--lose", "rack:rack-1", "--yes")
    code, document, _ = run("--registry", str(folder), "--trust", str(trust), *words)

    assert code == 4
    assert "terminal" in json.dumps(document)


@pytest.mark.parametrize(("word", "seconds"), [("90", 90), ("90s", 90), ("2m", 120), ("1h", 3600)])
def test_a_duration_is_read(word: str, seconds: float) -> None:
    assert _Duration().convert(word, None, None) == seconds


CLUSTER = site().spec.clusters[0]
NAMES = ("c1", "c2", "c3", "w1", "w2", "w3")


def seen(*away: str, pods: int = 2) -> Census:
    owner = ("kube-system", "ReplicaSet", "coredns-1")
    return Census(0, {name: name not in away for name in NAMES}, {}, {owner: Pods({"c1": pods} if pods else {})})


def lost(word: str = "rack-1") -> Any:
    return casualties(site(), Target("rack", word), tier.judge(site()))


def test_a_sound_site_is_drilled_without_a_word() -> None:
    assert faults(site(), CLUSTER, seen()) == []
    assert require_sound(site(), CLUSTER, seen(), lost(), force=False) == []


def test_a_degraded_site_is_refused_and_what_would_go_down_is_said() -> None:
    with pytest.raises(RefusedError, match="degraded") as refused:
        require_sound(site(), CLUSTER, seen("c2"), lost(), force=False)
    said = [one.message for one in refused.value.details]
    assert said == [
        "c2 is not Ready",
        "with rack:rack-1 out, 1 of 3 members of etcd would be left; 2 are needed: the API would go down",
    ]


def test_between_drills_a_node_that_falters_is_waited_for_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [seen("c2"), seen("c2"), seen(), seen("c2")]
    monkeypatch.setattr(course, "look", lambda _: looks.pop(0))
    monkeypatch.setattr(course, "_AGAIN", 0.0)
    said: list[str] = []
    ground: Any = SimpleNamespace(site=site(), cluster=CLUSTER, say=said.append)
    assert course._sound(ground, cast("Any", None), lost(), Wish(sound=60)) == []
    assert said == ["waiting until the site is sound: c2 is not Ready"] * 2
    with pytest.raises(RefusedError, match="degraded"):
        course._sound(ground, cast("Any", None), lost(), Wish(sound=0))


def test_a_drill_does_not_end_before_the_service_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    before, after = Sample(now - 9, 0.1, True, "200"), Sample(now - 0.5, 0.1, True, "200")
    missed = Sample(now - 0.4, 0.1, False, "refused")
    traces = [[before], [before, missed], [before, missed, after]]
    monkeypatch.setattr(course, "_POLL", 0.0)
    probers: Any = SimpleNamespace(dead=dict, samples=lambda _: traces.pop(0))
    course._served(probers, now - 5, Wish(back=60))
    assert traces == []
    for ended in (SimpleNamespace(dead=lambda: {"service": []}), SimpleNamespace(dead=dict)):
        course._served(cast("Any", ended), now, Wish(back=60 if ended.dead() else 0))


def test_force_goes_on_and_says_the_same() -> None:
    assert "the API would go down" in require_sound(site(), CLUSTER, seen("c2"), lost(), force=True)[-1]


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (replace(seen(), wanting=("kube-system/etcd-c1",)), "kube-system/etcd-c1 is not ready"),
        (seen(pods=0), "kube-system/coredns-1 has no pod that is ready"),
        (replace(seen(), ready=dict.fromkeys(NAMES[1:], True)), "c1 is no node of the cluster"),
    ],
)
def test_what_makes_a_site_degraded(moment: Census, said: str) -> None:
    assert faults(site(), CLUSTER, moment) == [said]


def test_a_tenant_whose_pods_are_not_ready_does_not_make_the_site_degraded() -> None:
    assert faults(site(), CLUSTER, replace(seen(), pods={("moitt-web", "ReplicaSet", "web-1"): Pods({})})) == []


def test_a_person_who_says_no_has_taken_nothing_out() -> None:
    with pytest.raises(RefusedError, match="was not taken out"):
        Guided(lambda _: False).take_out(lost())


def test_a_person_is_asked_until_the_element_is_back() -> None:
    answers = iter([False, False, True])
    asked: list[str] = []

    def answer(text: str) -> bool:
        asked.append(text)
        return next(answers)

    Guided(answer).give_back(lost())
    assert len(asked) == 3
    assert "rack rack-1" in asked[0]


class _Ground:
    def say(self, text: str) -> None:
        del text


def _series(monkeypatch: pytest.MonkeyPatch, results: list[Any], times: int) -> Series:
    def one(*_: object) -> Any:
        made = results.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    monkeypatch.setattr(rows, "drill", one)
    return series(_Ground(), [RACK], Wish(), times)  # type: ignore[arg-type]


def test_a_series_ends_where_a_drill_cannot_be_made_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _series(monkeypatch, [outcome(), RefusedError("degraded"), outcome()], 3)
    assert len(made.outcomes) == 1
    assert any(one.verdict.value == "error" and "degraded" in str(one.reason) for one in made.findings())


def test_the_first_drills_error_is_the_commands_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError):
        _series(monkeypatch, [UnavailableError("away")], 3)


def test_an_element_that_does_not_come_back_ends_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PartialError):
        _series(monkeypatch, [outcome(), PartialError("out")], 3)


@pytest.mark.parametrize("bad", [{"interrupted": True}, {"all": None, "nodes": None}])
def test_no_drill_follows_one_that_was_interrupted_or_did_not_recover(
    monkeypatch: pytest.MonkeyPatch, bad: dict[str, Any]
) -> None:
    assert len(_series(monkeypatch, [outcome(**bad), outcome()], 2).outcomes) == 1


OUT = Out("20261122t170000z-1", "isb-1", "rack:rack-1", "lab", ("c1",), "uid", "20261122T170000Z", "somebody")


@pytest.mark.parametrize(
    ("balance", "verdict"),
    [
        (Balance(kept=(1, 2), missing=(3,)), "pass"),
        (Balance(kept=(1,), lost=(2,)), "fail"),
        (Balance(missing=(1,)), "not-checked"),
    ],
)
def test_the_ledger_of_a_killed_drill_is_judged(balance: Balance, verdict: str) -> None:
    found = of_killed(Restored(OUT, balance, None))
    assert (found.verdict.value, found.subject) == (verdict, "drill/isb-1/20261122t170000z-1")


def test_what_a_killed_drill_left_out_is_brought_back_once_the_api_answers_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcloud_pk.proof.drill.run.time.sleep", lambda _: None)
    kept = Kept(tmp_path / "drills")
    Ledger(kept.folder(OUT.run) / "ledger.jsonl").close()
    kept.set_out(OUT)
    early = [DROP, (200, {"kind": "another server's"})]

    def reply(asked: Asked) -> Any:
        if asked.path.endswith("/kube-system"):
            return early.pop(0) if early else (200, {"metadata": {"uid": "uid"}})
        return 200, {"kind": "ConfigMapList", "items": []}

    with serving(reply) as server:
        access = Access(context="test", server=server.url)
        back = Guided(lambda _: True)
        ground = Ground(site(), CLUSTER, access, kept, back, "somebody", "uid", lambda _: None, lambda: "now")
        restored = bring_back(ground, lost(), OUT)
    assert restored.balance == Balance()
    assert early == []
    assert server.methods()[-1] == "DELETE /api/v1/namespaces/gcloud-pk-drill"
    assert kept.out() is None


def told(*outcomes: Any) -> dict[str, Any]:
    import datetime as dt

    made = Series(list(outcomes))
    now = dt.datetime(2026, 11, 22, 17, tzinfo=dt.UTC)
    found = report("drill", made.findings(), operator="somebody", started=now, finished=now, omitted=["feed:ups-a"])
    return found | {"site": "isb-1", "measures": made.measures("lab"), "omittedWhy": {"feed:ups-a": "no host"}}


def test_the_report_for_people_has_the_gaps_the_ledger_and_every_verdict() -> None:
    text = to_drill(told(outcome()))
    for words in (
        "reads     longest gap 1.00 s at the loss",
        "900 acknowledged, 0 lost",
        "nodes Ready after 12.0 s",
        "DRL-009",
    ):
        assert words in text
    assert text.endswith("nothing wrong: 11 pass")


def test_the_report_of_several_drills_has_their_median() -> None:
    assert "longest gap at the loss, median" in to_drill(told(outcome(), outcome()))


def test_a_wall_clock_that_jumped_is_told_of() -> None:
    jumped = [replace(one, wall=(one.at > 50 and 3600.0) or 0.0) for one in outcome().reads]
    assert "the wall clock jumped by 3600.0 s" in to_drill(told(outcome(reads=jumped)))


def test_junit_has_a_case_for_each_check() -> None:
    root = ET.fromstring(to_junit(told(outcome())))
    assert len(root.findall(".//testcase")) == 11


def test_the_page_loads_nothing_draws_each_drill_and_shows_somebody_elses_text_as_text(tmp_path: Path) -> None:
    bad = replace(RACK, target=Target("rack", "<script>alert(1)</script>"))
    shown = html(page(told(outcome(lost=bad), outcome()), "isb-1"))
    assert "<script>" not in shown
    assert shown.count("<svg") == 2
    assert "src=" not in shown
    for drawing in shown.split("<svg")[1:]:
        ET.fromstring("<svg" + drawing.partition("</svg>")[0] + "</svg>")
