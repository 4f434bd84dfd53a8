"""One file of an official release: fetched, checked against its pinned digest, and only then put in its place."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gcloud_pk.console import Console
from gcloud_pk.programs.heartbeat import heartbeat
from gcloud_pk.programs.pins import Download

if TYPE_CHECKING:
    from http.client import HTTPResponse

_TIMEOUT = 15
_CHUNK = 1 << 20


class DownloadError(Exception):
    """Why a download did not give the file. `unreachable` says that the server, not the file, is the trouble."""

    def __init__(self, reason: str, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


def address(download: Download, mirror: str | None) -> str:
    """Return the URL; a mirror takes the place of the official base and keeps the path below it."""
    return f"{(mirror or download.base).rstrip('/')}/{download.path}"


def fetch(download: Download, target: Path, mirror: str | None, console: Console) -> str:
    """Fetch to `target` (executable); return the URL. Raises DownloadError; `target` is then as it was before."""
    import http.client
    import urllib.error
    import urllib.request

    url = address(download, mirror)
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url}: only http and https are fetched", unreachable=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            try:
                with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 - the scheme is checked above
                    _receive(answer, stream, download, url, console)
            except urllib.error.HTTPError as error:
                raise DownloadError(f"{url}: HTTP {error.code} {error.reason}") from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = getattr(error, "reason", None) or error
                raise DownloadError(f"{url}: {reason}", unreachable=True) from error
        temporary.chmod(0o755)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return url


def _receive(answer: HTTPResponse, stream: BinaryIO, download: Download, url: str, console: Console) -> None:
    """Copy the body. Raises DownloadError when it is not the whole file that is pinned."""
    length = int(answer.headers.get("Content-Length") or 0)
    size = f"{length / 1e6:.0f} MB" if length else "of unknown size"
    console.note(f"  fetching {url} ({size})")
    digest, done = hashlib.sha256(), 0
    with heartbeat(console, "  fetching") as alive:
        while chunk := answer.read(_CHUNK):
            stream.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            alive.beat(f"{done / 1e6:.0f} of {size}")
    if length and done != length:
        raise DownloadError(f"{url}: broke off after {done} of {length} bytes")
    if digest.hexdigest() != download.sha256:
        raise DownloadError(f"{url}: refused, its SHA-256 is {digest.hexdigest()} and {download.sha256} is pinned")
