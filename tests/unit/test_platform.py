"""What all tenants share, as it is assembled: complete, in order, and told apart by its revision."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from gcloud_pk import __version__
from gcloud_pk.model import labels
from gcloud_pk.render import data, platform
from gcloud_pk.render.metadata import canonical

OBJECTS = platform.platform_objects()


def document(kind: str, name: str, **body: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **body}


CANARY = document("ValidatingAdmissionPolicy", platform.CANARY, spec={"message": "platform @VERSION@ @REVISION@"})


def test_every_object_is_labelled_versioned_and_hashed() -> None:
    for made in OBJECTS:
        assert made["metadata"]["labels"][labels.MANAGED] == "platform"
        assert made["metadata"]["annotations"][platform.PLATFORM_VERSION] == __version__
        assert len(made["metadata"]["annotations"][labels.CONTENT_HASH]) == 32


def test_no_two_objects_are_the_same() -> None:
    keys = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in OBJECTS]
    assert len(keys) == len(set(keys))


def test_definitions_come_before_policies_controls_before_access_and_the_canary_last() -> None:
    kinds = list(dict.fromkeys(made["kind"] for made in OBJECTS[:-2]))
    assert kinds == [
        "Namespace",
        "CustomResourceDefinition",
        "ClusterRole",
        "Role",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ClusterRoleBinding",
        "RoleBinding",
    ]
    assert [(m["kind"], m["metadata"]["name"]) for m in OBJECTS[-2:]] == [
        ("ValidatingAdmissionPolicy", platform.CANARY),
        ("ValidatingAdmissionPolicyBinding", platform.CANARY),
    ]


def test_the_platforms_namespace_is_restricted() -> None:
    made = OBJECTS[0]
    assert made["metadata"]["name"] == labels.SYSTEM_NAMESPACE
    for mode in ("enforce", "audit", "warn"):
        assert made["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_the_canary_says_version_and_revision() -> None:
    canary = OBJECTS[-2]
    (said,) = {v["message"] for v in canary["spec"]["validations"] if v["message"].startswith("platform ")}
    assert said == platform.platform_message() == f"platform {__version__} {platform.platform_revision()}"
    assert "@" not in json.dumps(canary["spec"]["validations"][0])


def test_the_groups_and_names_are_those_of_the_contract() -> None:
    bound = {
        subject["name"]
        for made in OBJECTS
        if made["kind"] == "ClusterRoleBinding"
        for subject in made["subjects"]
    }  # fmt: skip
    assert bound == {labels.ONBOARDER_GROUP, labels.VERIFIER_GROUP, labels.AUDITOR_GROUP}


def test_the_same_documents_give_the_same_bytes_in_whatever_order_they_come() -> None:
    documents = [document("Namespace", "b"), document("Namespace", "a"), document("ClusterRole", "c"), CANARY]
    first = canonical(platform.assemble(documents, "1.0.0"))
    assert canonical(platform.assemble(documents[::-1], "1.0.0")) == first


def test_assembling_leaves_its_documents_as_they_were() -> None:
    documents = [document("Namespace", "a"), copy.deepcopy(CANARY)]
    before = copy.deepcopy(documents)
    platform.assemble(documents, "1.0.0")
    assert documents == before


@pytest.mark.parametrize(
    "changed",
    [
        [document("Namespace", "a", spec={"one": 2}), CANARY],
        [document("Namespace", "a", spec={"one": 1}), document("Namespace", "b"), CANARY],
        [document("Namespace", "b", spec={"one": 1}), CANARY],
    ],
    ids=["a field", "an object more", "a name"],
)
def test_any_change_of_a_shared_object_changes_the_revision(changed: list[dict[str, Any]]) -> None:
    def said(documents: list[dict[str, Any]], version: str = "1.0.0") -> str:
        return str(platform.assemble(documents, version)[-1]["spec"]["message"])

    base = [document("Namespace", "a", spec={"one": 1}), CANARY]
    assert said(changed) != said(base)
    assert said(base, "1.0.1") != said(base)
    assert said(copy.deepcopy(base)) == said(base)


def test_a_kind_without_a_place_in_the_order_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ConfigMap"):
        platform.assemble([document("ConfigMap", "a")], "1.0.0")


def test_an_incomplete_installation_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="policies/none"):
        data.documents("policies", "none", "*.yaml")
