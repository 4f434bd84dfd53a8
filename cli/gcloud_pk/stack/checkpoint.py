"""The state's file in a backend of files: put back where a run was killed while it wrote it.

The engine writes `<stack>.json.attrs` (attributes that may be missing, but not be cut), then `<stack>.json`; what stood
there before is `<stack>.json.bak`, and each update leaves a copy in `backups/`. An older state is safe to go on from:
what it lacks is taken in again, by name.

Source of the form: Pulumi's DIY backend (pkg/backend/diy) over gocloud.dev/blob/fileblob.
"""

from __future__ import annotations

import gzip
import json
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from gcloud_pk.errors import UnavailableError
from gcloud_pk.nodes import record
from gcloud_pk.programs import files
from gcloud_pk.stack.backend import PROJECT, Place


def restore(place: Place, say: Callable[[str], None]) -> None:
    """Put back the newest whole copy of a stack's state that is cut; the broken file stays beside it.

    Nothing is done while somebody holds the stack, who may be writing, nor in a backend that is no folder. Raises
    UnavailableError where no copy is whole.
    """
    if place.state is None:
        return
    folder = place.state / ".pulumi"
    for ending in (".json", ".json.gz"):
        file = folder / "stacks" / PROJECT / f"{place.site}{ending}"
        try:
            _attributes(file.with_name(f"{file.name}.attrs"), say)
            if _is_cut(file) and all(lock.is_dead() for lock in place.locks()) and _is_cut(file):
                _put_back(place, file, folder / "backups" / PROJECT / place.site, say)
        except OSError as error:
            raise UnavailableError(
                f"the state of site {place.site} is cut, and cannot be put back: {error.filename or file}: "
                f"{error.strerror or error}",
                resolution=f"see who may write in {file.parent}, and whether there is space, then run it again",
            ) from None


def _attributes(file: Path, say: Callable[[str], None]) -> None:
    # Harmless even while somebody writes them: without them the file beside is read all the same.
    if _is_cut(file):
        aside = file.with_name(f"{file.name}.{_broken()}")
        file.rename(aside)
        say(f"a run that was killed left {file.name} cut: it is set aside as {aside.name}")


def _put_back(place: Place, file: Path, backups: Path, say: Callable[[str], None]) -> None:
    found = next((copy for copy in _copies(file, backups) if _content(copy) is not None), None)
    if found is None:
        raise UnavailableError(
            f"the state of site {place.site} is cut, and no copy of it is whole; nothing was written",
            details=[f"{file}: no JSON", f"looked for {file.name}.bak beside it, and in {backups}"],
            resolution=f"put a copy of your own at {file}; without one move it away and run "
            f"gcloud-pk datacenter up {place.site}: it takes the machines in again, by name",
        )
    aside = file.with_name(f"{file.name}.{_broken()}")
    mode = stat.S_IMODE(file.stat().st_mode)
    files.write(aside, file.read_bytes(), mode)
    files.write(file, found.read_bytes(), mode)
    say(f"a run that was killed left the state cut: {found.name} is put back, the broken one is {aside}")


def _copies(file: Path, backups: Path) -> Iterator[Path]:
    """Yield the copies of a state, newest first; those of `backups` carry nanoseconds: `<stack>.<number>.json`."""
    yield file.with_name(f"{file.name}.bak")
    stem, _, ending = file.name.partition(".json")
    of_updates = {
        int(number): path
        for path in backups.glob(f"{stem}.*.json{ending}")
        if (number := path.name.removeprefix(f"{stem}.").removesuffix(f".json{ending}")).isdecimal()
    }
    yield from (of_updates[number] for number in sorted(of_updates, reverse=True))


def _is_cut(file: Path) -> bool:
    return file.is_file() and _content(file) is None


def _content(file: Path) -> dict[str, object] | None:
    """Return what a file says; None where it is not there, or no document."""
    try:
        data = file.read_bytes()
        said = json.loads(gzip.decompress(data) if ".json.gz" in file.name and data[:2] == b"\x1f\x8b" else data)
    except (FileNotFoundError, ValueError, EOFError, gzip.BadGzipFile, zlib.error):
        return None
    return said if isinstance(said, dict) and said else None


def _broken() -> str:
    return f"broken-{record.moment():%Y%m%dT%H%M%SZ}"
