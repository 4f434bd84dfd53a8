"""What identities can do with their own keys on a real API server. Who may do what, cell by cell: test_rights.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e import policy_world
from tests.e2e.conftest import RunningLab
from tests.e2e.policy_world import IDENTITIES

from gcloud_pk.cluster import kubeconfig
from gcloud_pk.cluster.kinds import CONFIG_MAP, POD, ROLE, ROLE_BINDING, SECRET, key_of
from gcloud_pk.cluster.transport import Answer, Api, Identity
from gcloud_pk.model import labels
from gcloud_pk.render import platform

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
ROLES = ("admins", "developers", "auditors")
SPECIAL = ("bind", "escalate", "impersonate", "impersonate:user-info", "manage", "administer", "approve", "sign", "use")


@pytest.fixture(scope="module")
def admin(lab: RunningLab) -> Iterator[Api]:
    with policy_world.inhabited(lab) as api:
        policy_world.apply(api, OPERATORS)
        policy_world.apply(api, TREASURE)
        yield api
        api.request("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/fixture-operators")


OPERATORS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "fixture-operators"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "fixture-operators"}],
}
TREASURE = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "treasure", "namespace": "fixture-prod"},
    "stringData": {"word": "sesame-of-the-fixture"},
}


@pytest.fixture(scope="module")
def own(admin: Api, lab: RunningLab) -> dict[str, Api]:
    """The platform's identities with their own credentials."""
    return {name: Api(kubeconfig.load(str(lab.kubeconfig), name)) for name in ("onboarder", "verifier", "auditor")}


def may(admin: Api, who: Identity, verb: str, resource: str, namespace: str = "", name: str = "") -> bool:
    """Ask the server; `resource` is written `plural.group/subresource`."""
    plain, _, subresource = resource.partition("/")
    plural, _, group = plain.partition(".")
    attributes = {
        "verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace,
        "name": name,
    }  # fmt: skip
    spec = {"user": who.user, "groups": [*who.groups, "system:authenticated"], "resourceAttributes": attributes}
    answer = admin.request(
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        body={"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec},
    )
    assert answer.ok, answer.message
    return bool(answer.body["status"]["allowed"])


@pytest.mark.parametrize("who", [*ROLES, "meddlers", "verifier", "auditor"])
def test_nobody_but_the_platform_manages_or_escalates(admin: Api, who: str) -> None:
    for verb in SPECIAL:
        for resource in (
            "platform.gcloud.gov.pk", "roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io",
            "users", "serviceaccounts", "users.authentication.k8s.io",
        ):  # fmt: skip
            if (who, verb, resource) != ("verifier", "impersonate:user-info", "users.authentication.k8s.io"):
                assert not may(admin, IDENTITIES[who], verb, resource, "fixture-prod"), (verb, resource)
                assert not may(admin, IDENTITIES[who], verb, resource), (verb, resource)


def test_a_tenant_grants_no_more_than_it_holds(admin: Api) -> None:
    admins = admin.impersonating(IDENTITIES["admins"])
    for rule in (
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate", "bind"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["create"]},
    ):
        role = {"apiVersion": ROLE.api_version, "kind": "Role", "metadata": {"name": "wide"}, "rules": [rule]}
        answer = admins.request("POST", ROLE.path("fixture-prod"), body=role, params={"dryRun": "All"})
        assert answer.status == 403
        assert "is attempting to grant RBAC permissions not currently held" in answer.message


# The verifier


def as_probe(api: Api, *groups: str) -> Api:
    return api.impersonating(Identity(labels.PROBE_USER, groups))


def test_the_verifier_acts_as_a_tenants_group(own: dict[str, Api]) -> None:
    probe = as_probe(own["verifier"], "oidc:fixture-admins")
    assert probe.request("GET", CONFIG_MAP.path("fixture-prod", "own")).ok
    sent = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "verifiers", "namespace": "fixture-prod"}}
    assert probe.request("POST", CONFIG_MAP.path("fixture-prod"), body=sent, params={"dryRun": "All"}).status == 201
    foreign = probe.request("GET", CONFIG_MAP.path("nobodys"))
    assert foreign.status == 403
    assert f'User "{labels.PROBE_USER}" cannot list resource "configmaps"' in foreign.message


def test_the_verifier_writes_nothing_that_stays_whomever_it_acts_as(admin: Api, own: dict[str, Api]) -> None:
    sent = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "verifiers", "namespace": "fixture-prod"}}
    for groups in (("oidc:fixture-admins",), ("fixture-operators",), (labels.ONBOARDER_GROUP, "oidc:fixture-admins")):
        answer = as_probe(own["verifier"], *groups).request("POST", CONFIG_MAP.path("fixture-prod"), body=sent)
        assert policy_world.refused_by("gpk-probes", answer), answer.message
    operators = as_probe(own["verifier"], "fixture-operators")
    assert policy_world.refused_by("gpk-probes", operators.request("DELETE", CONFIG_MAP.path("fixture-prod", "own")))
    assert policy_world.refused_by("gpk-probes", operators.request("DELETE", CONFIG_MAP.path("fixture-prod")))
    assert own["verifier"].request("POST", CONFIG_MAP.path("fixture-prod"), body=sent).status == 403
    assert admin.request("GET", CONFIG_MAP.path("fixture-prod", "verifiers")).status == 404
    assert admin.request("GET", CONFIG_MAP.path("fixture-prod", "own")).ok


def test_the_verifier_may_not_be_a_master(own: dict[str, Api]) -> None:
    answer = as_probe(own["verifier"], "system:masters").request("GET", CONFIG_MAP.path("fixture-prod"))
    assert answer.status == 403
    assert "impersonating the system:masters group is not allowed" in answer.message


def test_the_verifier_may_be_no_other_user_and_no_service_account(own: dict[str, Api]) -> None:
    for user in ("somebody", "gcloud-pk:onboarder", "system:kube-controller-manager"):
        answer = own["verifier"].impersonating(Identity(user)).request("GET", CONFIG_MAP.path("fixture-prod"))
        assert answer.status == 403
        assert "cannot impersonate:user-info resource" in answer.message
    account = Identity("system:serviceaccount:kube-system:namespace-controller")
    answer = own["verifier"].impersonating(account).request("GET", CONFIG_MAP.path("fixture-prod"))
    assert "cannot impersonate-on:serviceaccount:list" in answer.message


@pytest.mark.parametrize("group", ["oidc:fixture-admins", "fixture-operators", "system:masters"])
@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("GET", SECRET.path("fixture-prod", "treasure"), {}),
        ("GET", SECRET.path("fixture-prod"), {}),
        ("GET", SECRET.path(), {}),
        ("GET", SECRET.path("fixture-prod"), {"watch": "true", "timeoutSeconds": "1"}),
        ("PATCH", SECRET.path("fixture-prod", "treasure"), {"dryRun": "All"}),
        ("DELETE", SECRET.path("fixture-prod", "treasure"), {"dryRun": "All"}),
        ("DELETE", SECRET.path("fixture-prod"), {"dryRun": "All"}),
        ("POST", "/api/v1/namespaces/fixture-prod/serviceaccounts/default/token", {"dryRun": "All"}),
    ],
)
def test_the_verifier_reads_no_secret_even_by_a_dry_run(
    admin: Api, own: dict[str, Api], group: str, method: str, path: str, params: dict[str, str]
) -> None:
    answer = as_probe(own["verifier"], group).request(
        method, path, params=params, body={} if method == "PATCH" else None, content_type=policy_world.PATCH
    )
    assert answer.status == 403
    assert "impersonate" in answer.message
    assert "sesame" not in str(answer.body)
    assert own["verifier"].request("GET", SECRET.path("fixture-prod", "treasure")).status == 403


# The onboarder


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        *((verb, "secrets") for verb in (*READ, *WRITE)),
        *((verb, "clusterroles.rbac.authorization.k8s.io") for verb in (*WRITE, "escalate")),
        *((verb, "clusterrolebindings.rbac.authorization.k8s.io") for verb in WRITE),
        *((verb, "roles.rbac.authorization.k8s.io") for verb in (*READ, *WRITE, "escalate")),
        *((verb, "validatingadmissionpolicies.admissionregistration.k8s.io") for verb in WRITE),
        *((verb, "validatingadmissionpolicybindings.admissionregistration.k8s.io") for verb in WRITE),
        *((verb, "validatingwebhookconfigurations.admissionregistration.k8s.io") for verb in WRITE),
        *((verb, "customresourcedefinitions.apiextensions.k8s.io") for verb in WRITE),
        *((verb, "pods") for verb in (*WRITE, "get")),
        *((verb, "configmaps") for verb in (*READ, *WRITE)),
        *((verb, "users") for verb in ("impersonate",)),
        *((verb, "users.authentication.k8s.io") for verb in ("impersonate:user-info",)),
        ("delete", "tenantpolicies.gcloud.gov.pk"),
        ("administer", "platform.gcloud.gov.pk"),
        ("create", "serviceaccounts/token"),
        ("create", "pods/exec"),
        ("update", "namespaces/finalize"),
        ("update", "namespaces/status"),
    ],
    ids=str,
)
def test_the_onboarder_lacks(admin: Api, verb: str, resource: str) -> None:
    for namespace in ("", "fixture-prod", "kube-system"):
        assert not may(admin, IDENTITIES["onboarder"], verb, resource, namespace)


def test_the_onboarder_binds_the_three_roles_for_tenants_only(admin: Api) -> None:
    roles = "clusterroles.rbac.authorization.k8s.io"
    for name in ("tenant-admin", "tenant-developer", "tenant-auditor"):
        assert may(admin, IDENTITIES["onboarder"], "bind", roles, name=f"gcloud-pk:{name}")
    for name in ("", "cluster-admin", "gcloud-pk:onboarder", "gcloud-pk:verifier", "edit"):
        assert not may(admin, IDENTITIES["onboarder"], "bind", roles, name=name)


def test_the_onboarder_gets_no_access_to_kube_system(admin: Api, own: dict[str, Api]) -> None:
    binding = {
        "apiVersion": ROLE_BINDING.api_version, "kind": "RoleBinding",
        "metadata": {"name": "mine", "namespace": "kube-system"},
        "roleRef": {"apiGroup": ROLE.group, "kind": "ClusterRole", "name": "gcloud-pk:tenant-developer"},
        "subjects": [{"apiGroup": ROLE.group, "kind": "Group", "name": labels.ONBOARDER_GROUP}],
    }  # fmt: skip
    answer = own["onboarder"].request("POST", ROLE_BINDING.path("kube-system"), body=binding)
    assert policy_world.refused_by("gpk-onboarder", answer), answer.message
    assert admin.request("GET", ROLE_BINDING.path("kube-system", "mine")).status == 404
    assert own["onboarder"].request("GET", SECRET.path("kube-system")).status == 403


def test_the_onboarder_keeps_leases_in_the_platforms_namespace_only(admin: Api) -> None:
    for verb in ("get", "create", "update", "delete"):
        assert may(admin, IDENTITIES["onboarder"], verb, "leases.coordination.k8s.io", labels.SYSTEM_NAMESPACE)
        assert not may(admin, IDENTITIES["onboarder"], verb, "leases.coordination.k8s.io", "kube-system")


# The auditor


def _get(api: Api, path: str) -> Answer:
    return api.request("GET", path)


def test_the_auditor_reads_all_but_secrets(own: dict[str, Api]) -> None:
    api = own["auditor"]
    for path in (
        "/api/v1/namespaces", "/api/v1/pods", "/api/v1/configmaps", "/api/v1/nodes", "/api/v1/persistentvolumes",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/networking.k8s.io/v1/networkpolicies",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/gcloud.gov.pk/v1alpha1/tenants",
        "/apis/gcloud.gov.pk/v1alpha1/tenantpolicies", "/apis/apps/v1/deployments",
    ):  # fmt: skip
        assert _get(api, path).ok, path
    for path in (SECRET.path(), SECRET.path("fixture-prod", "treasure"), POD.path("fixture-prod", "running") + "/log"):
        assert _get(api, path).status == 403, path


def test_the_auditor_reads_what_the_platform_installs(admin: Api) -> None:
    for made in platform.platform_objects():
        plural = key_of(made).kind.resource
        assert may(admin, IDENTITIES["auditor"], "get", plural, made["metadata"].get("namespace", "")), plural


def test_the_auditor_writes_nothing(admin: Api) -> None:
    resources: dict[str, Any] = {key_of(m).kind.resource: m for m in policy_world.world()}
    for resource in (*resources, "secrets", "deployments.apps", "pods/exec", "serviceaccounts/token", "nodes/proxy"):
        for verb in WRITE:
            assert not may(admin, IDENTITIES["auditor"], verb, resource, "fixture-prod"), (verb, resource)


def test_the_auditor_may_verify(own: dict[str, Api]) -> None:
    probe = as_probe(own["auditor"], "oidc:fixture-auditors")
    assert probe.request("GET", CONFIG_MAP.path("fixture-prod", "own")).ok
    assert probe.request("GET", SECRET.path("fixture-prod", "treasure")).status == 403
