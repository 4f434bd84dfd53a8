"""What is remembered of each lab (`lab.json`), and where labs lie."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.lab.configuration import Layout
from gcloud_pk.lab.processes import Process
from gcloud_pk.programs import files

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VERSION = 1


@dataclass
class State:
    """A lab's memory. `wanted`: whether its processes should run; `uid`: that of its kube-system namespace."""

    name: str
    wanted: bool = False
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    programs: dict[str, dict[str, str | None]] = field(default_factory=dict)
    uid: str | None = None

    def as_text(self) -> str:
        """Return the content of `lab.json`."""
        return json.dumps({"version": _VERSION, **asdict(self)}, indent=2) + "\n"


def parse(text: str) -> State:
    """Return the state in the content of `lab.json`. Raises ValueError when it is none of ours."""
    document: Any = json.loads(text)
    if not isinstance(document, dict) or document.pop("version", None) != _VERSION:
        raise ValueError("not the state of a lab, or of another version of gcloud-pk")
    try:
        document["processes"] = {
            name: Process(int(p["pid"]), int(p["started"])) for name, p in document["processes"].items()
        }
        document["ports"] = {str(name): int(port) for name, port in document["ports"].items()}
        return State(**document)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not the state of a lab") from error


def check_name(name: str) -> str:
    """Return `name` if it can name a lab. Raises WrongUsageError."""
    if not _LABEL.fullmatch(name):
        raise WrongUsageError(
            f"{name!r} cannot name a lab",
            details=["expected a DNS label: a-z, 0-9 and -, at most 63, neither first nor last a -"],
        )
    return name


def layout(name: str) -> Layout:
    """Return where the lab `name` lies, whether it is there or not."""
    return Layout(paths.state("labs", check_name(name)))


def lock(name: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
    """Hold the lab's lock: one command at a time changes a lab. It lies beside the folder, which can be purged."""
    return files.locked(lock_file(name), waiting)


def lock_file(name: str) -> Path:
    """Return the lab's lock file; no lab's name begins with a dot."""
    return paths.state("labs", f".{check_name(name)}.lock")


def load(name: str) -> State | None:
    """Return what is remembered of a lab; None when there is none. Raises UnavailableError when it is unreadable."""
    where = layout(name).state
    try:
        return parse(where.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"the state of lab {name} is unreadable",
            details=[f"{where}: {error}"],
            resolution=f"remove the lab and its data with: gcloud-pk lab down --purge --name {name}",
        ) from error


def save(state: State) -> None:
    """Remember a lab; in one step."""
    files.write(layout(state.name).state, state.as_text())


def labs() -> Iterator[State]:
    """Yield what is remembered of each lab; those that cannot be read are left out."""
    folder = paths.state("labs")
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if _LABEL.fullmatch(entry.name):
            try:
                yield parse((entry / "lab.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue


def known_uids() -> dict[str, str]:
    """Return the labs of this machine's user: UID of the kube-system namespace → name of the lab."""
    return {state.uid: state.name for state in labs() if state.uid}
