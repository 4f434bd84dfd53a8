"""What machines still carry of a cluster: read before it is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gcloud_pk.stack.recovery.doors import Door, NodeError, restore_program

_SECONDS = 60.0


def traces(doors: Sequence[Door]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Ask machines what they carry of a cluster; nothing is touched.

    Returns the files that tell of one by machine (none on a bare machine), and why the others do not say it.
    """

    def one(door: Door) -> list[str] | NodeError:
        ground = door.ground
        order = {"act": "traces", "id": "", "kubernetes": ground.kubernetes, "data": ground.data}
        try:
            said = door.ask(restore_program(), {**order, "address": door.address, "ports": {}}, seconds=_SECONDS)
        except NodeError as error:
            return error
        return [str(name) for name in said.get("traces", ())]

    with ThreadPoolExecutor(max_workers=16) as pool:
        answers = dict(zip((door.name for door in doors), pool.map(one, doors), strict=True))
    carried = {name: said for name, said in answers.items() if not isinstance(said, NodeError)}
    return carried, {name: str(said) for name, said in answers.items() if isinstance(said, NodeError)}
