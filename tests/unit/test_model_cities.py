"""Names of cities as people type them: one city, perhaps one city, or two."""

from __future__ import annotations

import pytest

from gcloud_pk.model.cities import alike, same
from gcloud_pk.model.site import Location


def at(city: str, province: str = "punjab") -> Location:
    return Location.model_validate({"city": city, "province": province, "kind": "government"})


@pytest.mark.parametrize(
    "other",
    ["Lahore", "lahore", "LAHORE ", " La hore", "Lāhore", "\uff2cahore", "Lahore."],
    ids=["itself", "case", "a space", "a space in it", "an accent", "a wide letter", "a full stop"],
)
def test_case_spaces_accents_and_forms_of_letters_make_no_other_city(other: str) -> None:
    assert same(at("Lahore"), at(other))


@pytest.mark.parametrize("other", ["Lahroe", "Lahor", "Lahore Cantt", "Lahore-2", "لاہور", "Lohare"])
def test_a_slip_an_addition_and_another_script_may_be_the_same_city(other: str) -> None:
    assert alike(at("Lahore"), at(other))
    assert alike(at(other), at("Lahore"))
    assert not same(at("Lahore"), at(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Gujrat", "Gujranwala"),
        ("Dera Ismail Khan", "Dera Ghazi Khan"),
        ("Islamabad", "Faisalabad"),
        ("Sialkot", "Sahiwal"),
        ("Kot Addu", "Kotri"),
        ("Multan", "Mianwali"),
        ("Attock", "Okara"),
        ("Chaman", "Chakwal"),
    ],
)
def test_cities_of_pakistan_are_not_taken_for_each_other(one: str, other: str) -> None:
    assert not alike(at(one), at(other))


def test_names_that_are_nearly_the_same_in_two_provinces_are_two_cities() -> None:
    assert not alike(at("Lahore"), at("Lahor", "kp"))
