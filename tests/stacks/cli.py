"""`gcloud-pk` as a person runs it, but for the plug-in: that one follows the script in a folder.

    python -m tests.stacks.cli FOLDER WORD…

FOLDER/plugins/pulumi-resource-gcloudpk is the plug-in; a site file, a registry and the state lie in FOLDER too.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from gcloud_pk import main
from gcloud_pk.stack import backend


def run(folder: Path, *words: str) -> int:
    """Run one command line in this process; return its exit code."""
    backend.plugin_folder = lambda: folder / "plugins"
    return main.main(list(words))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run(Path(sys.argv[1]), *sys.argv[2:]))
