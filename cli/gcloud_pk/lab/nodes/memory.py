"""What is remembered of a lab of nodes (`lab.json`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.lab.nodes.layout import NODES, Kind, Layout, Node
from gcloud_pk.programs import files

_VERSION = 1


@dataclass
class Memory:
    """A lab's memory.

    `image`: key of the image that the nodes stand on, `layer`: of what lies on it; `site`: digest of the site as we
    wrote it; `network`: the network plug-in that the nodes' cluster is to have.
    """

    name: str
    count: int
    racks: int
    image: str
    wanted: bool = False
    site: str | None = None
    layer: str | None = None
    network: str | None = None
    kind: Kind = NODES

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The lab's nodes, in order."""
        return self.kind.plan(self.count, self.racks)

    def as_text(self) -> str:
        """Return the content of `lab.json`."""
        document = {field: getattr(self, field) for field in (*_TYPES, *_LATER)}
        return json.dumps({"version": _VERSION, **document}, indent=2) + "\n"


_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "count": (int,),
    "racks": (int,),
    "image": (str,),
    "wanted": (bool,),
    "site": (str, type(None)),
}
_LATER: dict[str, tuple[type, ...]] = {"layer": (str, type(None)), "network": (str, type(None))}
"""What labs of former versions do not have."""


def parse(text: str, kind: Kind = NODES) -> Memory:
    """Return the memory in the content of `lab.json`. Raises ValueError when it is none of ours."""
    document: Any = json.loads(text)
    if not isinstance(document, dict) or document.pop("version", None) != _VERSION:
        raise ValueError("not the state of a lab of nodes, or of another version of gcloud-pk")
    document = dict.fromkeys(_LATER) | document
    types = _TYPES | _LATER
    if set(document) != set(types) or not all(isinstance(document[name], kinds) for name, kinds in types.items()):
        raise ValueError("not the state of a lab of nodes")
    memory = Memory(**document, kind=kind)
    try:
        kind.plan(memory.count, memory.racks)
    except WrongUsageError as error:
        raise ValueError(error.message) from None
    return memory


def load(lab: Layout) -> Memory | None:
    """Return what is remembered of a lab; None when there is none. Raises UnavailableError when it is unreadable."""
    try:
        return parse(lab.state.read_text(encoding="utf-8"), lab.kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"the state of the lab {lab.folder.name} of nodes is unreadable",
            details=[f"{lab.state}: {error}"],
            resolution=f"remove the lab and its nodes with: {lab.call} down --purge{lab.option}",
        ) from error


def save(lab: Layout, memory: Memory) -> None:
    """Remember a lab; in one step."""
    files.write(lab.state, memory.as_text())
