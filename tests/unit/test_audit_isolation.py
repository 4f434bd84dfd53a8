"""`audit isolation` beside its engine: whom it is about, what it stands on, and how it is told."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.proof_server import FakeServer, Request, refused

from gcloud_pk.cluster.kinds import KINDS
from gcloud_pk.cluster.transport import Answer
from gcloud_pk.errors import UnavailableError
from gcloud_pk.evidence.gathering import Gathering
from gcloud_pk.evidence.overview import to_overview
from gcloud_pk.evidence.report import report
from gcloud_pk.main import main
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict, count
from gcloud_pk.onboarding.absence import not_in_place
from gcloud_pk.onboarding.foundation import check_version, findings
from gcloud_pk.onboarding.isolation import SAMPLE, neighbours
from gcloud_pk.render.platform import platform_message, platform_objects

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def population(tenants: int, environments: str = "abcd") -> dict[str, list[str]]:
    return {f"t{n:03d}": [f"t{n:03d}-{e}" for e in environments] for n in range(tenants)}


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "whom to audit is not said"),
        (("moitt", "--all"), "exclude each other"),
        (("moitt", "--quick", "--stratified"), "exclude each other"),
        (("moitt", "--probes", "ISO-O20"), "expected ISO-020"),
        (("moitt", "--probes", "ISO-020,GPK-IMG-01"), "expected GPK-IMG-001"),
        (("moitt", "--probes", ","), "names nothing"),
    ],
    ids=["nobody", "all and one", "quick and stratified", "a letter for a digit", "no such control", "no check"],
)
def test_wrong_usage_is_told_with_what_would_be_right(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "isolation", *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_every_check_can_be_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "probes", "GPK-QUO-002", "--format", "json"]) == 0
    [*found] = json.loads(capsys.readouterr().out)["probes"]
    assert "ISO-105" in {each["id"] for each in found}
    assert {"GPK-QUO-002"} <= {control for each in found for control in each["controls"]}


# --- whom a tenant is tried against -----------------------------------------------------------------------------------


def test_over_a_population_everybody_is_tried_by_as_many_as_he_tries() -> None:
    there = population(200)
    tried = Counter(other for tenant in there for other in neighbours(tenant, there))
    assert set(tried) == set(there)
    assert set(tried.values()) == {SAMPLE}


def test_all_namespaces_of_a_population_take_their_turn() -> None:
    there = population(200)
    tried = {n for tenant in there for namespaces in neighbours(tenant, there).values() for n in namespaces}
    assert len(tried) > 500


@pytest.mark.parametrize(
    ("there", "sample"),
    [
        ({"a": ["a-x"]}, {}),
        ({"a": ["a-x"], "b": []}, {}),
        ({"a": ["a-x"], "b": ["b-x", "b-y"]}, {"b": ["b-x", "b-y"]}),
        ({"a": ["a-x"], "b": [f"b-{n}" for n in range(9)]}, {"b": ["b-0", "b-1", "b-2", "b-3"]}),
        ({n: [f"{n}-x"] for n in "abcde"}, {n: [f"{n}-x"] for n in "bcde"}),
    ],
    ids=["nobody", "nobody with a namespace", "one", "one with many", "four"],
)
def test_a_tenant_is_tried_against(there: dict[str, list[str]], sample: dict[str, list[str]]) -> None:
    assert neighbours("a", there) == sample


# --- what isolation stands on -----------------------------------------------------------------------------------------


def an_api_server(version: str = "v1.36.3", *policies: str, allowed: bool = False) -> FakeServer:
    def script(request: Request) -> Answer | None:
        if request.path == "/version":
            return Answer(200, {"gitVersion": version})
        if request.path == ADMISSION:
            return Answer(200, {"resources": [{"name": name} for name in policies]}) if policies else refused("no", 404)
        return None

    made = FakeServer(script)
    made.allowed = lambda _spec: allowed
    return made


def test_a_server_that_can_hold_isolation_is_accepted() -> None:
    server = an_api_server("v1.36.3", "validatingadmissionpolicies")
    assert check_version(server.api()) == "v1.36.3"
    assert not [r for r in server.sent if r.method != "GET"]


@pytest.mark.parametrize(
    ("version", "policies"), [("v1.29.1", ("mutatingwebhookconfigurations",)), ("v1.15.0", ())], ids=["1.29", "1.15"]
)
def test_a_server_without_admission_policies_cannot_be_audited(version: str, policies: tuple[str, ...]) -> None:
    with pytest.raises(UnavailableError, match=rf"{version}.* does not serve ValidatingAdmissionPolicy"):
        check_version(an_api_server(version, *policies).api())


def test_before_constrained_impersonation_a_verifier_needs_the_right_without_constraint() -> None:
    server = an_api_server("v1.33.2", "validatingadmissionpolicies")
    with pytest.raises(UnavailableError, match=r"needs Kubernetes 1\.36"):
        check_version(server.api())
    assert check_version(an_api_server("v1.33.2", "validatingadmissionpolicies", allowed=True).api()) == "v1.33.2"


def platform(broken: dict[str, Any] | None = None, without: str = "") -> list[dict[str, Any]]:
    made = [json.loads(json.dumps(each)) for each in platform_objects() if each["metadata"]["name"] != without]
    for each in made:
        if broken and each["kind"] == broken["kind"] and each["metadata"]["name"] == broken["name"]:
            for part in ("spec", "metadata"):
                each[part] = {**each.get(part, {}), **broken.get(part, {})}
    return made


def verdicts(objects: list[dict[str, Any]], canary: Answer | None = None) -> dict[str, Finding]:
    says = canary or refused(
        f"configmaps \"gcloud-pk-canary\" is forbidden: ValidatingAdmissionPolicy 'gpk-canary' denied request: "
        f"{platform_message()}"
    )

    def script(request: Request) -> Answer | None:
        if request.identity is not None:
            return says
        for kind in KINDS.values():
            if request.path == kind.path():
                items = [o for o in objects if (o["apiVersion"], o["kind"]) == (kind.api_version, kind.kind)]
                return Answer(200, {"kind": f"{kind.kind}List", "items": items})
        return None

    server = FakeServer(script)
    found = {f.id: f for f in findings(_Listing(server))}  # type: ignore[arg-type]
    asked = [r for r in server.sent if r.identity]
    assert {(r.identity.user, r.params.get("dryRun")) for r in asked if r.identity} == {(labels.PROBE_USER, "All")}
    return found


class _Listing:
    """The fake, with the transport's own way of listing."""

    def __init__(self, server: FakeServer) -> None:
        self._api = server.api()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def list(self, kind: Any, *, selector: str | None = None, **_: Any) -> list[dict[str, Any]]:
        assert selector is not None
        items: list[dict[str, Any]] = self._api.request("GET", kind.path()).body["items"]
        return items


BINDING = "ValidatingAdmissionPolicyBinding"


@pytest.mark.parametrize(
    ("objects", "failing", "says"),
    [
        (platform(), "", ""),
        (
            platform({"kind": BINDING, "name": "gpk-images", "spec": {"validationActions": ["Audit"]}}),
            "ISO-630", "gpk-images refuses nothing: its actions are Audit, without Deny",
        ),
        (
            platform({"kind": BINDING, "name": "gpk-images", "spec": {"matchResources": {"namespaceSelector": {}}}}),
            "ISO-630", "gpk-images: spec.matchResources was added",
        ),
        (platform(without="gpk-services"), "ISO-630", "gpk-services: missing"),
        (
            platform({"kind": "ValidatingAdmissionPolicy", "name": "gpk-images", "spec": {"failurePolicy": "Ignore"}}),
            "ISO-630", "failurePolicy",
        ),
        (platform(without="gcloud-pk:tenant-admin"), "ISO-632", "gcloud-pk:tenant-admin: missing"),
        (
            platform({"kind": "ClusterRole", "name": "gcloud-pk:tenant-auditor",
                      "metadata": {"annotations": {"gcloud.gov.pk/platform-version": "0.0.1"}}}),
            "ISO-632", "installed by gcloud-pk 0.0.1",
        ),
    ],
    ids=["nothing", "a binding that only audits", "a narrower binding", "a policy that is gone",
         "a policy that fails open", "a role that is gone", "another version"],
)  # fmt: skip
def test_what_all_tenants_share_is_compared_with_this_version_and_found(
    objects: list[dict[str, Any]], failing: str, says: str
) -> None:
    found = verdicts(objects)
    assert {name for name, f in found.items() if f.verdict is not Verdict.PASS} == ({failing} if failing else set())
    assert not failing or (found[failing].verdict is Verdict.FAIL and says in found[failing].observed)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(201, {}), Verdict.FAIL),
        (
            refused("x is forbidden: ValidatingAdmissionPolicy 'gpk-canary' denied request: platform 9.9.9 abc"),
            Verdict.FAIL,
        ),
        (refused('namespaces "gcloud-pk-system" not found', 404), Verdict.FAIL),
        (
            refused('x is forbidden: User "v" cannot impersonate-on:user-info:create resource "configmaps"'),
            Verdict.ERROR,
        ),
        (refused("boom", 500), Verdict.ERROR),
    ],
    ids=["nothing in force", "another revision", "no namespace", "no right", "a failing server"],
)
def test_the_canary_says_what_is_in_force(answer: Answer, verdict: Verdict) -> None:
    found = verdicts(platform(), answer)
    assert found["ISO-631"].verdict is verdict
    assert found["ISO-631"].reason
    assert found["ISO-630"].verdict is Verdict.PASS


# --- how it is told ---------------------------------------------------------------------------------------------------


def a_finding(subject: str, verdict: Verdict = Verdict.PASS, name: str = "ISO-020", **fields: Any) -> Finding:
    said: dict[str, Any] = {"title": "Title", "expected": "expected words", "observed": "observed words", **fields}
    return Finding(name, subject=subject, verdict=verdict, controls=("GPK-IMG-001",), **said)


def overview(findings: list[Finding], *, every: bool = False, **more: Any) -> str:
    made = report("isolation", findings, operator="o", started=NOW, finished=NOW, omitted=["ISO-901"])
    return to_overview({**made, **more}, every=every)


def test_a_person_sees_what_is_wrong_in_full_and_the_rest_counted_by_control() -> None:
    said = overview([a_finding("tenant/a/x"), a_finding("tenant/a/y", Verdict.FAIL, reason="why")])
    assert "tenant/a/x: 1 pass\ntenant/a/y: 1 fail\n  FAIL" in said
    assert "observed: observed words" in said
    assert "GPK-IMG-001  1 pass, 1 fail" in said
    assert "left out of this run: 1 check\n" in said
    assert said.endswith("failed: 1 pass, 1 fail")


def test_what_is_wrong_in_the_same_way_everywhere_is_told_once() -> None:
    wrong = [a_finding(f"tenant/t{n}/x", Verdict.FAIL, observed=f"admitted in t{n}-x", reason="why") for n in range(9)]
    said = overview([*wrong, a_finding("tenant/t0/y", Verdict.FAIL, observed="something else", reason="why")])
    assert said.count("observed:") == 2
    assert "the same: tenant/t1/x, tenant/t2/x, tenant/t3/x, tenant/t4/x, tenant/t5/x and 3 more" in said
    assert "failed: 10 fail" in said


def test_of_many_subjects_only_the_cluster_and_those_with_something_to_say_have_a_line() -> None:
    many = [a_finding(f"tenant/t{n}/x", Verdict.ERROR if n == 7 else Verdict.PASS, reason="r") for n in range(90)]
    said = overview(many)
    assert "tenant/t7/x: 1 error" in said
    assert overview([a_finding("cluster"), *many]).startswith("cluster: 1 pass\n")
    assert "tenant/t8/x" not in said
    assert "89 more subjects: nothing wrong" in said


def test_with_v_every_check_has_a_line_and_what_was_left_out_has_its_ids() -> None:
    said = overview([a_finding("tenant/a/x")], every=True, omittedBySubject={"tenant/a/x": ["ISO-021"]})
    assert "PASS            ISO-020  Title" in said
    assert "left out of this run: 1 check (ISO-901)" in said
    assert "left out here and tried elsewhere: 1 check in 1 subject\n  tenant/a/x: ISO-021" in said


def test_the_cluster_comes_first_and_somebody_elses_words_make_no_lines() -> None:
    said = overview(
        [a_finding("tenant/a/x"), a_finding("cluster", Verdict.FAIL, observed="a\n  PASS b\x1b[2J", reason="r")]
    )
    assert said.startswith("cluster: 1 fail")
    assert "a   PASS b\\x1b[2J" in said


def test_a_long_run_is_light_in_memory_and_whole_on_paper() -> None:
    found = [
        a_finding(
            f"tenant/{name}/x",
            verdict,
            name=f"ISO-{n:03d}",
            evidence={"requests": [{"sent": {"a": "\u202e\ud800" * 9}}]},
        )
        for name in ("b", "a", "a-b")
        for n, verdict in enumerate((Verdict.PASS, Verdict.FAIL))
    ]
    head = report("isolation", [], operator="o", started=NOW, finished=NOW)
    with Gathering(whole=True) as gathering:
        for each in found:
            gathering.add([each])
        stream = io.StringIO()
        gathering.write({**head, "verdicts": count(gathering.findings)}, stream)
    assert not any(f.evidence for f in gathering.findings)
    assert "\u202e" not in stream.getvalue()
    wanted = report("isolation", found, operator="o", started=NOW, finished=NOW)
    assert json.loads(stream.getvalue()) == wanted
    assert list(json.loads(stream.getvalue())) == list(wanted)


def test_a_run_without_findings_is_a_document_too() -> None:
    with Gathering(whole=True) as gathering:
        stream = io.StringIO()
        gathering.write(report("isolation", [], operator="o", started=NOW, finished=NOW), stream)
    assert json.loads(stream.getvalue())["results"] == []


def test_without_the_whole_the_evidence_is_let_go() -> None:
    with Gathering(whole=False) as gathering:
        gathering.add(
            [a_finding("tenant/a/x", evidence={"a": 1}), a_finding("tenant/a/x", Verdict.FAIL, evidence={"a": 1})]
        )
    assert [f.evidence for f in gathering.findings] == [{}, {}]
    assert [f.observed for f in gathering.findings] == ["", "observed words"]
    assert gathering.findings[1] == replace(a_finding("tenant/a/x", Verdict.FAIL))


def test_nobody_is_sent_to_onboard_a_tenant_that_left() -> None:
    assert "onboard" in str(not_in_place("moitt").resolution)
    left = not_in_place("moitt", "offboarded")
    assert "offboarded" in left.message
    assert "onboard moitt" not in str(left.resolution)
