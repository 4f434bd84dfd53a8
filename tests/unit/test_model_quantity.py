"""Quantities are those of Kubernetes: exact, and canonical as the API server writes them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcloud_pk.model.quantity import Quantity, total

CANONICAL = {
    "0": "0",
    "0.5": "500m",
    ".5": "500m",
    "1.": "1",
    "500m": "500m",
    "1000m": "1",
    "1500m": "1500m",
    "1000": "1k",
    "1024": "1024",
    "1Ki": "1Ki",
    "1024Ki": "1Mi",
    "1.5Gi": "1536Mi",
    "0.5Ki": "512",
    "1e3": "1k",
    "12E2": "1200",
    "1E": "1E",
    "96Gi": "96Gi",
    "100M": "100M",
    "1000k": "1M",
}


@pytest.mark.parametrize(("written", "canonical"), CANONICAL.items())
def test_a_quantity_is_written_as_the_api_server_writes_it(written: str, canonical: str) -> None:
    assert str(Quantity.parse(written)) == canonical


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1GB", "1 Gi", "Gi", "1K", "0x10", "1e100", "8Ei", "1n", "NaN", "1\n", "٣"]
)
def test_what_is_no_quantity_or_none_we_can_compare_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Quantity.parse(text)


suffixes = st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"])


@given(st.integers(0, 10**6), suffixes)
def test_the_canonical_form_reads_back_as_the_same_amount(number: int, suffix: str) -> None:
    quantity = Quantity.parse(f"{number}{suffix}")
    again = Quantity.parse(str(quantity))
    assert again == quantity
    assert str(again) == str(quantity)


@given(st.lists(st.fractions(0, 1000, max_denominator=1).map(lambda f: Fraction(f, 1000)), max_size=20))
def test_sums_lose_nothing(parts: list[Fraction]) -> None:
    assert total([Quantity(part) for part in parts]).value == sum(parts)


def test_amounts_are_compared_and_not_texts() -> None:
    assert Quantity.parse("1Gi") > Quantity.parse("1G")
    assert Quantity.parse("1000m") == Quantity.parse("1")
    assert Quantity.parse("0.1") + Quantity.parse("0.2") == Quantity.parse("300m")
