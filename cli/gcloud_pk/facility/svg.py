"""A drawing as SVG: one element without script, fonts or anything from elsewhere; every text is escaped. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape as _xml

from gcloud_pk.facility.drawing import Box, Drawing, Label, Line, Sign
from gcloud_pk.text import escape

# Text on these grounds has a contrast of at least 7:1, lines and frames of at least 4.5:1 (WCAG 2.2, 1.4.3 and 1.4.11).
STYLE = """
.site text { font-family: Verdana, "DejaVu Sans", system-ui, sans-serif; fill: #1b1f1d; }
.site .soft { fill: #414a45; } .site .broken-text { fill: #9b0016; font-weight: 700; } .site .light { fill: #ffffff; }
.site .paper { fill: #ffffff; }
.site .element, .site .block { fill: #f1f2f0; stroke: #4b524e; stroke-width: 1.25; }
.site .block { fill: #ffffff; }
.site .side-a { fill: #e6effb; stroke: #174f98; } .site .side-b { fill: #fcefe0; stroke: #8a4300; }
.site .room { fill: #f6f8f7; stroke: #6b756f; stroke-width: 1; stroke-dasharray: 2 3; }
.site .bar { fill: #ffffff; stroke: #6b756f; stroke-width: 1; } .site .fill { fill: #1c6b45; }
.site .badge { fill: #4b524e; } .site .badge-a { fill: #174f98; } .site .badge-b { fill: #8a4300; }
.site .legend { fill: #ffffff; stroke: #4b524e; }
.site .unknown { stroke-dasharray: 3 3; stroke-width: 2; stroke: #4b524e; }
.site .broken { fill: #fdeaec; stroke: #9b0016; stroke-width: 3; }
.site .wire { fill: none; stroke: #4b524e; stroke-width: 1.6; }
.site .wire-a { stroke: #174f98; } .site .wire-b { stroke: #8a4300; stroke-dasharray: 7 3; }
.site .wire-ab { stroke-dasharray: 1.6 2.6; } .site .wire-broken { stroke: #9b0016; stroke-width: 4; }
.site .sign { fill: #1b1f1d; stroke: #1b1f1d; } .site .sign-circle { fill: #ffffff; stroke-width: 1.6; }
"""


def svg(drawing: Drawing) -> str:
    """Return the `<svg>` element of a drawing. Its title and description are what a screen reader reads."""
    return "\n".join(_parts(drawing)) + "\n"


def _parts(drawing: Drawing) -> Iterator[str]:
    title, description = f"{drawing.name}-title", f"{drawing.name}-description"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="site" role="img" '
        f'aria-labelledby="{title} {description}" viewBox="0 0 {drawing.width:g} {drawing.height:g}">'
    )
    yield f'<title id="{title}">{_said(drawing.title)}</title>'
    yield f'<desc id="{description}">{_said(drawing.description)}</desc>'
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="paper" width="{drawing.width:g}" height="{drawing.height:g}"/>'
    rooms = [box for box in drawing.boxes if box.look == "room"]
    yield from map(_box, rooms)
    yield from map(_line, drawing.lines)
    yield from (_box(box) for box in drawing.boxes if box.look != "room")
    yield from map(_sign, drawing.signs)
    yield from map(_label, drawing.labels)
    yield "</svg>"


def _said(text: str) -> str:
    return escape(_xml(text, {'"': "&quot;"}))


def _titled(title: str) -> str:
    return f"<title>{_said(title)}</title>" if title else ""


def _box(box: Box) -> str:
    names: list[str] = [box.look]
    if box.side in ("A", "B"):
        names.append(f"{'badge' if box.look == 'badge' else 'side'}-{box.side.lower()}")
    if box.mark:
        names.append(box.mark)
    rect = box.rect
    corner = 3 if box.look in ("element", "block", "room", "badge") else 0
    return (
        f'<rect class="{" ".join(names)}" x="{_n(rect.x)}" y="{_n(rect.y)}" width="{_n(rect.width)}" '
        f'height="{_n(rect.height)}" rx="{corner}">{_titled(box.title)}</rect>'
    )


def _line(line: Line) -> str:
    names = ["wire"] + ([f"wire-{line.side.lower()}"] if line.side else []) + (["wire-broken"] if line.broken else [])
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in line.points)
    return f'<polyline class="{" ".join(names)}" points="{points}"/>'


def _sign(sign: Sign) -> str:
    x, y = sign.x, sign.y
    corners = {
        "diamond": [(x, y - 6.5), (x + 6.5, y), (x, y + 6.5), (x - 6.5, y)],
        "square": [(x - 4.5, y - 4.5), (x + 4.5, y - 4.5), (x + 4.5, y + 4.5), (x - 4.5, y + 4.5)],
        "dash": [(x - 5, y - 1.5), (x + 5, y - 1.5), (x + 5, y + 1.5), (x - 5, y + 1.5)],
        "triangle": [(x, y - 5.5), (x + 5.5, y + 4.5), (x - 5.5, y + 4.5)],
    }
    if sign.shape == "circle":
        return f'<circle class="sign sign-circle" cx="{_n(x)}" cy="{_n(y)}" r="4.5">{_titled(sign.title)}</circle>'
    points = " ".join(f"{_n(a)},{_n(b)}" for a, b in corners[sign.shape])
    return f'<polygon class="sign" points="{points}">{_titled(sign.title)}</polygon>'


def _label(label: Label) -> str:
    look = {"plain": "", "soft": "soft", "broken": "broken-text", "light": "light"}[label.look]
    parts = [f'class="{look}"'] if look else []
    parts += [f'x="{_n(label.x)}" y="{_n(label.y)}" font-size="{label.size:g}"']
    if label.bold:
        parts.append('font-weight="700"')
    if label.anchor != "start":
        parts.append(f'text-anchor="{label.anchor}"')
    if label.turned:
        parts.append(f'transform="rotate(-90 {_n(label.x)} {_n(label.y)})"')
    return f"<text {' '.join(parts)}>{_said(label.text)}</text>"


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
