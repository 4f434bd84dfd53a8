"""What all tenants share, on its own control plane: `cluster init` brings it, `onboard` stops where it is not whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import RunningLab, running
from tests.e2e.ministry import Ministry


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with running("cluster-init", tmp_path_factory.mktemp("cluster-init")) as lab:
        yield lab


@pytest.fixture
def ministry(own: RunningLab, tmp_path: Path) -> Iterator[Ministry]:
    made = Ministry.found(own, tmp_path / "registry")
    yield made
    made.run("cluster", "init", "--context", "admin", "--yes")


def test_a_second_init_changes_nothing(ministry: Ministry) -> None:
    shown = json.loads(ministry.run("cluster", "init", "--context", "admin", "--yes", "--format", "json").stdout)
    assert shown["changes"]["created"] == shown["changes"]["changed"] == shown["changes"]["removed"] == 0
    assert shown["changes"]["unchanged"] > 25


def test_it_asks_before_it_writes(ministry: Ministry) -> None:
    ministry.lab.kubectl("delete", "validatingadmissionpolicybinding", "gpk-images")
    assert "--yes" in ministry.run("cluster", "init", "--context", "admin", check=4).stderr
    ministry.run("cluster", "init", "--context", "admin", "--dry-run")
    ministry.lab.kubectl("get", "validatingadmissionpolicybinding", "gpk-services")
    assert ministry.lab.kubectl("get", "validatingadmissionpolicybinding", "gpk-images", check=False).returncode == 1


@pytest.mark.parametrize(
    ("sabotage", "named"),
    [
        (("delete", "validatingadmissionpolicybinding", "gpk-images"), "gpk-images: missing"),
        (("delete", "validatingadmissionpolicy", "gpk-canary"), "canary"),
        (
            (
                "patch", "validatingadmissionpolicy", "gpk-services", "--type=json",
                "-p", '[{"op":"replace","path":"/spec/failurePolicy","value":"Ignore"}]',
            ),
            "spec.failurePolicy: Ignore → Fail (by kubectl-patch)",
        ),
        (("delete", "namespace", "gcloud-pk-system"), "no right to create configmaps in namespace gcloud-pk-system"),
    ],
    ids=["a binding is missing", "the canary is missing", "a policy was weakened", "the namespace is missing"],
)  # fmt: skip
def test_onboarding_stops_before_anybody_gets_in_where_a_policy_is_not_whole(
    ministry: Ministry, sabotage: tuple[str, ...], named: str
) -> None:
    ministry.write("stopped")
    ministry.lab.kubectl(*sabotage)
    # Without its role the onboarder may not even ask: that is refused (4), all else is missing (5).
    refused = ministry.run("onboard", "stopped", "--yes", check=4 if "no right" in named else 5)
    assert named in refused.stderr
    assert "cluster init" in refused.stderr
    assert ministry.labelled("stopped") == []
    ministry.run("cluster", "init", "--context", "admin", "--yes")
    assert "0 created, 0 changed" in ministry.run("cluster", "init", "--context", "admin", "--dry-run").stdout


def test_what_was_added_to_a_policy_or_its_binding_is_seen_stops_onboarding_and_is_mended(ministry: Ministry) -> None:
    """What narrows a wall changes no field that is there; and whoever adds it may hide that he did."""
    cleared = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    condition = {"name": "some", "expression": "false"}
    rule = {"apiGroups": [""], "apiVersions": ["*"], "operations": ["*"], "resources": ["services"]}
    selector = {"objectSelector": {"matchLabels": {"judge": "me"}}}
    ministry.write("narrowed")

    def add(name: str, path: str, value: Any, *more: str, kind: str = "validatingadmissionpolicy") -> None:
        patch = [{"op": "add", "path": path, "value": value}]
        ministry.lab.kubectl("patch", kind, name, "--type=json", "-p", json.dumps(patch), *more)

    add("gpk-images", "/spec/matchResources", selector, kind="validatingadmissionpolicybinding")
    add("gpk-images", "/spec/matchConditions", [condition], "--field-manager=gcloud-pk")
    add("gpk-gateways", "/spec/matchConditions/-", condition)
    add("gpk-services", "/spec/matchConstraints/excludeResourceRules", [rule])
    for name in ("gpk-gateways", "gpk-services"):
        patch = json.dumps(cleared)
        ministry.lab.kubectl("patch", "validatingadmissionpolicy", name, "--type=json", "-p", patch)
    named = (
        "Binding gpk-images: changed; spec.matchResources", "Policy gpk-images: changed; spec.matchConditions",
        "spec.matchConditions[name=some]", "spec.matchConstraints.excludeResourceRules",
    )  # fmt: skip
    said = ministry.run("cluster", "status", check=5).stdout
    assert [words for words in named if words not in said] == [], said
    refused = ministry.run("onboard", "narrowed", "--yes", check=5).stderr
    assert [words for words in named if words not in refused] == []
    assert ministry.labelled("narrowed") == []
    ministry.run("cluster", "init", "--context", "admin", "--yes")
    assert "0 created, 0 changed" in ministry.run("cluster", "init", "--context", "admin", "--dry-run").stdout
    live = ministry.live("validatingadmissionpolicies,validatingadmissionpolicybindings")
    assert not any(words in json.dumps(o["spec"]) for o in live for words in ('"some"', '"judge"'))


def test_what_lost_its_label_and_was_changed_is_shown_and_taken_back(ministry: Ministry) -> None:
    role = ("clusterrole", "gcloud-pk:tenant-auditor")
    ministry.lab.kubectl("label", *role, "gcloud.gov.pk/managed-")
    rule = [{"op": "replace", "path": "/rules/0/verbs", "value": ["*"]}]
    ministry.lab.kubectl("patch", *role, "--type=json", "-p", json.dumps(rule))
    shown = ministry.run("cluster", "init", "--context", "admin", "--dry-run").stdout
    assert "~ ClusterRole gcloud-pk:tenant-auditor" in shown
    assert "(by kubectl-patch)" in shown
    ministry.run("cluster", "init", "--context", "admin", "--yes")
    assert "0 created, 0 changed" in ministry.run("cluster", "init", "--context", "admin", "--dry-run").stdout
    (live,) = [r for r in ministry.live("clusterroles") if r["metadata"]["name"] == role[1]]
    assert not any("*" in rule["verbs"] for rule in live["rules"])


def test_a_cluster_with_a_newer_platform_is_not_taken_back_in_silence(ministry: Ministry) -> None:
    ministry.lab.kubectl(
        "annotate", "clusterrole", "gcloud-pk:tenant-auditor", "gcloud.gov.pk/platform-version=99.0.0", "--overwrite"
    )
    refused = ministry.run("cluster", "init", "--context", "admin", "--yes", check=4)
    assert "99.0.0" in refused.stderr
    ministry.run("cluster", "init", "--context", "admin", "--yes", "--allow-downgrade")


def test_the_onboarder_cannot_prepare_a_cluster(ministry: Ministry) -> None:
    assert "no right to list" in ministry.run("cluster", "init", "--yes", check=4).stderr


def test_status_says_what_is_in_force_and_what_is_not(ministry: Ministry) -> None:
    said = json.loads(ministry.run("cluster", "status", "--format", "json").stdout)
    assert said["platform"]["inForce"] is True
    assert said["lab"] == ministry.lab.name
    uid = ministry.lab.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    assert said["uid"] == uid
    ministry.lab.kubectl("delete", "validatingadmissionpolicybinding", "gpk-canary")
    said = json.loads(ministry.run("cluster", "status", "--format", "json", check=5).stdout)
    assert said["platform"]["inForce"] is False


SITE = """# the site of Islamabad
apiVersion: gcloud.gov.pk/v1alpha1
kind: Site
metadata: {name: isb-1}
spec:
  operator: NTC   # who runs it
  location: {city: Islamabad, province: ict, kind: government}
  admits: [open, public, restricted]
  clusters:
    - name: isb-1-a   # the first
"""


def test_register_writes_the_uid_and_leaves_comments_alone(ministry: Ministry) -> None:
    site = ministry.folder / "sites" / "isb-1.yaml"
    site.parent.mkdir()
    site.write_text(SITE)
    ministry.write("placed", site={"primary": "isb-1"})
    ministry.run("cluster", "register", "isb-1")
    text = site.read_text()
    uid = ministry.lab.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    assert f"uid: {uid}" in text
    assert all(comment in text for comment in ("# the site of Islamabad", "# who runs it", "# the first"))
    assert "site:        isb-1/isb-1-a" in ministry.run("cluster", "status").stdout
    ministry.onboard("placed", "--no-verify")
    ministry.run("cluster", "register", "isb-1")
    site.write_text(text.replace(uid, "00000000-0000-4000-8000-000000000000"))
    assert "another UID" in ministry.run("cluster", "register", "isb-1", check=4).stderr
    document = ministry.onboard("--all")
    assert {"name": "placed", "reason": "its site is isb-1, which has another cluster"} in document["skipped"]
    assert "does not belong here" in ministry.run("onboard", "placed", "--yes", check=4).stderr
    ministry.run("cluster", "register", "isb-1", "--replace")
    assert site.read_text() == text
    ministry.run("cluster", "register", "nowhere", check=4)
