"""What is remembered of a lab of nodes (`lab.json`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.lab import files
from gcloud_pk.lab.nodes.layout import Layout, Node, plan

_VERSION = 1


@dataclass
class Memory:
    """A lab's memory. `image`: key of the image that the nodes stand on; `site`: digest of the site as we wrote it."""

    name: str
    count: int
    racks: int
    image: str
    wanted: bool = False
    site: str | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The lab's nodes, in order."""
        return plan(self.count, self.racks)

    def as_text(self) -> str:
        """Return the content of `lab.json`."""
        return json.dumps({"version": _VERSION, **asdict(self)}, indent=2) + "\n"


_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "count": (int,),
    "racks": (int,),
    "image": (str,),
    "wanted": (bool,),
    "site": (str, type(None)),
}


def parse(text: str) -> Memory:
    """Return the memory in the content of `lab.json`. Raises ValueError when it is none of ours."""
    document: Any = json.loads(text)
    if not isinstance(document, dict) or document.pop("version", None) != _VERSION or set(document) != set(_TYPES):
        raise ValueError("not the state of a lab of nodes, or of another version of gcloud-pk")
    if not all(isinstance(document[name], kinds) for name, kinds in _TYPES.items()):
        raise ValueError("not the state of a lab of nodes")
    memory = Memory(**document)
    try:
        plan(memory.count, memory.racks)
    except WrongUsageError as error:
        raise ValueError(error.message) from None
    return memory


def load(lab: Layout) -> Memory | None:
    """Return what is remembered of a lab; None when there is none. Raises UnavailableError when it is unreadable."""
    try:
        return parse(lab.state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        option = "" if lab.folder.name == "default" else f" --name {lab.folder.name}"
        raise UnavailableError(
            f"the state of the lab {lab.folder.name} of nodes is unreadable",
            details=[f"{lab.state}: {error}"],
            resolution=f"remove the lab and its nodes with: gcloud-pk lab nodes down --purge{option}",
        ) from error


def save(lab: Layout, memory: Memory) -> None:
    """Remember a lab; in one step."""
    files.write(lab.state, memory.as_text())
