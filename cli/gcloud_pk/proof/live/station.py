"""Station: which machine started a probe pod, so that the next run there may remove what a killed one left."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from gcloud_pk import paths

_FORM = re.compile(r"[0-9a-f]{8}")


@contextmanager
def station() -> Iterator[str]:
    """Lend this machine's station, eight hex digits: while it is lent, no other run has it, so its pods are nobody's.

    A second run at the same time, and one that cannot keep a file, are given a station of their own that ends with
    them; what these leave is removed when its time is up.
    """
    try:
        path = paths.state("live-station")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield secrets.token_hex(4)
        return
    with os.fdopen(descriptor, "r+", encoding="ascii", errors="replace") as stream:
        try:
            # The lock ends with the process, however that ends.
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield secrets.token_hex(4)
            return
        said = stream.read(9).strip()
        if not _FORM.fullmatch(said):
            said = secrets.token_hex(4)
            stream.seek(0)
            stream.truncate()
            stream.write(said)
            stream.flush()
        yield said
