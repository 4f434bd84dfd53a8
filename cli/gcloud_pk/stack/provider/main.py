"""The console script `pulumi-resource-gcloudpk`: started by Pulumi's engine with its address, ends with it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from gcloud_pk.stack.works import Works

_LOOK = 0.5
"""Seconds between two looks at whether the engine is still there."""

_PATIENCE = 20.0
"""Seconds that what is under way has to end once the engine is gone; Ansible takes eight at most."""


def host(works: Callable[[threading.Event], Works], engine: str) -> None:
    """Serve the engine at an address until it is gone. `works`: makes the works, given the event that stops them."""
    from gcloud_pk.stack.provider.server import Servicer, serve

    parent = os.getppid()
    # A plug-in has a process group of its own; the engine tells it by `Cancel` when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    servicer = Servicer(works, engine)
    server, port = serve(servicer)
    print(port, flush=True)  # noqa: T201 - the engine reads it
    while os.getppid() == parent:
        time.sleep(_LOOK)
    servicer.flow.halt.set()
    deadline = time.monotonic() + _PATIENCE
    while servicer.flow.total and time.monotonic() < deadline:
        time.sleep(_LOOK)
    server.stop(0)
    # Threads of calls that hang must not keep it alive; Ansible's keeper ends with it.
    os._exit(0)


def run() -> None:
    """Run as a program; the engine's address is the only word."""
    from gcloud_pk.stack.ansible_works import AnsibleWorks

    os.umask(0o077)
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if len(words) != 1:
        sys.stderr.write("pulumi-resource-gcloudpk is started by Pulumi's engine, with its address\n")
        sys.exit(2)
    host(AnsibleWorks, words[0])
