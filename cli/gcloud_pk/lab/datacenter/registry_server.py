"""The registry that the nodes of a lab data centre pull images from: `distribution`, on the spine, over TLS, read only.

It takes the place of the mirror that a site has in production. What it serves is put straight into its storage, as the
registry itself would have written it, with links to the files of the images' cache: nothing is copied, nothing is
pushed. It runs in the spine's network namespace and is found there by its command line alone, so nobody has to
remember a process; what ends the lab's network ends it too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gcloud_pk.errors import PartialError, UnavailableError
from gcloud_pk.lab import pki, processes
from gcloud_pk.lab.nodes import network
from gcloud_pk.lab.nodes.layout import GATEWAY, IMAGES_NAME, Layout
from gcloud_pk.lab.processes import Process
from gcloud_pk.programs import files, oci
from gcloud_pk.programs.images import Images
from gcloud_pk.programs.oci import Made
from gcloud_pk.programs.sourcing import Program

PORT = 5000
NAME = f"{IMAGES_NAME}:{PORT}"
PREFIX = f"{NAME}/k8s"
"""What the full names of the platform's images begin with: the site's `images`."""

_AUTHORITY = "images-ca"
_LEAF = pki.Leaf("images", _AUTHORITY, IMAGES_NAME, hosts=(IMAGES_NAME, GATEWAY), client=False)
_PATIENCE = 20.0
_POLL = 0.05
_STOPPING = 5.0
_TAIL = 8


@dataclass(frozen=True, slots=True)
class RegistryServer:
    """A registry that answers: its address, its name with port, the images' prefix, the PEM of its authority."""

    address: str
    name: str
    prefix: str
    authority_pem: str


def _home(lab: Layout) -> Path:
    return lab.folder / "images"


def _storage(lab: Layout) -> Path:
    return _home(lab) / "storage"


def _pair(lab: Layout, name: str) -> pki.Pair:
    return pki.pair(_home(lab) / "pki", name)


def ensure(lab: Layout, images: Images, programs: Mapping[str, Program]) -> RegistryServer:
    """Serve `images` to the lab's nodes: fill the storage, start the server where it does not run as it should.

    `programs` has `registry` and `probe`. The lab's network must be there. Raises UnavailableError where the storage
    cannot be written, PartialError where the server does not answer.
    """
    now = datetime.now(UTC)
    try:
        home = files.make_folder(_home(lab) / "pki")
        pki.ensure_authority(home, _AUTHORITY, now)
        pki.ensure_leaf(home, _LEAF, now)
        configuration = _configuration(lab)
        if _filled(lab) != images.key:
            stop(lab)
            _fill(lab, images)
        wanted = _write(lab, configuration, programs["registry"])
    except OSError as error:
        raise UnavailableError(
            f"the lab's registry of images cannot be written: {error.filename}: {error.strerror}",
            resolution=f"see what is missing: {lab.call} doctor",
        ) from error
    running = _servers(lab)
    former = [process for process, file in running.items() if file != wanted]
    if former:
        processes.stop(former, _STOPPING)
    if len(former) == len(running):
        _start(lab, wanted, programs["registry"])
    _await(lab, programs["probe"])
    return RegistryServer(f"{GATEWAY}:{PORT}", NAME, images.prefix, authority(lab))


def authority(lab: Layout) -> str:
    """Return the PEM of the authority that the registry's certificate is of. Raises OSError where none was made."""
    return _pair(lab, _AUTHORITY).certificate.read_text(encoding="ascii")


def running(lab: Layout) -> bool:
    """Whether the lab's registry runs."""
    return bool(_servers(lab))


def stop(lab: Layout) -> bool:
    """Stop the lab's registry; return whether it ran."""
    found = list(_servers(lab))
    processes.stop(found, _STOPPING)
    return bool(found)


def publish(lab: Layout, images: Images, name: str, repository: str) -> str:
    """Serve the image `name` under another repository too, such as a tenant's; return its full name.

    At once: a server that runs need not be told. Raises OSError.
    """
    image = next(each for each in images.images if each.name == name)
    _name(_storage(lab), image, repository)
    return f"{NAME}/{repository}:{image.tag}"


def _configuration(lab: Layout) -> str:
    """Return the server's configuration. JSON is YAML."""
    where = _pair(lab, _LEAF.name)
    document = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(_storage(lab))},
            "maintenance": {"readonly": {"enabled": True}, "uploadpurging": {"enabled": False}},
        },
        "http": {
            "addr": f"{GATEWAY}:{PORT}",
            "tls": {"certificate": str(where.certificate), "key": str(where.key), "minimumtls": "tls1.2"},
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _write(lab: Layout, configuration: str, program: Program) -> Path:
    """Write the configuration; its name changes with all that a running server has read and would not read again."""
    about = configuration.encode() + _pair(lab, _LEAF.name).certificate.read_bytes() + str(program.path).encode()
    wanted = _home(lab) / f"configuration-{hashlib.sha256(about).hexdigest()[:12]}.json"
    for former in _home(lab).glob("configuration-*.json"):
        if former != wanted:
            former.unlink()
    files.write_if_changed(wanted, configuration)
    return wanted


def _servers(lab: Layout) -> dict[Process, Path]:
    """Return the lab's registries that run, with the configuration that each was started with."""
    found = {}
    for pid in network.inhabitants([lab.spine]):
        started = processes.start_time(pid)
        with suppress(OSError):
            words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
            last = Path(os.fsdecode(words[-2])) if len(words) > 1 else None
            if started is not None and last and last.parent == _home(lab):
                found[Process(pid, started)] = last
    return found


def _start(lab: Layout, configuration: Path, program: Program) -> None:
    command = ["nsenter", f"--net=/run/netns/{lab.spine}", str(program.path), "serve", str(configuration)]
    with (_home(lab) / "log").open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            # It would look for somebody who collects traces.
            env={"PATH": os.environ.get("PATH", os.defpath), "OTEL_TRACES_EXPORTER": "none"},
        )
    child.returncode = 0  # it is nobody's to wait for: it outlives this command


def _await(lab: Layout, probe: Program) -> None:
    """Return when the registry answers over TLS, with a certificate of its authority. Raises PartialError."""
    command = ["nsenter", f"--net=/run/netns/{lab.spine}", str(probe.path), "get", f"https://{GATEWAY}:{PORT}/v2/"]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "SSL_CERT_FILE": str(_pair(lab, _AUTHORITY).certificate)}
    end = time.monotonic() + _PATIENCE
    while True:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
        )
        if done.returncode == 0:
            return
        if time.monotonic() > end:
            raise PartialError(
                f"the lab's registry of images does not answer in {_PATIENCE:.0f} s",
                details=[*_tail(_home(lab) / "log"), *(done.stdout or done.stderr).splitlines()],
                resolution=f"run it again: {lab.call} up{lab.option}",
            )
        time.sleep(_POLL)


def _tail(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    except OSError:
        return []


def _filled(lab: Layout) -> str | None:
    """Return the key of the images that the storage holds; None where it is not there as a whole."""
    try:
        return (_storage(lab) / "key").read_text(encoding="ascii")
    except OSError:
        return None


def _fill(lab: Layout, images: Images) -> None:
    """Make the storage anew; it stands under its name only when it is complete. Raises OSError."""
    new = _home(lab) / "storage.new"
    for former in (new, _storage(lab)):
        if former.exists():
            shutil.rmtree(former)
    files.make_folder(new)
    for image in images.images:
        for blob in (image.manifest, *image.blobs):
            _link(oci.blob_file(images.folder, blob.digest), _blob(new, blob.digest) / "data")
        _name(new, image, f"{images.prefix.partition('/')[2]}/{image.name}")
    files.write(new / "key", images.key)
    new.rename(_storage(lab))


def _blob(storage: Path, digest: str) -> Path:
    """Return the folder of a blob. Source: distribution's registry/storage/paths.go."""
    algorithm, _, hexadecimal = digest.partition(":")
    return storage / "docker/registry/v2/blobs" / algorithm / hexadecimal[:2] / hexadecimal


def _name(storage: Path, image: Made, repository: str) -> None:
    """Give an image whose blobs are in the storage a repository and a tag. Source: as above."""
    home = storage / "docker/registry/v2/repositories" / repository
    manifest = image.manifest.digest
    as_path = manifest.replace(":", "/")
    links: Iterable[tuple[Path, str]] = (
        *((home / "_layers" / blob.digest.replace(":", "/"), blob.digest) for blob in image.blobs),
        (home / "_manifests/revisions" / as_path, manifest),
        (home / "_manifests/tags" / image.tag / "index" / as_path, manifest),
        (home / "_manifests/tags" / image.tag / "current", manifest),
    )
    for folder, digest in links:
        files.write(files.make_folder(folder) / "link", digest)


def _link(source: Path, target: Path) -> None:
    files.make_folder(target.parent)
    if target.exists():
        return  # a configuration or a layer of two images
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)  # the cache lies on another file system
