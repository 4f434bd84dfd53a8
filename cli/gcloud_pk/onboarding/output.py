"""`--output-dir`: rendered files on disk, each written whole or not at all."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.registry.files import locked, write
from gcloud_pk.render.folder import files
from gcloud_pk.render.tenant import render

_OURS = re.compile(r"[0-9]{2}-[a-z]+\.yaml")


def write_folder(folder: Path, tenant: Tenant) -> list[str]:
    """Write a tenant's manifests under `folder`; files of ours that the request no longer implies are removed.

    Returns relative paths. Raises UnavailableError where the folder cannot be written.
    """
    wanted = files(tenant.name, render(tenant))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            for path, text in wanted.items():
                target = folder / path
                if not target.is_file() or target.read_bytes() != text.encode():
                    write(target, text.encode(), root=folder)
            for stale in sorted((folder / tenant.name).rglob("*.yaml")):
                if _OURS.fullmatch(stale.name) and stale.relative_to(folder).as_posix() not in wanted:
                    stale.unlink()
                    with contextlib.suppress(OSError):  # other files live there
                        stale.parent.rmdir()
    except OSError as error:
        raise UnavailableError(
            f"cannot write {error.filename or folder}: {error.strerror}",
            resolution="choose a folder that you may write to and that has room; running again completes it",
        ) from error
    return list(wanted)
