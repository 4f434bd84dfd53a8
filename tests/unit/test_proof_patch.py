"""What a probe breaks in a control object, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gcloud_pk.proof.patch import Edit, apply

POD: dict[str, Any] = {
    "spec": {"containers": [{"name": "probe", "image": "a"}], "hostPID": False},
    "metadata": {"labels": {"a/b": "c"}},
}


def edit(path: str, **act: Any) -> Edit:
    return Edit.model_validate({"path": path, **act})


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(edit("/spec/hostPID", value=True), {"hostPID": True}, id="a value is replaced"),
        pytest.param(edit("/spec/hostIPC", value=True), {"hostIPC": True}, id="a value is added"),
        pytest.param(edit("/spec/hostPID", remove=True), {"hostPID": None}, id="a value is removed"),
        pytest.param(
            edit("/spec/containers/0/image", value="b"),
            {"containers": [{"name": "probe", "image": "b"}]},
            id="in a list",
        ),
        pytest.param(
            edit("/spec/containers/-", value={"name": "c"}),
            {"containers": [{"name": "probe", "image": "a"}, {"name": "c"}]},
            id="appended to a list",
        ),
        pytest.param(edit("/spec/a/b", value=1), {"a": {"b": 1}}, id="maps on the way are made"),
    ],
)
def test_an_edit_changes_one_place(made: Edit, expected: dict[str, Any]) -> None:
    spec = apply(POD, [made])["spec"]
    wanted = {**POD["spec"], **expected}
    assert spec == {key: value for key, value in wanted.items() if value is not None}


def test_the_control_object_itself_is_never_changed() -> None:
    before = str(POD)
    apply(POD, [edit("/spec/containers/0/image", value="b"), edit("/metadata/labels/a~1b", remove=True)])
    assert str(POD) == before


def test_a_slash_in_a_key_is_written_as_json_pointer_says() -> None:
    assert apply(POD, [edit("/metadata/labels/a~1b", value="d")])["metadata"] == {"labels": {"a/b": "d"}}


@pytest.mark.parametrize(
    "wrong",
    [
        edit("/spec/containers/5/image", value="b"),
        edit("/spec/nothing", remove=True),
        edit("/spec/nothing/at/all", remove=True),
        edit("/spec/containers/0/image/deeper", value="b"),
        edit("/spec/containers/first", value="b"),
    ],
    ids=lambda e: e.path,
)
def test_an_edit_that_leads_nowhere_is_an_error_and_not_a_probe_that_breaks_nothing(wrong: Edit) -> None:
    with pytest.raises(ValueError, match="leads nowhere"):
        apply(POD, [wrong])


@pytest.mark.parametrize("act", [{}, {"value": 1, "remove": True}], ids=["neither", "both"])
def test_an_edit_either_has_a_value_or_removes(act: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either has a value or removes"):
        edit("/spec", **act)
