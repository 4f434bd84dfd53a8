"""Where stacks lie on this machine, what keeps their secrets, and what the engine is told of both.

    FOLDER/engine/            the engine's own home (plug-ins, credentials of backends); one for each folder
    FOLDER/state/             the state, where no other backend is named
    FOLDER/sites/<site>/      lock, Pulumi.yaml, Pulumi.<site>.yaml (the salt of its secrets), runs/, kubeconfig.yaml

All of it is private (0700, 0600). A stack has the name of its site, in project `datacenter`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.programs import files
from gcloud_pk.stack.leftovers import MARK
from gcloud_pk.stack.locks import Lock, from_folder

PROJECT = "datacenter"
PLUGIN = "gcloudpk"
BACKEND_URL = "PULUMI_BACKEND_URL"
PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 - a variable's name
PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE_FILE"  # noqa: S105 - likewise


@dataclass(frozen=True)
class Place:
    """Where the stack of one site lies. `url`: of another backend than the folder; None: the folder."""

    folder: Path
    site: str
    url: str | None = None

    @classmethod
    def of(cls, site: str, *, url: str | None = None, folder: Path | None = None) -> Place:
        """Return the place: that of the user where no folder is given; `url` or PULUMI_BACKEND_URL as backend."""
        return cls((folder or paths.state("stacks")).absolute(), site, url or os.environ.get(BACKEND_URL) or None)

    @property
    def home(self) -> Path:
        """The site's own folder."""
        return self.folder / "sites" / self.site

    @property
    def runs(self) -> Path:
        """Where the hardening and bootstrapping of its hosts keep their records."""
        return self.home

    @property
    def engine_home(self) -> Path:
        """The engine's home."""
        return self.folder / "engine"

    @property
    def backend(self) -> str:
        """The backend's URL."""
        return self.url or f"file://{self.folder / 'state'}"

    @property
    def state(self) -> Path | None:
        """The folder of the backend, where it is a folder of this machine."""
        if not self.backend.startswith("file://"):
            return None
        # file://~ is the home folder (Pulumi's documentation of DIY backends); a query may follow.
        return Path(self.backend.removeprefix("file://").partition("?")[0]).expanduser()

    @property
    def settings(self) -> Path:
        """The file with the salt of its secrets."""
        return self.home / f"Pulumi.{self.site}.yaml"

    @property
    def kubeconfig(self) -> Path:
        """Where the credentials for its clusters are written to."""
        return self.home / "kubeconfig.yaml"

    def locks(self) -> list[Lock]:
        """Return the locks on its stack that can be seen from here: those in a backend of files."""
        if self.state is None:
            return []
        return from_folder(self.state / ".pulumi" / "locks" / "organization" / PROJECT / self.site)

    def known(self) -> bool | None:
        """Whether there is state of it; None where that takes asking the backend."""
        if self.state is None:
            return None
        stem = self.state / ".pulumi" / "stacks" / PROJECT / self.site
        return any(Path(f"{stem}{end}").is_file() for end in (".json", ".json.gz"))

    def prepare(self, plugin: Path) -> None:
        """Make the folders and the project file. `plugin`: the folder of pulumi-resource-gcloudpk.

        Raises UnavailableError where it cannot be written, or where the backend's folder is not there.
        """
        try:
            files.make_folder(self.home)
            files.make_folder(self.engine_home)
            if self.url is None:
                files.make_folder(self.folder / "state")
            files.write_if_changed(self.home / "Pulumi.yaml", _project(plugin.absolute()))
        except OSError as error:
            raise UnavailableError(
                f"cannot write {error.filename or self.home}: {error.strerror}; nothing was written",
                resolution="free some space, or name another place by XDG_STATE_HOME",
            ) from None
        if self.state is not None and not self.state.is_dir():
            raise UnavailableError(
                f"the backend {self.backend} is not there: {self.state} is no folder",
                resolution="make the folder (0700), or name another with --backend URL",
            )


def _project(plugin: Path) -> str:
    import json

    # JSON is YAML: no character of a path means anything.
    document = {
        "name": PROJECT,
        "runtime": "python",
        "description": "A data centre from its site file",
        "plugins": {"providers": [{"name": PLUGIN, "path": str(plugin)}]},
    }
    return json.dumps(document, indent=1) + "\n"


def plugin_folder() -> Path:
    """Return where pulumi-resource-gcloudpk is installed: beside this Python. Raises UnavailableError."""
    # Not resolved: the Python of a virtual environment is a link out of it.
    folder = Path(sys.executable).parent
    if not os.access(folder / f"pulumi-resource-{PLUGIN}", os.X_OK):
        raise UnavailableError(
            f"the resource plug-in pulumi-resource-{PLUGIN} is missing in {folder}",
            resolution="install gcloud-pk anew (uv sync, pip install gcloud-pk)",
        )
    return folder


def passphrase(given: Path | None = None) -> dict[str, str]:
    """Return the variables that have the engine find its passphrase.

    The user's own come first, then the file `given` (a lab's). Raises WrongUsageError where there is none.
    """
    if os.environ.get(PASSPHRASE):
        return {PASSPHRASE: os.environ[PASSPHRASE]}
    file = Path(os.environ[PASSPHRASE_FILE]) if os.environ.get(PASSPHRASE_FILE) else given
    if file is None:
        raise WrongUsageError(
            "the passphrase that keeps the stack's secrets is missing",
            resolution=f"set {PASSPHRASE_FILE} to a file of yours (0600), or {PASSPHRASE}; "
            "keep it: without it the state cannot be read any more",
        )
    try:
        empty = not file.read_bytes().strip()
    except OSError as error:
        raise WrongUsageError(
            f"the passphrase file {file} cannot be read: {error.strerror}",
            resolution=f"name a file of yours (0600) by {PASSPHRASE_FILE}",
        ) from None
    if empty:
        raise WrongUsageError(f"the passphrase file {file} is empty", resolution="write a passphrase into it")
    # Set and empty would win over the file: EngineCommand takes away what is empty.
    return {PASSPHRASE: "", PASSPHRASE_FILE: str(file.absolute())}


def environment(place: Place, secrets: Mapping[str, str], told: Mapping[str, str]) -> dict[str, str]:
    """Return what the engine and its plug-ins get beside this process's own environment. `told`: of the program."""
    return {
        "PULUMI_HOME": str(place.engine_home),
        BACKEND_URL: place.backend,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        MARK: str(place.home),
        **secrets,
        **told,
    }
