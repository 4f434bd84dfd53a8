"""Requests as files: the file's name is the case; the head of an invalid one says what is found, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gcloud_pk.errors import InvalidInputError, Problem
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.registry import documents, readings
from gcloud_pk.registry.folder import Registry

DATA = Path(__file__).parent / "data"
VALID = sorted((DATA / "requests" / "valid").glob("*.yaml"))
INVALID = sorted((DATA / "requests" / "invalid").glob("*.yaml"))
_HEAD = re.compile(r"# line (\d+): (\S+): (.*); expected (.*)")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.open(DATA / "registries" / "three-tenants")


def problems_of(path: Path, registry: Registry) -> list[Problem]:
    try:
        document = documents.parse(path.read_bytes(), path.name)
    except InvalidInputError as error:
        return list(error.details)
    return registry.request_problems(readings.load(document, TenantRequest))


def test_there_are_many_cases() -> None:
    assert len(VALID) >= 10
    assert len(INVALID) >= 100


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_request_has_no_problem(path: Path, registry: Registry) -> None:
    assert problems_of(path, registry) == []


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_every_problem_of_an_invalid_request_is_named_at_once_and_nothing_else(path: Path, registry: Registry) -> None:
    head = path.read_bytes().decode("utf-8", "replace").split("\n")
    expected = [match.groups() for line in head if (match := _HEAD.fullmatch(line))]
    assert expected
    found = [(str(p.line), p.field or "-", p.message, p.expected) for p in problems_of(path, registry)]
    assert found == expected


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_no_problem_speaks_the_validators_language(path: Path, registry: Registry) -> None:
    for problem in problems_of(path, registry):
        assert not re.search(r"[Ii]nput should|valid (string|integer|dictionary)|[Vv]alue error|__", str(problem))


def test_the_registry_of_the_cases_is_valid_itself(registry: Registry) -> None:
    assert registry.problems == ()
