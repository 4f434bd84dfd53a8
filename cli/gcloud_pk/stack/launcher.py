"""The moment between gcloud-pk and the engine: private files, and an end when gcloud-pk ends.

Started as a program of its own, with the standard library alone: `python launcher.py PARENT PROGRAM ARGUMENT…`. The
engine gets SIGINT when its parent is gone, however that ended: it lets what is in flight come to an end, writes its
state and gives its lock back (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Become the program. The state that it writes would be readable by everybody otherwise."""
    parent, program = int(argv[0]), argv[1:]
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a run in the background of a shell has it ignored
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - the engine's own path and arguments, as a list


if __name__ == "__main__":
    main(sys.argv[1:])
