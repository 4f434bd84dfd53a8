"""Users and groups of a node by name. Python 3.9; runs on the node."""

from __future__ import annotations

import grp
import pwd

UNKNOWN = -1  # nobody has the name (yet: in check mode an earlier task may be about to make the account)


def user_of(name: str) -> int:
    """Return a user's number, or `UNKNOWN`."""
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return UNKNOWN


def group_of(name: str) -> int:
    """Return a group's number, or `UNKNOWN`."""
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return UNKNOWN
