"""Editing what decides for all: tried by the rules of reading before it is written, and signed where a key is given.

Whoever signs vouches for everything that the signature covers, not for the edit alone. So an edit is signed at once
only where all the rest is what was signed before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.errors import InvalidInputError, RefusedError, problem
from gcloud_pk.registry import files, governance, signatures, trust
from gcloud_pk.registry.approvers import REGISTRY, Signer, Signers
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.governance import Governance
from gcloud_pk.registry.trust import MANIFEST, SIGNATURE


@dataclass(frozen=True)
class Edit:
    """What came of an edit. `changed`: whether any byte is another; `key`: fingerprint of the keeper who signed it."""

    changed: bool
    key: str | None = None
    serial: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what the JSON of a command says of it."""
        return {"changed": self.changed, "signed": self.key is not None, "key": self.key, "serial": self.serial}

    @property
    def words(self) -> str:
        """Say whether the registry is signed, and what to do where it is not."""
        if not self.changed:
            return "nothing was changed"
        if self.key is None:
            return "next: the registry must be signed anew: gcloud-pk registry sign --key KEY"
        return f"signed the registry with {self.key}: serial {self.serial}"


def edit(
    registry: Registry,
    name: str,
    change: Callable[[Governance], bytes],
    key: Path | None = None,
    trust_file: Path | None = None,
) -> Edit:
    """Replace the bytes of `name` by what `change` makes of the registry, and sign the whole as its keeper with `key`.

    Raises InvalidInputError where the registry is not valid, or would not be; RefusedError where it is to be signed and
    is not what was signed before, or where somebody else wrote meanwhile. Nothing is written then.
    """
    before = registry.governance
    if before.problems:
        raise InvalidInputError(
            f"the registry {registry.path} is not valid",
            details=before.problems,
            resolution="mend these, then: gcloud-pk registry check",
        )
    data = change(before)
    changed = data != before.files[name]
    after = governance.read(registry.path, {name: data})
    if after.problems:
        raise InvalidInputError(
            f"with this, {registry.path / name} would not be valid; nothing was written", details=after.problems
        )
    if after.files != {**before.files, name: data}:
        raise _meanwhile(registry)
    keepers = _keepers(registry, key, trust_file) if key else None
    if not changed:
        return Edit(False)
    version = trust.next_version(registry.manifest, registry.now)
    manifest = trust.manifest(after.files, version)
    signed = signatures.sign_as(manifest, key, REGISTRY, keepers, registry.now) if key and keepers else None
    with files.locked(registry.path):
        here = Registry(registry.path)
        if dict(here.governance.files) != dict(before.files) or (signed and here.manifest != registry.manifest):
            raise _meanwhile(registry)
        # Whoever is killed in between leaves a registry that its keepers did not sign: nobody acts on it.
        files.write(registry.path / name, data, root=registry.path)
        if signed:
            files.write(registry.path / MANIFEST, manifest, root=registry.path)
            files.write(registry.path / SIGNATURE, signed[0], root=registry.path)
    return Edit(True, signed[1].key.fingerprint, version.serial) if signed else Edit(True)


def _meanwhile(registry: Registry) -> RefusedError:
    return RefusedError(f"somebody else changed {registry.path} meanwhile", resolution="look, then run it again")


def _keepers(registry: Registry, key: Path, trust_file: Path | None) -> Signers:
    """Return whose signature counts: those whom the trust file names, else the key alone.

    Raises RefusedError where the registry as it is was not signed by one of them: the new signature would vouch for
    what somebody else changed.
    """
    if trust_file is not None:
        registry.trust(trust_file)
        keepers = registry.keepers(trust_file)
        signatures.entitled(key, REGISTRY, keepers, registry.now)
        return keepers
    alone = Signers(str(key), (Signer("keeper", signatures.public_key_of(key), frozenset({REGISTRY})),))
    if not all(os.path.lexists(registry.path / name) for name in (MANIFEST, SIGNATURE)):
        wrong = [problem("was never signed", file=registry.path)]
    else:
        signed, signature = (files.read(registry.path / name, root=registry.path) for name in (MANIFEST, SIGNATURE))
        wrong = trust.judge(registry.governance.files, signed, signature, alone, registry.now)[1]
    if wrong:
        raise RefusedError(
            f"the registry {registry.path} is not what was signed before; your signature would vouch for that too",
            details=wrong,
            resolution="look at it (git diff); if it is right: gcloud-pk registry sign --key KEY, then this again; "
            "where another keeper signed it, name the keepers with --trust FILE",
        )
    return alone
