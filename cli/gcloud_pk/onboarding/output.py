"""`--output-dir`: rendered files on disk, each written whole or not at all."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk.errors import InvalidInputError, RefusedError, UnavailableError, problem
from gcloud_pk.model.resources import Suspended
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.registry.files import locked, remove, write
from gcloud_pk.render.folder import files, to_yaml
from gcloud_pk.render.metadata import Manifest
from gcloud_pk.render.network import DENY_NAME
from gcloud_pk.render.tenant import render

_OURS = re.compile(r"[0-9]{2}-[a-z]+\.yaml")
_POLICY = "02-tenantpolicy.yaml"
_FLOWS = "05-networkpolicy.yaml"
_BINDINGS = "07-rolebinding.yaml"


@dataclass(frozen=True)
class Written:
    """Relative paths: what was written, which environments the folder keeps as retired, and what is not ours."""

    files: list[str]
    retired: list[str]
    foreign: list[str]


def write_folder(folder: Path, tenant: Tenant) -> Written:
    """Write a tenant's manifests under `folder`.

    An environment that the folder has and the request no longer does is retired there as on a cluster: closed, not
    taken away, for whoever applies the folder would leave its bindings in force. Other files of ours that nothing
    implies are removed; files of others stay and are named. Raises UnavailableError where it cannot be written,
    RefusedError where the tenant's folder or one in it is a symbolic link.
    """
    root = folder / tenant.name
    asked = {environment.name for environment in tenant.request.spec.environments}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            _refuse_links(root)
            retired = sorted(_environments(root, tenant.name) - asked)
            wanted = files(tenant.name, render(tenant, retired))
            for path, text in wanted.items():
                target = folder / path
                if not target.is_file() or target.read_bytes() != text.encode():
                    write(target, text.encode(), root=folder)
            return Written(list(wanted), retired, _sweep(folder, root, set(wanted)))
    except OSError as error:
        raise _unwritable(folder, error) from error


def remove_folder(folder: Path, tenant: str) -> bool:
    """Remove the files of an offboarded tenant, which would bring it back; return whether there were any.

    Raises as `write_folder` does.
    """
    root = folder / tenant
    if not root.is_dir():
        return False
    try:
        with locked(folder):
            _refuse_links(root)
            _sweep(folder, root, set())
    except OSError as error:
        raise _unwritable(folder, error) from error
    return True


def close_folder(folder: Path, tenant: str, how: Suspended) -> bool:
    """Take from the files of a suspended tenant what a suspension takes from the cluster; return whether there are any.

    No bindings, parameters that say `suspended`, and in quarantine no network policy but the default deny. Raises
    UnavailableError where it cannot be written, InvalidInputError for files that are not as they were rendered,
    RefusedError for symbolic links as `write_folder` does.
    """
    root = folder / tenant
    if not root.is_dir():
        return False
    try:
        with locked(folder):
            _refuse_links(root)
            for path in sorted(root.glob(f"*/{_POLICY}")):
                _change(folder, path, lambda one: one | {"spec": one["spec"] | {"suspended": how}})
                remove(path.with_name(_BINDINGS), root=folder)
                flows = path.with_name(_FLOWS)
                if how == "quarantined" and flows.is_file():
                    _change(folder, flows, lambda one: one if one["metadata"]["name"] == DENY_NAME else None)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return True


def _refuse_links(root: Path) -> None:
    """Refuse a tenant's folder where it, or a folder in it, is a symbolic link: what lies behind it is not ours."""
    links = [path for path in (root, *root.rglob("*")) if path.is_symlink() and (path == root or path.is_dir())]
    if links:
        raise RefusedError(
            f"{links[0]} is a symbolic link (to {links[0].readlink()}); nothing of this tenant was written or removed",
            details=[problem("a symbolic link", file=link, expected="a folder") for link in links],
            resolution="remove the link, then run this again",
        )


def _change(folder: Path, path: Path, change: Callable[[Manifest], Manifest | None]) -> None:
    """Rewrite a file of ours, each object as `change` returns it; None takes it out."""
    import yaml

    before = path.read_bytes()
    try:
        after = [made for one in yaml.safe_load_all(before) if (made := change(one)) is not None]
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise InvalidInputError(
            f"{path} is not as it was rendered",
            details=[problem(f"cannot be read: {type(error).__name__}", file=path)],
            resolution="remove it, and run this again once the tenant is resumed",
        ) from None
    text = to_yaml(after).encode()
    if text != before:
        write(path, text, root=folder)


def _environments(root: Path, tenant: str) -> set[str]:
    if not root.is_dir():
        return set()
    return {path.parent.name.removeprefix(f"{tenant}-") for path in root.glob(f"*/{_POLICY}")}


def _sweep(folder: Path, root: Path, wanted: set[str]) -> list[str]:
    """Remove our files that are not wanted, and folders that are empty then; return what others left there."""
    foreign = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        relative = path.relative_to(folder).as_posix()
        if relative in wanted:
            continue
        if _OURS.fullmatch(path.name):
            remove(path, root=folder)
            with contextlib.suppress(OSError):  # other files live there
                path.parent.rmdir()
        else:
            foreign.append(relative)
    with contextlib.suppress(OSError):
        root.rmdir()
    return foreign


def _unwritable(folder: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"cannot write {error.filename or folder}: {error.strerror}",
        resolution="choose a folder that you may write to and that has room; running again completes it",
    )
