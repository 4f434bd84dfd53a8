"""Programs taken from the root folder of a Debian system, with all that they need to run elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import elf

_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_MOST_LINKS = 40


def resolve(root: Path, path: str) -> Path:
    """Return the file that `path` is inside `root`, its links followed as that system would.

    Raises UnavailableError where it is not there.
    """
    done, left = root, [part for part in PurePosixPath(path).parts if part != "/"]
    for _ in range(_MOST_LINKS * len(left) + _MOST_LINKS):
        if not left:
            return done
        part = left.pop(0)
        if part == "..":
            done = done if done == root else done.parent
        elif (done / part).is_symlink():
            target = (done / part).readlink()
            done = root if target.is_absolute() else done
            left = [*(each for each in target.parts if each != "/"), *left]
        elif (done / part).exists():
            done /= part
        else:
            break
    raise UnavailableError(
        f"no {path} in {root}", resolution="make the nodes' image anew: gcloud-pk lab nodes up --fresh"
    )


def closure(root: Path, programs: Iterable[str], architecture: str) -> dict[str, Path]:
    """Return path in an image → file of this machine, for `programs` of `root`, their loader and their libraries.

    `architecture` is amd64 or arm64. Raises UnavailableError for what is not there.
    """
    folder = f"/usr/lib/{_TRIPLETS[architecture]}"
    found: dict[str, Path] = {}
    waiting = list(programs)
    while waiting:
        path = waiting.pop()
        target = f"/usr{path}" if path.startswith("/lib") else path  # /lib is a link to /usr/lib
        if target in found:
            continue
        found[target] = resolve(root, target)
        needed = elf.needs(found[target])
        waiting += [needed.loader] if needed.loader else []
        # A library names the loader by its file alone, and the loader is there by then.
        waiting += [f"{folder}/{name}" for name in needed.libraries if not name.startswith("ld-linux")]
    return found
