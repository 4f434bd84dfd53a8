"""The images of a lab data centre: programs that are here already, each alone in an image, named as kubeadm asks.

They stand in for the official ones where nothing is pulled from outside. What a site pulls in production is its own
business: the prefix of its images names a registry that mirrors the official ones.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import debian, elf, files, oci
from gcloud_pk.programs.oci import Entry, Image, Made
from gcloud_pk.programs.sourcing import Program

_BUILDER = 2
"""Raised with every change of what is done to an image below."""

PAUSE_TAG = "3.10.2"
"""The sandbox image that kubeadm 1.36 asks for (`kubeadm config images list`); the program in ours is our own."""

_PASSWD = b"""\
root:x:0:0:root:/root:/sbin/nologin
nonroot:x:65532:65532:nonroot:/:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
"""
_GROUP = b"root:x:0:\nnonroot:x:65532:\nnobody:x:65534:\n"
_NSSWITCH = b"hosts: files dns\n"
_NFT = "/usr/sbin/nft"
_PROTOCOLS = "/etc/protocols"
"""Without it nft lists tcp as 6: a kube-proxy that starts on rules which are there knows no element of its maps by that
name, and removes them all."""
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_PYTHON = "/usr/bin/python3"
_PYTHON_LEFT_OUT = frozenset(
    {"__pycache__", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo"}
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is in an image.

    `places`: program → its absolute path; `user`: who runs it, where upstream's image says somebody but root;
    `taken`: programs from the Debian root; `low_ports`: whether the first program may bind ports below 1024 whoever
    runs it.
    """

    name: str
    tag: str
    places: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    user: str = "0:0"
    taken: tuple[str, ...] = ()
    low_ports: bool = False


@dataclass(frozen=True, slots=True)
class Images:
    """An OCI layout in the cache: `folder`, its `key`, the `prefix` of the images' full names, and the images."""

    folder: Path
    key: str
    prefix: str
    images: tuple[Made, ...]

    def reference(self, name: str) -> str:
        """Return the full name of an image, such as registry.lab.example:5000/k8s/etcd:3.7.3-0."""
        return next(f"{self.prefix}/{image.name}:{image.tag}" for image in self.images if image.name == name)


def recipes(versions: Mapping[str, str]) -> tuple[Recipe, ...]:
    """Return what is made of programs of these versions. Users and places: as in upstream's images."""

    def kubernetes(name: str, *taken: str) -> Recipe:
        return Recipe(name, f"v{versions[name]}", {name: f"/usr/local/bin/{name}"}, taken=taken)

    return (
        kubernetes("kube-apiserver"),
        kubernetes("kube-controller-manager"),
        kubernetes("kube-scheduler"),
        kubernetes("kube-proxy", _NFT),
        Recipe(
            "etcd",
            f"{versions['etcd']}-0",
            {"etcd": "/usr/local/bin/etcd", "etcdctl": "/usr/local/bin/etcdctl"},
        ),
        Recipe(
            "coredns", f"v{versions['coredns']}", {"coredns": "/coredns"}, ("/coredns",), "65532:65532", low_ports=True
        ),
        Recipe("pause", PAUSE_TAG, {"pause": "/pause"}, ("/pause",), "65535:65535"),
        Recipe(
            "probe",
            versions["probe"],
            {"probe": "/usr/local/bin/probe"},
            ("/usr/local/bin/probe",),
            "65532:65532",
        ),
        Recipe("python", "3", {}, (_PYTHON,), "65532:65532", (_PYTHON,)),
    )


def obtain(programs: Mapping[str, Program], root: Path, architecture: str, prefix: str, console: Console) -> Images:
    """Return the images of `programs` (name → program, at least the set `datacenter`), made where the cache has none.

    `root` is a Debian root folder (the nodes' image), `architecture` amd64 or arm64, `prefix` what the images' full
    names begin with. Raises UnavailableError where a program is not fit for an image, or the root lacks something.
    """
    made = recipes({name: program.version for name, program in programs.items()})
    key = _key(made, programs, root, architecture, prefix)
    home = files.make_folder(paths.cache("images"))
    folder = home / key
    with files.locked(home / ".lock", lambda: console.note("waiting: another run is making images")):
        if not folder.is_dir():
            console.note(f"making images: {', '.join(recipe.name for recipe in made)}")
            _make(home, folder, [image(recipe, programs, root, architecture) for recipe in made], architecture, prefix)
    return Images(folder, key, prefix, tuple(oci.read(folder)))


def _key(made: Iterable[Recipe], programs: Mapping[str, Program], root: Path, architecture: str, prefix: str) -> str:
    """Return the name under which images are cached: it follows from recipes, programs and the Debian root."""
    seen = []
    for path in [*(programs[name].path for recipe in made for name in recipe.places), root / "etc/debian_version"]:
        found = path.stat()
        seen.append([str(path), found.st_size, found.st_mtime_ns])
    about = [_BUILDER, repr(made), seen, architecture, prefix]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]


def _make(home: Path, folder: Path, images: list[Image], architecture: str, prefix: str) -> None:
    """Make a layout under its name only when it is complete, and remove those that nobody asks for any more."""
    for left in home.iterdir():
        if left.is_dir():
            shutil.rmtree(left)  # labs have links of their own to what they need
    temporary = Path(tempfile.mkdtemp(dir=home, prefix=f".{folder.name}."))
    try:
        oci.write(temporary, images, architecture, prefix)
        temporary.rename(folder)
    except OSError as error:
        raise UnavailableError(f"images cannot be made: {error.filename}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def image(recipe: Recipe, programs: Mapping[str, Program], root: Path, architecture: str) -> Image:
    """Return the image of a recipe. Raises UnavailableError where a program of it is not static."""
    entries = {
        "/etc/passwd": Entry(_PASSWD, mode=0o644),
        "/etc/group": Entry(_GROUP, mode=0o644),
        "/etc/nsswitch.conf": Entry(_NSSWITCH, mode=0o644),
        "/tmp": Entry(mode=0o1777),  # noqa: S108 - a folder of the image
        _AUTHORITIES: Entry(debian.resolve(root, _AUTHORITIES), mode=0o644),
    }
    capability = oci.BIND_LOW_PORTS if recipe.low_ports else None
    for name, place in recipe.places.items():
        _require_static(programs[name])
        entries[place] = Entry(programs[name].path, capability=capability)
    if recipe.taken:
        entries |= _taken(root, recipe.taken, architecture)
    labels = {
        "org.opencontainers.image.title": recipe.name,
        "org.opencontainers.image.description": "Made by gcloud-pk for a lab; not an image of the upstream project",
        **{f"gcloud.gov.pk/{name}": programs[name].version for name in recipe.places},
    }
    return Image(recipe.name, recipe.tag, entries, recipe.entrypoint, recipe.user, labels)


def _require_static(program: Program) -> None:
    try:
        needed = elf.needs(program.path)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{program.name} cannot go into an image: {error}") from error
    if needed.loader or needed.libraries:
        raise UnavailableError(
            f"{program.name} cannot go alone into an image: {program.path} needs {needed.loader} and "
            f"{', '.join(needed.libraries)}",
            resolution="name a folder with static programs, or let gcloud-pk obtain them",
        )


def _taken(root: Path, programs: Iterable[str], architecture: str) -> dict[str, Entry]:
    """Return programs of the Debian root with all that they need: Python's standard library, nft's protocols."""
    wanted, tree = list(programs), {}
    if _PYTHON in wanted:
        library = Path(debian.resolve(root, _PYTHON).name)  # python3.11
        tree = dict(_library(root, f"/usr/lib/{library}"))
        wanted += [path for path in tree if path.endswith(".so")]
    if _NFT in wanted:
        tree[_PROTOCOLS] = debian.resolve(root, _PROTOCOLS)
    found = debian.closure(root, wanted, architecture)
    entries = {f"/{name}": Entry(link=f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")}
    entries |= {path: Entry(file, mode=0o644) for path, file in tree.items()}
    return entries | {path: Entry(file) for path, file in found.items()}


def _library(root: Path, folder: str) -> Iterable[tuple[str, Path]]:
    """Yield the files of Python's standard library: path in the image, file of this machine."""
    there = root / folder.lstrip("/")
    for file in there.rglob("*"):
        parts = file.relative_to(there).parts
        if _PYTHON_LEFT_OUT.isdisjoint(parts) and not parts[0].startswith("config-") and file.is_file():
            yield f"{folder}/{'/'.join(parts)}", file
