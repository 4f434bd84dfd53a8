"""Images in an OCI image layout, the same bytes from the same content: no time, no owner, no order of a folder in them.

One uncompressed layer each: they are read over loopback, where compressing costs more than it spares.
Source: OCI Image Format Specification 1.1 (image-layout.md, manifest.md, config.md, layer.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from gcloud_pk.programs import files

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_THEN = "1970-01-01T00:00:00Z"
_CHUNK = 1 << 20

REFERENCE = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
"""By which `ctr images import` and `skopeo copy oci:…` know an image of a layout."""

BIND_LOW_PORTS = "\x01\x00\x00\x02\x00\x04" + "\x00" * 14
"""The file capability cap_net_bind_service=ep, as the kernel keeps it (struct vfs_cap_data, version 2)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, link or folder of an image.

    `source`: a file of this machine, or the content itself; `link`: where a symbolic link leads; none of them: a
    folder. `capability`: value of the attribute security.capability.
    """

    source: Path | bytes | None = None
    link: str | None = None
    mode: int = 0o755
    capability: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image to make: `entries` by their absolute path; folders in between need no entry."""

    name: str
    tag: str
    entries: Mapping[str, Entry]
    entrypoint: tuple[str, ...] = ()
    user: str = "0:0"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blob:
    """A descriptor: media type, digest (`sha256:…`) and size in bytes."""

    media_type: str
    digest: str
    size: int

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of a descriptor."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Made:
    """An image in a layout: its manifest, and the blobs that the manifest names (configuration first)."""

    name: str
    tag: str
    manifest: Blob
    blobs: tuple[Blob, ...]


class _Hashing(io.RawIOBase):
    """A stream that knows the digest and the length of what went through it."""

    def __init__(self, below: BinaryIO) -> None:
        self._below = below
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any, /) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._below.write(data)


def blob_file(folder: Path, digest: str) -> Path:
    """Return where a layout keeps a blob."""
    return folder / "blobs" / digest.replace(":", "/")


def write(folder: Path, images: Sequence[Image], architecture: str, prefix: str) -> list[Made]:
    """Write a layout into the empty `folder`. `prefix`: of the images' full names. Raises OSError."""
    files.make_folder(folder / "blobs" / "sha256")
    made = [_image(folder, image, architecture) for image in images]
    manifests = [
        {
            **image.manifest.as_dict(),
            "platform": {"architecture": architecture, "os": "linux"},
            "annotations": {
                FULL_NAME: f"{prefix}/{image.name}:{image.tag}",
                REFERENCE: f"{image.name}:{image.tag}",
            },
        }
        for image in made
    ]
    files.write(folder / "oci-layout", _LAYOUT)
    files.write(folder / "index.json", _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
    return made


def read(folder: Path) -> list[Made]:
    """Return the images of a layout that `write` made. Raises OSError, ValueError or KeyError where it is none."""
    found = []
    for entry in json.loads((folder / "index.json").read_bytes())["manifests"]:
        name, _, tag = entry["annotations"][REFERENCE].rpartition(":")
        manifest = json.loads(blob_file(folder, entry["digest"]).read_bytes())
        blobs = tuple(_blob(each) for each in (manifest["config"], *manifest["layers"]))
        found.append(Made(name, tag, _blob(entry), blobs))
    return found


def _blob(entry: Mapping[str, Any]) -> Blob:
    return Blob(entry["mediaType"], entry["digest"], entry["size"])


def _json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _image(folder: Path, image: Image, architecture: str) -> Made:
    layer = _layer(folder, image.entries)
    configuration = _put(
        folder,
        CONFIG,
        _json(
            {
                "architecture": architecture,
                "os": "linux",
                "created": _THEN,
                "config": {
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                    "User": image.user,
                    "WorkingDir": "/",
                    "Labels": dict(image.labels),
                    **({"Entrypoint": list(image.entrypoint)} if image.entrypoint else {}),
                },
                "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
                "history": [{"created": _THEN, "created_by": "gcloud-pk"}],
            }
        ),
    )
    manifest = _put(
        folder,
        MANIFEST,
        _json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": configuration.as_dict(),
                "layers": [layer.as_dict()],
            }
        ),
    )
    return Made(image.name, image.tag, manifest, (configuration, layer))


def _put(folder: Path, media_type: str, content: bytes) -> Blob:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    files.write(blob_file(folder, digest), content)
    return Blob(media_type, digest, len(content))


def _layer(folder: Path, entries: Mapping[str, Entry]) -> Blob:
    unnamed = folder / "blobs" / ".layer"
    with unnamed.open("wb") as stream:
        through = _Hashing(stream)
        with tarfile.open(fileobj=through, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as archive:
            for path, entry in sorted(_with_folders(entries).items()):
                _add(archive, path, entry)
    digest = f"sha256:{through.digest.hexdigest()}"
    unnamed.replace(blob_file(folder, digest))
    return Blob(LAYER, digest, through.size)


def _with_folders(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    above: Iterable[PurePosixPath] = (folder for path in entries for folder in PurePosixPath(path).parents)
    return {str(folder): Entry() for folder in above if str(folder) != "/"} | dict(entries)


def _add(archive: tarfile.TarFile, path: str, entry: Entry) -> None:
    info = tarfile.TarInfo(path.lstrip("/"))
    info.mode = entry.mode
    if entry.capability is not None:
        info.pax_headers = {"SCHILY.xattr.security.capability": entry.capability}
    if entry.link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        archive.addfile(info)
    elif entry.source is None:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    elif isinstance(entry.source, bytes):
        info.size = len(entry.source)
        archive.addfile(info, io.BytesIO(entry.source))
    else:
        info.size = entry.source.stat().st_size
        with entry.source.open("rb") as stream:
            archive.addfile(info, stream)
