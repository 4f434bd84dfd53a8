"""The data by which the audit is audited: each mutation names checks that there are, and most areas are broken once."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest
from tests.e2e.node_mutations import Mutation, mutations

from gcloud_pk.nodes import catalogue

ALL = mutations()
IDS = [one.name for one in ALL]


def test_there_are_at_least_forty_and_each_has_a_name_of_its_own() -> None:
    assert len(ALL) >= 40
    assert [name for name, times in Counter(IDS).items() if times > 1] == []


@pytest.mark.parametrize("mutation", ALL, ids=IDS)
def test_a_mutation_breaks_checks_that_there_are(mutation: Mutation) -> None:
    assert set(mutation.breaks) <= set(catalogue.standard().checks)
    assert len(set(mutation.breaks)) == len(mutation.breaks)


@pytest.mark.parametrize("mutation", ALL, ids=IDS)
def test_a_mutation_that_is_seen_from_outside_says_so(mutation: Mutation) -> None:
    known = catalogue.standard().checks
    assert mutation.outside == any(path.root == "outside" for c in mutation.breaks for path in known[c].every_path)


@pytest.mark.parametrize("mutation", ALL, ids=IDS)
def test_a_mutation_can_be_undone(mutation: Mutation) -> None:
    assert mutation.files or mutation.undo


def test_its_scripts_are_scripts() -> None:
    scripts = [text for one in ALL for text in (one.applied(), one.undone())]
    whole = "\n".join(f"(\n{script}\n)" for script in scripts)
    done = subprocess.run(["sh", "-n"], input=whole, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_area_of_the_catalogue_is_broken_at_least_once() -> None:
    areas = {name.split("-")[1] for name in catalogue.standard().checks}
    assert areas == {name.split("-")[1] for one in ALL for name in one.breaks}
