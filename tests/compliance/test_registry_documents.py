"""YAML is read as it looks, with the line of each field."""

from __future__ import annotations

import subprocess
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcloud_pk.errors import InvalidInputError
from gcloud_pk.model import rules
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.registry import documents
from gcloud_pk.registry.documents import Document, path_of, steps_of
from gcloud_pk.registry.readings import load

VALUES: dict[str, Any] = {
    "no": "no", "yes": "yes", "on": "on", "off": "off", "y": "y", "n": "n", "true": True, "False": False,
    "010": "010", "0o17": "0o17", "0x1F": "0x1F", "1_000": "1_000", "12:30:45": "12:30:45", "0519876543": "0519876543",
    "42": 42, "-7": -7, "+7": 7, "1.5": 1.5, "1e3": "1e3", ".inf": ".inf", "1234567890123456789": "1234567890123456789",
    "2027-06-30": "2027-06-30", "~": None, "null": None, "''": "", '"5"': "5", "'true'": "true", "=": "=",
}  # fmt: skip


@pytest.mark.parametrize("written", VALUES)
def test_a_scalar_is_what_it_looks_like(written: str) -> None:
    found = documents.parse(f"a: {written}\n".encode(), "f").value["a"]
    assert found == VALUES[written]
    assert type(found) is type(VALUES[written])


TEXT = b"""\
# head
spec:
  environments:
    - name: one
      quota: {cpu: 1,
              memory: 2}
    -
      name: two
  'odd key': 1
"""
LINES = {
    "spec": 2,
    "spec.environments": 3,
    "spec.environments[0]": 4,
    "spec.environments[0].name": 4,
    "spec.environments[0].quota.memory": 6,
    "spec.environments[1].name": 8,
    "spec.environments[1].missing.deeper": 8,
    "spec['odd key']": 9,
    "nothing.like.it": 2,
}


@pytest.mark.parametrize("path", LINES)
def test_every_field_knows_its_line_and_a_missing_one_its_nearest(path: str) -> None:
    document = documents.parse(TEXT, "f")
    if path == "spec.environments[1].missing.deeper":
        assert document.line(steps_of(path)) in {7, 8}
    else:
        assert document.line(steps_of(path)) == LINES[path]


@pytest.mark.parametrize("path", [path for path in LINES if path != "nothing.like.it"])
def test_paths_read_back(path: str) -> None:
    assert path_of(steps_of(path)) == path


def test_reading_two_hundred_requests_takes_well_under_a_second() -> None:
    data = (Path(__file__).parents[1] / "unit/data/requests/valid/every-field.yaml").read_bytes()
    started = time.process_time()
    for _ in range(200):
        assert load(documents.parse(data, "f"), TenantRequest).model is not None
    assert time.process_time() - started < 1


def test_a_document_of_too_many_values_is_refused_early() -> None:
    data = b"[" + b"[],\n" * 200_000 + b"[]]"
    started = time.process_time()
    with pytest.raises(InvalidInputError) as caught:
        documents.parse(data, "f")
    assert "more than" in caught.value.details[0].message
    assert time.process_time() - started < 3


def test_the_digest_is_what_sha256sum_prints(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(TEXT)
    printed = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
    assert documents.parse(TEXT, "f").digest == printed


yamlish = st.text(st.sampled_from("abc:-[]{}&*!|>'\"#%@`?,\n \t~<=.0x\x00\ufeff\u2028é"), max_size=60)


@given(st.one_of(st.binary(max_size=60), yamlish.map(str.encode)))
@settings(max_examples=300)
def test_whatever_the_bytes_are_the_answer_is_a_document_or_problems(data: bytes) -> None:
    try:
        reading = load(documents.parse(data, "f"), TenantRequest)
        problems = reading.problems
    except InvalidInputError as error:
        problems = error.details
    assert problems
    assert all(p.file == "f" and p.line for p in problems)


BASE = documents.parse((Path(__file__).parents[1] / "unit/data/requests/valid/every-field.yaml").read_bytes(), "base")
AROUND = rules.Surroundings(registry=False)
odd = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
                st.just([{}]), st.just({"a": 1}), st.just([None]))  # fmt: skip


def places(value: Any, steps: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [steps]
    if isinstance(value, dict):
        found += [inner for key, entry in value.items() for inner in places(entry, (*steps, key))]
    elif isinstance(value, list):
        found += [inner for key, entry in enumerate(value) for inner in places(entry, (*steps, key))]
    return found


@given(st.lists(st.tuples(st.sampled_from(places(BASE.value)[1:]), odd), min_size=1, max_size=5))
@settings(max_examples=200)
def test_whatever_is_wrong_in_a_request_is_told_in_problems_with_lines(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    value = deepcopy(BASE.value)
    for steps, new in changes:
        holder: Any = value
        step: Any
        last: Any = steps[-1]
        for step in steps[:-1]:
            fits = isinstance(holder, dict) or (isinstance(holder, list) and isinstance(step, int))
            if not fits or step not in (holder if isinstance(holder, dict) else range(len(holder))):
                break
            holder = holder[step]
        else:
            if isinstance(holder, dict) or (isinstance(holder, list) and last in range(len(holder))):
                holder[last] = new
    reading = load(Document("f", b"", value), TenantRequest)
    problems = reading.ruled(lambda request: rules.request_problems(request, AROUND))
    assert bool(problems) or reading.model is not None
    assert all(p.line for p in problems)
