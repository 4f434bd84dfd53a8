"""Verify on a real API server: a tenant that is as it must be passes.

That each control is missed when it is taken away: `test_self_test.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.e2e.conftest import RunningLab
from tests.e2e.policy_world import administrator, apply, install_platform
from tests.unit.proof_server import furnished
from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.kinds import KINDS
from gcloud_pk.cluster.kubeconfig import load
from gcloud_pk.cluster.removal import remove_namespaces
from gcloud_pk.cluster.transport import Api
from gcloud_pk.cluster.waiting import quotas_counted
from gcloud_pk.model.finding import Finding, Verdict, exit_code
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding.verification import environment
from gcloud_pk.proof.probe import Probe, Refused, Review, standard
from gcloud_pk.proof.target import Target, TargetEnvironment
from gcloud_pk.proof.verify import omitted, verify
from gcloud_pk.proof.whoami import operator
from gcloud_pk.render.tenant import render

MERGE = "application/merge-patch+json"
PROBED = "gcloud-pk:probe"


@dataclass(frozen=True)
class Ministry:
    """A tenant in place on a lab, with a neighbour; `admin` may change anything, `verifier` is the engine's own."""

    lab: RunningLab
    admin: Api
    verifier: Api
    tenant: Tenant
    retired: tuple[str, ...]
    neighbour: Tenant

    @property
    def target(self) -> Target:
        spec = self.tenant.request.spec
        return Target(
            tenant=self.tenant.name,
            environments=(
                *(environment(self.tenant, e) for e in spec.environments),
                *(TargetEnvironment(n, self.tenant.request.namespace(n), retired=True) for n in self.retired),
            ),
            admins=self.tenant.bound(spec.access.admins),
            developers=self.tenant.bound(spec.access.developers),
            auditors=self.tenant.bound(spec.access.auditors),
            other_namespaces=self.neighbour.request.namespaces(),
            other_groups=self.neighbour.bound(self.neighbour.request.spec.access.groups()),
            isolation=spec.isolation,
        )

    @property
    def namespaces(self) -> tuple[str, ...]:
        own = (*self.tenant.request.namespaces(), *(self.tenant.request.namespace(n) for n in self.retired))
        return (*own, *self.neighbour.request.namespaces())

    def bring(self) -> None:
        for tenant, retired in ((self.tenant, self.retired), (self.neighbour, ())):
            for manifest in render(tenant, retired):
                apply(self.admin, manifest)
        quotas_counted(self.admin, self.namespaces)

    def verify(self, **options: Any) -> dict[str, Finding]:
        """Return findings by id: those of the first environment and of the tenant as a whole."""
        found = verify(self.verifier, self.target, settle=0.5, **options)
        return {f.id: f for f in found if not f.subject.endswith(("/portal", "/old"))}


def a_ministry(lab: RunningLab, name: str, **spec: Any) -> Ministry:
    admin = administrator(lab.kubeconfig)
    verifier = Api(load(str(lab.kubeconfig), "verifier"))
    tenant, neighbour = furnished(name, ("eoffice", "portal"), **spec), a_tenant(f"{name}-next", ("tax",))
    return Ministry(lab, admin, verifier, tenant, ("old",), neighbour)


@pytest.fixture(scope="module")
def ministry(lab: RunningLab) -> Iterator[Ministry]:
    made = a_ministry(lab, f"verify-{os.getpid()}")
    install_platform(made.admin)
    made.bring()
    yield made
    offboarded(made)


def offboarded(ministry: Ministry) -> None:
    for tenant in (ministry.tenant, ministry.neighbour):
        ministry.admin.request("DELETE", f"/apis/gcloud.gov.pk/v1alpha1/tenants/{tenant.name}")
    remove_namespaces(ministry.admin, ministry.namespaces)


SETTLED = {Verdict.PASS, Verdict.NOT_APPLICABLE}
OF_DEDICATED_NODES = {"ISO-234", "ISO-425"}
NOTHING_TO_TRY = {"ISO-206", "ISO-207"}
"""The request of a ministry declares no network that holds a range of the cluster itself."""
ROUTES = {f"ISO-{n}" for n in range(240, 260)}
"""Of the Gateway API, which the shared lab does not serve (`test_routes.py` has one that does)."""


def not_passed(found: dict[str, Finding]) -> dict[str, str]:
    return {name: f.verdict.value for name, f in found.items() if f.verdict not in SETTLED}


def walled(by: str) -> tuple[str, ...]:
    """Return the ids of probes that this wall must refuse."""
    return tuple(p.id for p in standard().probes.values() if isinstance(p.expect, Refused) and p.expect.by == by)


def inapplicable(found: Iterable[Finding]) -> set[str]:
    return {f.id for f in found if f.verdict is Verdict.NOT_APPLICABLE} - ROUTES


@pytest.mark.parametrize("quick", [False, True], ids=["full", "quick"])
def test_a_tenant_as_it_must_be_passes_every_check_in_every_environment(ministry: Ministry, quick: bool) -> None:
    found = verify(ministry.verifier, ministry.target, quick=quick)
    assert [(f.id, f.subject, f.reason, f.observed) for f in found if f.verdict not in SETTLED] == []
    assert inapplicable(found) == (OF_DEDICATED_NODES | NOTHING_TO_TRY) - set(omitted() if quick else ())
    assert exit_code(found) == 0
    assert len({f.subject for f in found}) == 4
    assert len(found) > (100 if quick else 150)
    assert not quick or not {f.id for f in found} & set(omitted())


def test_the_only_tenant_of_a_cluster_verifies_without_a_neighbour(ministry: Ministry) -> None:
    whole = ministry.target
    alone = Target(whole.tenant, whole.environments, whole.admins, whole.developers, whole.auditors)
    found = verify(ministry.verifier, alone)
    assert exit_code(found) == 0
    known = standard()
    everything: list[Probe | Review] = [*known.probes.values(), *known.reviews.values()]
    others = {each.id for each in everything if each.where == "others" or each.identity == "strangers"}
    assert inapplicable(found) == others | {"ISO-166"} | OF_DEDICATED_NODES | NOTHING_TO_TRY


def test_a_tenant_with_dedicated_nodes_is_held_to_them(ministry: Ministry) -> None:
    dedicated = a_ministry(ministry.lab, f"pools-{os.getpid()}", isolation="dedicated-nodes")
    try:
        dedicated.bring()
        found = verify(dedicated.verifier, dedicated.target)
        wrong = [f for f in found if f.verdict is not Verdict.PASS and f.id not in ROUTES | NOTHING_TO_TRY]
        assert [(f.id, f.subject, f.reason, f.observed) for f in wrong] == []
        assert {f.id for f in found} >= OF_DEDICATED_NODES
    finally:
        offboarded(dedicated)


def test_a_tenant_that_asks_for_neither_domain_nor_storage_has_nothing_to_try_there(ministry: Ministry) -> None:
    plain = a_ministry(ministry.lab, f"plain-{os.getpid()}")
    bare = Ministry(plain.lab, plain.admin, plain.verifier, a_tenant(plain.tenant.name), (), plain.neighbour)
    try:
        bare.bring()
        found = verify(bare.verifier, bare.target)
        assert not_passed({f.id: f for f in found}) == {}
        neither = {"ISO-012", "ISO-013", "ISO-209", *walled("gpk-ingresses"), *walled("gpk-claims")}
        assert inapplicable(found) == OF_DEDICATED_NODES | NOTHING_TO_TRY | neither
    finally:
        offboarded(bare)


def test_the_operator_of_a_report_is_whom_the_server_sees(ministry: Ministry) -> None:
    assert operator(ministry.verifier) == "gcloud-pk:verifier"
    assert ministry.verifier.persisted == 0


def test_nothing_of_a_verification_stays(ministry: Ministry) -> None:
    def state() -> dict[str, str]:
        versions = {}
        for kind in KINDS.values():
            if kind.namespaced and kind.kind not in {"Lease", "Event"}:
                for namespace in ministry.namespaces:
                    answer = ministry.admin.request("GET", kind.path(namespace))
                    for item in answer.body.get("items") or ():
                        metadata = item["metadata"]
                        versions[f"{kind.kind} {namespace}/{metadata['name']}"] = metadata["resourceVersion"]
        return versions

    before = state()
    ministry.verify()
    assert before == state()
    assert ministry.verifier.persisted == 0


def test_the_servers_own_audit_log_has_every_request_of_the_evidence_and_no_write(ministry: Ministry) -> None:
    log = ministry.lab.folder / "log" / "audit.log"
    before = log.stat().st_size  # the lab is shared: what others did stands above
    found = ministry.verify()
    sent = {r["auditId"]: r for f in found.values() for r in f.evidence.get("requests", ())}
    assert len(sent) > 60
    ministry.lab.audit_written()
    events = [json.loads(line) for line in log.read_bytes()[before:].decode().splitlines()]
    logged = {e["auditID"]: e for e in events if e["stage"] == "ResponseComplete"}
    assert set(sent) <= set(logged)
    acted = {
        r["auditId"]
        for f in found.values()
        if "as" in f.evidence  # what is read of live objects is read as the verifier itself
        for r in f.evidence["requests"]
        if "request" in r  # and so are reviews asked
    }
    assert len(acted) > 60
    for audit_id, request in sent.items():
        assert (audit_id in acted) == (logged[audit_id].get("impersonatedUser", {}).get("username") == PROBED)
        assert logged[audit_id]["responseStatus"]["code"] == request["status"]
    written = [
        e["requestURI"]
        for e in logged.values()
        if e["user"]["username"] == "gcloud-pk:verifier"
        and e["verb"] not in {"get", "list", "watch"}
        and "dryRun=All" not in e["requestURI"]
        and e["responseStatus"]["code"] < 400
    ]
    assert written == []


def test_a_verifier_without_the_right_to_impersonate_gets_one_error_that_names_it(ministry: Ministry) -> None:
    onboarder = Api(load(str(ministry.lab.kubeconfig), "onboarder"))
    found = verify(onboarder, ministry.target)
    gate = [f for f in found if f.id == "ISO-000"]
    assert [f.verdict for f in gate] == [Verdict.ERROR]
    assert 'User "gcloud-pk:onboarder" cannot impersonate' in str(gate[0].reason)
    assert not [f for f in found if "ISO-001" <= f.id < "ISO-100"]
    assert exit_code(found) == 7


def test_a_quota_that_is_used_up_is_not_checked_and_no_failure(ministry: Ministry) -> None:
    namespace = ministry.target.active[0].namespace
    path = KINDS["v1", "ResourceQuota"].path(namespace, "tenant")
    try:
        spent = {"spec": {"hard": {"pods": "0"}}}
        assert ministry.admin.request("PATCH", path, body=spent, content_type=MERGE).ok
        quotas_counted(ministry.admin, (namespace,))
        found = ministry.verify()
        assert found["ISO-001"].verdict is Verdict.NOT_CHECKED
        assert "quota is used up" in str(found["ISO-001"].reason)
        assert found["ISO-020"].verdict is Verdict.NOT_CHECKED
        # A quota that is smaller than the request is a finding of its own.
        assert found.pop("ISO-103").verdict is Verdict.FAIL
        assert exit_code(found.values()) == 7
    finally:
        ministry.bring()
