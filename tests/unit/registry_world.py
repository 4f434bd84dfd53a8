"""A whole registry for tests that attack it: signed by its keeper, with tenants at every point of their lives.

    moitt     revision 2, then 3, accepted; both kept in history; carol signed the last one as its requester
    nadra     revision 3, pending: data of class secret, one of two approvals
    itd       accepted, then suspended by bob's signature
    fbr-tax   accepted, then offboarded

Waivers: `portal` of moitt, approved by bob; `queue` of moitt, proposed.
Approvers: alice, bob, carol (who may sign requests too), expired, future. `keeper` signs the registry.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk.registry import acts
from gcloud_pk.registry.approvers import APPROVAL, REGISTRY, REQUEST, STATE, WAIVER
from gcloud_pk.registry.folder import Registry

DATA = Path(__file__).parent / "data"
KEEPER = "keeper@ntc.example"


@dataclass(frozen=True)
class World:
    """`root` holds the registry, the trust file, the folder that GitOps reads, and what lies outside."""

    root: Path
    keys: Path

    @property
    def path(self) -> Path:
        return self.root / "registry"

    @property
    def trust(self) -> Path:
        return self.root / "trust"

    @property
    def output(self) -> Path:
        return self.root / "manifests"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    def tenant(self, name: str = "moitt") -> Path:
        return self.path / "tenants" / name

    def registry(self) -> Registry:
        return Registry.open(self.path)

    def sign(self, data: bytes, key: str, namespace: str = APPROVAL) -> bytes:
        """Sign by hand."""
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.keys / key)]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    def put(self, name: str, data: bytes | str) -> Path:
        """Put a file of the registry in place, whatever lay there."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def edit(self, name: str, before: str | bytes, after: str | bytes) -> None:
        """Replace a text of a file once; fails where it is not there."""
        path, before, after = self.path / name, _bytes(before), _bytes(after)
        data = path.read_bytes()
        assert before in data, f"{name} does not hold {before!r}"
        path.write_bytes(data.replace(before, after, 1))

    def approve_by_hand(self, key: str, name: str = "moitt", principal: str | None = None) -> None:
        data = (self.tenant(name) / "request.yaml").read_bytes()
        self.put(f"tenants/{name}/approvals/{principal or f'{key}@ntc.example'}.sig", self.sign(data, key))

    def approve_waiver(self, name: str, key: str, namespace: str = WAIVER, principal: str | None = None) -> None:
        data = (self.path / f"waivers/{name}.yaml").read_bytes()
        signature = self.sign(data, key, namespace)
        self.put(f"waivers/{name}.yaml.{principal or f'{key}@ntc.example'}.sig", signature)

    def resign(self, key: str = "keeper", namespace: str = REGISTRY) -> None:
        """Sign registry.sha256 as it lies there."""
        self.put("registry.sha256.sig", self.sign((self.path / "registry.sha256").read_bytes(), key, namespace))

    def list_anew(self) -> None:
        """Write registry.sha256 of the files as they are now, as `sha256sum` would."""
        head, *lines = (self.path / "registry.sha256").read_text().splitlines(keepends=True)
        names = [line.split("  ", 1)[1].strip() for line in lines]
        lines = [f"{hashlib.sha256((self.path / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
        self.put("registry.sha256", "".join([head, *lines]))

    def state(self, of: str = "moitt", state: str = "active", **fields: str) -> bytes:
        """Return the bytes of a state.yaml."""
        digest = hashlib.sha256((self.tenant(of) / "request.yaml").read_bytes()).hexdigest()
        now = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
        known = {"state": state, "by": "bob@ntc.example", "reason": "over", "time": now}
        known |= {"tenant": of, "digest": digest, **fields}
        return "".join(f"{name}: {value}\n" for name, value in known.items()).encode()

    def set_state(self, data: bytes, key: str | None, tenant: str = "moitt", namespace: str = STATE) -> None:
        self.put(f"tenants/{tenant}/state.yaml", data)
        (self.tenant(tenant) / "state.yaml.sig").unlink(missing_ok=True)
        if key:
            self.put(f"tenants/{tenant}/state.yaml.sig", self.sign(data, key, namespace))

    def copied(self, root: Path) -> World:
        """Return a world of its own, like this one."""
        shutil.copytree(self.root, root, symlinks=True, dirs_exist_ok=True)
        return World(root, self.keys)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def tree(root: Path) -> str:
    """Return a hash of everything under a folder: names, kinds, modes, targets of links, contents."""
    found = hashlib.sha256()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            content = b""
            if stat.S_ISLNK(mode):
                content = os.fsencode(path.readlink())
            elif stat.S_ISREG(mode):
                content = path.read_bytes()
            found.update(repr((os.fsencode(path), mode, content)).encode())
    return found.hexdigest()


def make_keys(folder: Path, keys: Path) -> Path:
    """Return a folder of keys: those of the session, and those that only attackers use."""
    shutil.copytree(keys, folder, dirs_exist_ok=True)
    kinds = [(name, ["-t", "ed25519"]) for name in ("expired", "future", "removed")]
    kinds += [("rsa3072", ["-t", "rsa", "-b", "3072"])]
    for name, kind in kinds:
        subprocess.run(["ssh-keygen", "-q", *kind, "-N", "", "-C", name, "-f", str(folder / name)], check=True)
    return folder


def public(keys: Path, name: str) -> str:
    """Return `KEYTYPE KEY`."""
    return " ".join((keys / f"{name}.pub").read_text().split()[:2])


def approver_line(keys: Path, name: str, more: str = "", namespaces: str = f"{APPROVAL},{STATE},{WAIVER}") -> str:
    return f'{name}@ntc.example namespaces="{namespaces}"{more} {public(keys, name)}\n'


def request_of(tenant: str, *changes: tuple[str, str]) -> bytes:
    """Return a valid request of one of the tenants, with some texts replaced."""
    path = DATA / "requests/valid/every-field.yaml"
    if tenant != "moitt":
        path = DATA / f"registries/three-tenants/tenants/{tenant}/request.yaml"
    text = path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return text.encode()


SECRET = (("restricted", "secret"), ("isolation: namespace", "isolation: dedicated-nodes"))


def make_world(root: Path, keys: Path) -> World:
    """Make the registry with real keys and real acts."""
    world = World(root, keys)
    root.mkdir(parents=True, exist_ok=True)
    world.outside.mkdir()
    world.output.mkdir()
    shutil.copytree(DATA / "registries" / "three-tenants", world.path)
    for example in (world.path / "tenants").iterdir():
        shutil.rmtree(example)
    lines = [
        approver_line(keys, "alice"),
        approver_line(keys, "bob"),
        approver_line(keys, "carol", namespaces=f"{APPROVAL},{REQUEST},{STATE}"),
        approver_line(keys, "expired", ',valid-before="20260101"'),
        approver_line(keys, "future", ',valid-after="20990101"'),
        approver_line(keys, "rsa3072"),
    ]
    world.put("approvers", "".join([*lines, approver_line(keys, "removed")]))
    world.trust.write_text(f'{KEEPER} namespaces="{REGISTRY}" {public(keys, "keeper")}\n')
    acts.sign_registry(world.registry(), keys / "keeper")
    for name in ("registry.sha256", "registry.sha256.sig", "approvers"):
        shutil.copy(world.path / name, world.outside / f"last-year-{name}")
    world.put("approvers", "".join(lines))
    acts.sign_registry(world.registry(), keys / "keeper")

    _accept(world, "moitt", request_of("moitt", ("revision: 3", "revision: 2"), ("pods: 50", "pods: 500")))
    _accept(world, "moitt", request_of("moitt"), requester="carol")
    _submit(world, "nadra", request_of("nadra", *SECRET))
    acts.approve(world.registry(), world.registry().entry("nadra"), keys / "alice")
    for tenant in ("itd", "fbr-tax"):
        _accept(world, tenant, request_of(tenant))
    _close(world, "itd", "suspended", "bob")
    _close(world, "fbr-tax", "offboarded", None)
    for name in ("portal", "queue"):
        world.put(f"waivers/{name}.yaml", waiver(name))
    world.approve_waiver("portal", "bob")
    return world


def _submit(world: World, tenant: str, data: bytes, requester: str | None = None) -> None:
    file = world.outside / f"{tenant}.yaml"
    file.write_bytes(data)
    acts.submit(world.registry(), file, world.keys / requester if requester else None)


def _accept(world: World, tenant: str, data: bytes, requester: str | None = None) -> None:
    _submit(world, tenant, data, requester)
    acts.approve(world.registry(), world.registry().entry(tenant), world.keys / "alice")


def _close(world: World, tenant: str, state: str, key: str | None) -> None:
    acted = "suspend" if state == "suspended" else "offboard"
    registry = world.registry()
    registry.set_state(tenant, state, "operator", "why", world.keys / key if key else None)  # type: ignore[arg-type]
    world.registry().record(tenant, acted, "operator")  # type: ignore[arg-type]


def waiver(name: str, **fields: str) -> bytes:
    """Return the bytes of a waiver of one workload of moitt."""
    expires = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=100)
    known = {
        "control": "GPK-IMG-01",
        "subject": f"tenant/moitt/eoffice-prod/Deployment/{name}",
        "allows": "[docker.io/library/portal:4.2]",
        "reason": "a vendor's image",
        "author": "dd@moitt.gov.pk",
        "expires": str(expires),
    }
    return "".join(f"{field}: {value}\n" for field, value in {**known, **fields}.items()).encode()
