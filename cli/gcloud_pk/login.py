"""Who acts, where no key says so."""

from __future__ import annotations

import getpass
import os
import socket


def operator_name() -> str:
    """Return `user@host`."""
    return f"{user_name()}@{socket.gethostname()}"


def user_name() -> str:
    """Return the user's name, or `uid-NUMBER`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return f"uid-{os.getuid()}"
