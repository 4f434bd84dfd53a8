"""What a tenant's people prepare against its suspension: finalizers that keep access, evidence that goes with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from tests.e2e.conftest import running
from tests.e2e.ministry import Ministry
from tests.e2e.test_suspension import Tenancy, eventually

HELD = """
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: stay, finalizers: [x.example/hold]}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "gcloud-pk:tenant-admin"}}
subjects:
  - {{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "oidc:{tenant}-admins"}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: stay, finalizers: [x.example/hold]}}
spec:
  podSelector: {{}}
  policyTypes: [Ingress]
  ingress: [{{from: [{{podSelector: {{}}}}]}}]
"""
EVIDENCE = """
apiVersion: v1
kind: Secret
metadata:
  name: evidence
  ownerReferences:
    - {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, name: {owner}, uid: {uid}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: evidence
  ownerReferences:
    - {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, name: {owner}, uid: {uid}}}
spec:
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: main
      image: registry.gcloud.gov.pk/{tenant}/web:1.0
      imagePullPolicy: Always
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"""


@pytest.fixture(scope="module")
def ministry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    with running(f"holds-{os.getpid()}", tmp_path_factory.mktemp("labs")) as lab:
        yield Ministry.found(lab, tmp_path_factory.mktemp("ministry") / "registry")


def prepared(ministry: Ministry, name: str) -> Tenancy:
    """Return a tenant whose administrators hold a binding and a flow with a finalizer of their own."""
    tenant = Tenancy(ministry, name, own=False)
    made = tenant.as_admin("apply", "-n", f"{name}-prod", "-f", "-", input=HELD.format(tenant=name))
    assert made.returncode == 0, made.stderr
    return tenant


@pytest.mark.parametrize("leaving", [False, True], ids=["there", "being-deleted"])
def test_a_finalizer_keeps_neither_access_nor_traffic(ministry: Ministry, leaving: bool) -> None:
    tenant = prepared(ministry, f"held{int(leaving)}")
    where = ("-n", f"{tenant.name}-prod")
    if leaving:
        gone = tenant.as_admin("delete", *where, "--wait=false", "rolebinding/stay", "networkpolicy/stay")
        assert gone.returncode == 0, gone.stderr
        assert f"RoleBinding {tenant.name}-prod/stay" in tenant.bindings(), "the finalizer holds it"
    assert tenant.as_admin("get", "pods", *where).returncode == 0
    tenant.suspend("--quarantine")
    assert tenant.bindings() == []
    assert [name for name in tenant.objects() if name.endswith("/stay")] == []
    eventually(lambda: "forbidden" in tenant.as_admin("get", "pods", *where).stderr, "they have access still")
    tenant.resume()
    assert (f"RoleBinding {tenant.name}-prod/stay" in tenant.bindings()) is not leaving


@pytest.mark.parametrize("owner", ["tenant-admins", "stay"])
def test_what_was_made_to_go_with_a_binding_stays_for_whoever_looks_into_it(ministry: Ministry, owner: str) -> None:
    name = f"of-{owner}"
    tenant = prepared(ministry, name) if owner == "stay" else Tenancy(ministry, name, own=False)
    (found,) = (b for b in ministry.live("rolebindings", f"{name}-prod") if b["metadata"]["name"] == owner)
    text = EVIDENCE.format(tenant=name, owner=owner, uid=found["metadata"]["uid"])
    made = tenant.as_admin("apply", "-n", f"{name}-prod", "-f", "-", input=text)
    assert made.returncode == 0, made.stderr

    def owners(kind: str) -> list[object]:
        """Return what the evidence belongs to; nothing where it is gone."""
        found = (live["metadata"] for live in ministry.live(kind, f"{name}-prod"))
        return [m.get("ownerReferences", "nobody") for m in found if m["name"] == "evidence"]

    assert len(owners("pods")) == 1
    tenant.suspend("--quarantine")
    assert tenant.bindings() == []
    # Nothing is left that the garbage collector would ever take them for.
    time.sleep(2)
    assert owners("pods") == owners("secrets") == ["nobody"]
