"""Who acts, where no key says so."""

from __future__ import annotations

import getpass
import os
import socket


def operator_name() -> str:
    """Return `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
