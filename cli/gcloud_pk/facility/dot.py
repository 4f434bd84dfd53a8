"""The site as Graphviz text: what fails is bold, red, and says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gcloud_pk.facility.graph import Element, Facility, Grid
from gcloud_pk.facility.words import counts, kilowatts
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.site import Site

_SHAPES = {
    "utility": "trapezium",
    "generator": "house",
    "ups": "box3d",
    "chiller": "house",
    "carrier": "cloud",
    "transfer-switch": "diamond",
    "point-of-use-switch": "diamond",
}
_TITLES = {"power": "Power", "cooling": "Cooling", "network": "Network"}
_BROKEN = 'color="#b00020", fontcolor="#b00020", penwidth=3'


def to_dot(site: Site, findings: Sequence[Finding] = ()) -> str:
    """Return the DOT language of a site's graph (graphviz.org, The DOT Language), for `dot -Tsvg`.

    Elements of which a finding says `fail` are marked, with how many loads they take. Raises InvalidInputError where
    power goes in a circle.
    """
    facility = Facility.of(site)
    marks = _marks(findings)
    lines = [
        f"digraph {_quoted(site.metadata.name)} {{",
        '  graph [rankdir=TB, fontname="sans-serif", compound=true];',
        '  node [shape=box, fontname="sans-serif", fontsize=10];',
        '  edge [fontname="sans-serif", fontsize=8];',
    ]
    for grid in facility.grids:
        lines += _area(grid, marks)
    lines += _racks(facility, marks)
    return "\n".join((*lines, "}", ""))


_Marks = dict[tuple[str, Element], str]


def _marks(findings: Iterable[Finding]) -> _Marks:
    """Return what is broken: its area (or `rack`) and element, and the words beside it."""
    marks: _Marks = {}
    for finding in findings:
        evidence = finding.evidence
        element = tuple(evidence.get("link", ())) or ((evidence["element"],) if "element" in evidence else ())
        if finding.verdict is Verdict.FAIL and element:
            area = evidence.get("area", "rack")
            marks.setdefault((area, element), f"{finding.id}: takes {counts(evidence.get('count', 0), 'load')}")
    return marks


def _area(grid: Grid, marks: _Marks) -> Iterable[str]:
    if not grid.nodes:
        return
    yield f"  subgraph {_quoted(f'cluster_{grid.area}')} {{"
    yield f"    label={_quoted(_TITLES[grid.area])}; style=rounded;"
    for name, node in grid.nodes.items():
        words = [name, node.kind, *([kilowatts(node.watts)] if node.watts is not None else [])]
        shape = _SHAPES.get(node.kind, "box")
        yield f"    {_quoted(f'{grid.area}/{name}')} [{_look(words, marks.get((grid.area, (name,))))}, shape={shape}];"
    yield "  }"
    for source, target in grid.links:
        mark = marks.get((grid.area, (source, target)))
        both = ["dir=both"] if (source, target) in grid.twoway else []
        look = [*both, *([f"label={_quoted(mark)}, {_BROKEN}"] if mark else [])]
        tail = f" [{', '.join(look)}]" if look else ""
        yield f"  {_quoted(f'{grid.area}/{source}')} -> {_quoted(f'{grid.area}/{target}')}{tail};"


def _racks(facility: Facility, marks: _Marks) -> Iterable[str]:
    """Yield the racks, hosts that stand in none or have supplies of their own, and what they hang on."""
    hosts: dict[str, int] = {}
    for member in facility.members:
        name = member.rack or member.name
        hosts[name] = hosts.get(name, 0) + (member.kind == "host")
    for name, number in hosts.items():
        words = [name, counts(number, "host")]
        yield f"  {_quoted(f'rack/{name}')} [{_look(words, marks.get(('rack', (name,))))}, shape=tab];"
    for grid in facility.grids:
        drawn = dict.fromkeys(
            (tap, member.rack or member.name)
            for load in grid.loads
            for tap in sorted(load.taps)
            for member in load.members
        )
        for tap, name in drawn:
            yield f"  {_quoted(f'{grid.area}/{tap}')} -> {_quoted(f'rack/{name}')} [style=dashed];"


def _look(words: Sequence[str], mark: str | None) -> str:
    label = "\\n".join(_escaped(word) for word in ([*words, mark] if mark else words))
    return f'label="{label}"' + (f", {_BROKEN}" if mark else "")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'
