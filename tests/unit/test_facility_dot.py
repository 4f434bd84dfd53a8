"""The graph as Graphviz text."""

from __future__ import annotations

import html
import re
import shutil
import subprocess

import pytest
from tests.unit.facility_sites import at, site

from gcloud_pk.facility import tier
from gcloud_pk.facility.dot import to_dot


def test_every_component_link_and_rack_is_drawn() -> None:
    one = site()
    text = to_dot(one)
    for area in (one.spec.power, one.spec.cooling, one.spec.network):
        for component in area.components:
            assert f'/{component.name}" [' in text
    assert '"power/ats-a" -> "power/ups-a";' in text
    assert '"network/core-1" -> "network/core-2" [dir=both];' in text
    assert '"power/pdu-1-a" -> "rack/rack-1" [style=dashed];' in text
    assert "penwidth" not in text


def test_what_fails_is_marked_by_colour_weight_and_words() -> None:
    one = site(at("racks", "rack-2", feeds=["pdu-2-a"]))
    text = to_dot(one, tier.judge(one))
    (line,) = [line for line in text.splitlines() if line.strip().startswith('"power/pdu-2-a" [')]
    assert "DC-004: takes 2 loads" in line
    assert "penwidth=3" in line
    (line,) = [line for line in text.splitlines() if '"power/ups-a" -> "power/pdu-2-a"' in line]
    assert "DC-005: takes 2 loads" in line
    (line,) = [line for line in text.splitlines() if line.strip().startswith('"power/pdu-2-b" [')]
    assert "penwidth" not in line


def test_the_text_is_the_same_each_time_and_its_quotes_are_closed() -> None:
    assert to_dot(site()) == to_dot(site())
    assert not [line for line in to_dot(site()).splitlines() if len(re.findall(r'(?<!\\)"', line)) % 2]


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_it() -> None:
    one = site(at("racks", "rack-2", feeds=["pdu-2-a"]))
    drawn = subprocess.run(["dot", "-Tsvg"], input=to_dot(one, tier.judge(one)), capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    assert "rack-3" in html.unescape(drawn.stdout)  # it writes a hyphen as an entity
