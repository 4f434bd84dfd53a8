"""The one way to an API server: keep-alive connections shared by threads, retries with back-off, plain words.

Why urllib3 and threads: measured as cheap as any client, and the server's CPU is the limit from 8 threads on.
"""

from __future__ import annotations

import json
import random
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gcloud_pk import __version__
from gcloud_pk.cluster.answer import Answer, refusal
from gcloud_pk.cluster.kubeconfig import Access
from gcloud_pk.errors import UnavailableError

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool, HTTPHeaderDict

    from gcloud_pk.cluster.kinds import Kind

__all__ = ["Access", "Answer", "Api", "Identity"]

APPLY_PATCH = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
PAGE = 2000
"""Objects in one page of a LIST."""

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 3.0
_STRANGER_SECONDS = 5.0
"""Patience with a server that has never answered: a wrong address is more likely than a moment's absence."""
_SETTLING_SECONDS = 5.0
"""For so long after a server came back, RBAC knows nobody and its 401 and 403 say nothing."""

_UNSENT = {"GET", "HEAD", "PUT", "PATCH", "DELETE"}
"""Methods that may be sent again when the answer was lost: each is the same done twice."""

# Nothing that stays is stored by these: access reviews, and leases, which are this program's own locks.
_STORES_NOTHING = re.compile(r"^/apis/(authorization|authentication)\.k8s\.io/|^/apis/coordination\.k8s\.io/")
# A field that the schema does not know: HTTP 500, and the same for ever (kube-apiserver, structured-merge-diff).
_LASTING_500 = re.compile(r"failed to create typed patch object|failed to convert new object")


@dataclass(frozen=True)
class Identity:
    """Whom to act as."""

    user: str
    groups: tuple[str, ...] = ()


@dataclass
class _Shared:
    """What an Api has in common with its impersonating copies."""

    pool: HTTPConnectionPool
    prefix: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    hurried: threading.Event = field(default_factory=threading.Event)
    persisted: int = 0
    unreachable_at: float = float("-inf")
    known: bool = False


class Api:
    """One API server, as one identity. Thread-safe.

    `connections` is how many requests run at once; `patience` how many seconds an unreachable or overloaded server is
    asked again before that is an error; `answer`: seconds that one request gets for its answer.
    """

    def __init__(
        self, access: Access, *, connections: int = 8, patience: float = 30.0, answer: float = _READ_SECONDS
    ) -> None:
        """Prepare connections; none is opened yet. Raises UnavailableError for unusable certificates."""
        self.access = access
        self.patience = patience
        self._shared = _connect(access, connections, answer)
        self._headers = _headers(access, Identity(access.user, access.groups) if access.user else None)

    @property
    def persisted(self) -> int:
        """How many writes without dry run may be stored: those that succeeded, and those whose answer was lost.

        Counted over all impersonating copies; leases and access reviews are left out. Zero means exit code 5, not 8.
        """
        return self._shared.persisted

    def impersonating(self, identity: Identity) -> Api:
        """Return an Api that acts as `identity`, over the same connections."""
        copy = object.__new__(Api)
        copy.access, copy.patience, copy._shared = self.access, self.patience, self._shared
        copy._headers = _headers(self.access, identity)
        return copy

    def hurry(self) -> None:
        """From now on try nothing again; for an interrupted run, which should end at once."""
        self._shared.hurried.set()

    def pause(self, seconds: float) -> bool:
        """Wait; return False, at once, when the run is to end."""
        return not self._shared.hurried.wait(seconds)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        patience: float | None = None,
    ) -> Answer:
        """Send one request and return the answer, whatever its HTTP status.

        429 and (where a repetition does no harm) 500, 502, 503, 504 and broken connections are tried again until
        `patience` seconds have passed; connections of a server that has never answered, for 5 s at most. Raises
        UnavailableError when no answer was to be had by then.
        """
        import urllib3

        url = self._shared.prefix + path
        if params:
            from urllib.parse import urlencode

            url += "?" + urlencode(params)
        headers = self._headers
        data: bytes | None = None
        if body is not None:
            data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            headers = headers.copy()
            headers["Content-Type"] = content_type
        dry = bool(params and "dryRun" in params)
        stores = method not in {"GET", "HEAD"} and not dry and not _STORES_NOTHING.match(path)
        repeatable = method in _UNSENT or not stores
        started = time.monotonic()
        deadline = started + (self.patience if patience is None else patience)
        pauses = _pauses()
        while True:
            try:
                answer = self._once(method, url, headers, data)
            except urllib3.exceptions.HTTPError as error:
                self._shared.unreachable_at = time.monotonic()
                sent = _was_sent(error)
                if stores and sent:
                    self._count()
                until = deadline if self._shared.known else min(deadline, started + _STRANGER_SECONDS)
                if _is_lasting(error) or (sent and not repeatable) or not self._pause(next(pauses), until):
                    self._shared.known = False  # given up: what else is under way need not wait as long
                    raise _unreachable(error, self.access) from error
                continue
            self._shared.known = True
            if not self._is_passing(answer, repeatable=repeatable) or not self._pause(
                max(next(pauses), answer.retry_after or 0), deadline
            ):
                if stores and answer.ok:
                    self._count()
                return answer

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> dict[str, Any]:
        """Return one object or list. Raises NotFoundError, ForbiddenError, CredentialsError, UnavailableError."""
        answer = self.request("GET", path, params=params)
        if not answer.ok:
            raise refusal(answer, path)
        return answer.body

    def list(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        selector: str | None = None,
        name: str | None = None,
        audit_ids: list[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Return all objects of a kind, with `apiVersion` and `kind` filled in. `audit_ids`: gets those of the reads.

        `selector` is of labels; `name`: only the object of that name, by the right to list.
        A consistent read (no `resourceVersion`): what this program wrote a moment ago is seen, and the server answers
        it from its watch cache all the same. Raises as `get` does.
        """
        items: list[dict[str, Any]] = []
        params: dict[str, str | int] = {"limit": PAGE}
        if selector:
            params["labelSelector"] = selector
        if name:
            params["fieldSelector"] = f"metadata.name={name}"
        path = kind.path(namespace)
        while True:
            answer = self.request("GET", path, params=params)
            if audit_ids is not None and answer.audit_id:
                audit_ids.append(answer.audit_id)
            if answer.status == 410 and "continue" in params:
                # The snapshot that the pages come from is gone (compaction): read everything again, in one piece.
                items.clear()
                params = {key: value for key, value in params.items() if key in {"labelSelector", "fieldSelector"}}
                continue
            if not answer.ok:
                raise refusal(answer, f"{kind.resource}" + (f" in namespace {namespace}" if namespace else ""))
            found = _items(answer)
            if found is None:
                raise self.stranger()
            items += found
            token = (answer.body.get("metadata") or {}).get("continue")
            if not token:
                break
            params = params | {"continue": token}
        for item in items:
            item["apiVersion"], item["kind"] = kind.api_version, kind.kind
        return items

    def stranger(self) -> UnavailableError:
        """Return the error for a server that answers, and not as Kubernetes does."""
        return UnavailableError(
            f"what answers at {self.access.server} is no Kubernetes API server",
            resolution="check the server's address in the kubeconfig, and what stands between (a proxy, a login page)",
        )

    def _once(self, method: str, url: str, headers: HTTPHeaderDict, data: bytes | None) -> Answer:
        started = time.perf_counter()
        response = self._shared.pool.urlopen(
            method, url, body=data, headers=headers, retries=False, redirect=False, assert_same_host=False
        )
        raw = response.data
        seconds = time.perf_counter() - started
        got = response.headers
        return Answer(
            status=response.status,
            body=_parsed(raw),
            audit_id=got.get("Audit-Id"),
            seconds=seconds,
            warnings=tuple(_warning(text) for text in got.getlist("Warning")),
            retry_after=_seconds(got.get("Retry-After")),
        )

    def _is_passing(self, answer: Answer, *, repeatable: bool) -> bool:
        """Whether the answer tells of a state of the server that passes."""
        status = answer.status
        if status < 400:
            return False
        if status == 429:
            return True
        if status in {401, 403}:
            return time.monotonic() - self._shared.unreachable_at < _SETTLING_SECONDS
        if status == 500:
            return repeatable and not _LASTING_500.search(answer.message)
        return status in {502, 503, 504} and repeatable

    def _pause(self, seconds: float, deadline: float) -> bool:
        """Wait before the next attempt; return False when there is no time for one."""
        if time.monotonic() + seconds > deadline:
            return False
        return self.pause(seconds)

    def _count(self) -> None:
        with self._shared.lock:
            self._shared.persisted += 1


def _items(answer: Answer) -> list[dict[str, Any]] | None:
    """Return the objects of a list; None where the answer is no list of objects."""
    items = answer.body.get("items")
    if items is None and str(answer.body.get("kind", "")).endswith("List"):
        return []
    if not isinstance(items, list):
        return None
    return items if all(isinstance(i, dict) and isinstance(i.get("metadata"), dict) for i in items) else None


def _pauses() -> Iterator[float]:
    """Exponential back-off with jitter: threads that failed together do not come back together."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.7, 1.3)  # noqa: S311 - no secret
        pause = min(pause * 2, _LONGEST_PAUSE)


def _headers(access: Access, identity: Identity | None) -> HTTPHeaderDict:
    from urllib3 import HTTPHeaderDict

    headers = HTTPHeaderDict({"User-Agent": f"gcloud-pk/{__version__}", "Accept": "application/json"})
    if access.token:
        headers["Authorization"] = f"Bearer {access.token}"
    if identity is not None:
        headers["Impersonate-User"] = _as_header(identity.user)
        for group in identity.groups:
            headers.add("Impersonate-Group", _as_header(group))
    return headers


def _as_header(value: str) -> str:
    """Return UTF-8 in the form that http.client, which writes Latin-1, puts on the wire."""
    return value.encode().decode("latin-1")


def _connect(access: Access, connections: int, answer: float) -> _Shared:
    from urllib.parse import urlsplit

    import urllib3

    parts = urlsplit(access.server)
    common: dict[str, Any] = {
        "maxsize": connections,
        "block": True,
        "timeout": urllib3.Timeout(connect=min(_CONNECT_SECONDS, answer), read=answer),
    }
    if parts.scheme == "https":
        common |= {"ssl_context": tls_context(access)}
        if access.tls_server_name:
            common |= {"server_hostname": access.tls_server_name, "assert_hostname": access.tls_server_name}
    proxy = access.proxy or _proxy_of_environment(access.server)
    if proxy and not proxy.startswith(("http://", "https://")):
        raise UnavailableError(
            f"context {access.context!r}: proxy {proxy!r} is of a kind that is not supported",
            resolution="use an http:// or https:// proxy, or a tunnel to the API server",
        )
    keeper = urllib3.ProxyManager(proxy, **common) if proxy else urllib3.PoolManager(**common)
    return _Shared(keeper.connection_from_url(access.server), parts.path.rstrip("/"))


def _proxy_of_environment(server: str) -> str | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY demand, as kubectl does; loopback never goes through one."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies_environment, proxy_bypass

    parts = urlsplit(server)
    if parts.hostname in {"127.0.0.1", "::1", "localhost"} or proxy_bypass(parts.netloc):
        return None
    return getproxies_environment().get(parts.scheme)


def tls_context(access: Access) -> ssl.SSLContext:
    """Return how a server is believed, and who we are to it. Raises UnavailableError for unusable certificates."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if access.ca:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(cadata=access.ca.decode("ascii"))
        if access.certificate and access.key:
            with _private_files(access.certificate, access.key) as (certificate, key):
                # An encrypted key would make OpenSSL ask on the terminal.
                context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise UnavailableError(
            f"context {access.context!r}: its certificates cannot be used: {_reason(error)}",
            resolution="check that authority, certificate and (unencrypted) key are PEM and belong together",
        ) from None
    return context


@contextmanager
def _private_files(certificate: bytes, key: bytes) -> Iterator[tuple[Path, Path]]:
    """Lend the two to OpenSSL, which reads files only; the folder is the owner's alone, and gone at once."""
    with TemporaryDirectory(prefix="gcloud-pk-") as folder:
        paths = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        for path, content in zip(paths, (certificate, key), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(content)
        yield paths


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        # A proxy's page, or the plain text of /readyz.
        return {"message": raw[:500].decode("utf-8", "replace").strip()}
    return body if isinstance(body, dict) else {"value": body}


def _warning(header: str) -> str:
    """Return the text of `299 - "text"` (RFC 7234)."""
    match = re.search(r'"((?:[^"\\]|\\.)*)"', header)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else header


def _seconds(text: str | None) -> float | None:
    try:
        return min(float(text), 60.0) if text else None
    except ValueError:
        return None


def _was_sent(error: Exception) -> bool:
    """Whether the server may have got the request."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError, SSLError

    if isinstance(error, SSLError):
        # TLS 1.3: the server's alert about a client certificate comes with the first answer, and nothing was done.
        return False
    return not isinstance(error, NewConnectionError | ConnectTimeoutError | ProxyError)


_PASSING_ALERTS = {"TLSV1_ALERT_DECODE_ERROR", "TLSV1_ALERT_INTERNAL_ERROR", "SSLV3_ALERT_UNEXPECTED_MESSAGE"}
"""Alerts that speak of one handshake, not of who we are; a decode error was seen once in thousands."""


def _is_lasting(error: Exception) -> bool:
    """Whether a repetition would fail the same way: a certificate stays wrong."""
    from urllib3.exceptions import SSLError

    cause = _root(error)
    if not isinstance(error, SSLError) or isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return False
    return getattr(cause, "reason", None) not in _PASSING_ALERTS


def _root(error: BaseException) -> BaseException:
    """Return what the operating system or OpenSSL said, under urllib3's wrapping."""
    seen: BaseException = error
    while True:
        inner = next((arg for arg in seen.args if isinstance(arg, BaseException)), None) or seen.__cause__
        if inner is None or inner is seen:
            return seen
        seen = inner


def _reason(error: BaseException) -> str:
    """Return the plain words of an error: no addresses of objects, no class names."""
    root = _root(error)
    if isinstance(root, ssl.SSLError):
        return str(getattr(root, "verify_message", "") or root.reason or root.strerror or root)
    if isinstance(root, OSError) and root.strerror:
        return root.strerror.lower()
    return re.sub(r"^<?[\w.]+(?:\(.*?\))?( object at 0x[0-9a-f]+>)?: ", "", str(root)) or type(root).__name__


# OpenSSL, X509_V_ERR_*: what stands behind the number → what a person does.
_CERTIFICATE_WORDS = {
    9: ("the server's certificate is not valid yet", "check the clocks of this machine and of the server"),
    10: ("the server's certificate has expired", "renew the API server's certificate; check this machine's clock"),
    18: ("the server's certificate is self-signed", "put the cluster's certificate-authority into the kubeconfig"),
    19: (
        "the server's certificate comes from an authority that the kubeconfig does not name",
        "is it the cluster that you mean? If so, put its certificate-authority into the kubeconfig",
    ),
    20: (
        "the server's certificate comes from an authority that the kubeconfig does not name",
        "is it the cluster that you mean? If so, put its certificate-authority into the kubeconfig",
    ),
    62: (
        "the server's certificate is for another host name",
        "use a name that the certificate holds, or set tls-server-name in the kubeconfig",
    ),
    64: (
        "the server's certificate is for another IP address",
        "use an address that the certificate holds, or set tls-server-name in the kubeconfig",
    ),
}


def _unreachable(error: Exception, access: Access) -> UnavailableError:
    root = _root(error)
    if isinstance(root, ssl.SSLCertVerificationError):
        known = _CERTIFICATE_WORDS.get(root.verify_code)
        words, remedy = known or (
            f"the server's certificate is not trusted ({root.verify_message})",
            "check the certificate-authority of the kubeconfig",
        )
        return UnavailableError(f"{access.server}: {words}", resolution=remedy)
    if isinstance(root, ssl.SSLError):
        reason = str(root.reason or root)
        if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
            return UnavailableError(
                f"{access.server}: what listens there does not speak TLS",
                resolution="check the server's address and port in the kubeconfig",
            )
        if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
            return UnavailableError(
                f"{access.server}: the server refuses the client certificate ({reason.lower().replace('_', ' ')})",
                resolution="get a certificate that this cluster's authority issued and that has not expired",
            )
        return UnavailableError(
            f"{access.server}: no secure connection: {reason.lower().replace('_', ' ')}",
            resolution="check the server's address in the kubeconfig and what stands between (proxies, load balancers)",
        )
    return UnavailableError(
        f"the API server {access.server} does not answer: {_reason(error)}",
        resolution="check that it runs and that this machine may reach it (`kubectl --context "
        f"{access.context} get --raw /readyz`); for a lab run `gcloud-pk lab status`",
    )
