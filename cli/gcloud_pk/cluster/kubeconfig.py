"""Kubeconfig files, merged as kubectl merges them: which server, and with which credentials.

Rule: client-go `clientcmd` (`KUBECONFIG` lists files; the first one to say something wins; relative paths are
relative to the file that holds them).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gcloud_pk.errors import UnavailableError

_SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_EXOTIC = ("exec", "auth-provider")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API server. PEM and token are held in memory only and never shown."""

    context: str
    server: str
    namespace: str = "default"
    ca: bytes | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls_server_name: str | None = None
    proxy: str | None = None
    user: str | None = None
    """Act as this user (`as` of the kubeconfig)."""
    groups: tuple[str, ...] = ()


def load(kubeconfig: str | None, context: str | None) -> Access:
    """Return the access that a context describes; the current context when none is named.

    `kubeconfig` lists files as `KUBECONFIG` does; None means `KUBECONFIG`, then `~/.kube/config`. Raises
    UnavailableError when a file, context, cluster, user, certificate or key is missing or unreadable, or the client
    certificate has expired.
    """
    merged = _merged(kubeconfig)
    name = context or merged.current
    if not name:
        raise UnavailableError(
            f"no context is chosen: {merged.where} has no current-context",
            resolution="name one with --context; there are " + _listed(merged.contexts),
        )
    if name not in merged.contexts:
        raise UnavailableError(
            f"{merged.where} has no context {name!r}",
            resolution="name another with --context; there are " + _listed(merged.contexts),
        )
    chosen = merged.contexts[name]
    cluster = merged.named("clusters", chosen.text("cluster"), name)
    user = merged.named("users", chosen.text("user"), name)
    server = cluster.text("server").rstrip("/")
    _check_server(server, cluster, name)
    if any(user.content.get(way) for way in _EXOTIC):
        return _exotic(merged.files, name, server, chosen, cluster)
    certificate = user.pem("client-certificate")
    key = user.pem("client-key")
    if bool(certificate) != bool(key):
        missing = "client-key" if certificate else "client-certificate"
        raise UnavailableError(f"{user.file}: user {chosen.text('user')!r} has no {missing}")
    if certificate:
        _check_dates(certificate, name)
    if user.content.get("username"):
        raise UnavailableError(
            f"{user.file}: user {chosen.text('user')!r} has a password, which Kubernetes no longer accepts",
            resolution="use a client certificate, a token or an exec plug-in",
        )
    groups = user.content.get("as-groups") or ()
    return Access(
        context=name,
        server=server,
        namespace=chosen.text("namespace") or "default",
        ca=cluster.pem("certificate-authority"),
        certificate=certificate,
        key=key,
        token=_token(user),
        tls_server_name=cluster.text("tls-server-name") or None,
        proxy=cluster.text("proxy-url") or None,
        user=user.text("as") or None,
        groups=tuple(str(group) for group in groups),
    )


def contexts(kubeconfig: str | None) -> list[str]:
    """Return all contexts' names, sorted; none without a kubeconfig. Raises UnavailableError for a broken one."""
    return sorted(_merged(kubeconfig, needed=False).contexts)


def current(kubeconfig: str | None) -> str | None:
    """Return the current context's name, None when there is none. Raises UnavailableError for a broken kubeconfig."""
    return _merged(kubeconfig, needed=False).current


@dataclass(frozen=True, slots=True)
class _Entry:
    """One named entry and the file that it came from."""

    content: Mapping[str, Any]
    file: Path

    def text(self, field_name: str) -> str:
        value = self.content.get(field_name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise UnavailableError(f"{self.file}: {field_name} is not a text")
        return value

    def pem(self, field_name: str) -> bytes | None:
        """Return the content of `X-data`, else of the file that `X` names."""
        data = self.text(f"{field_name}-data")
        if data:
            try:
                return base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                raise UnavailableError(f"{self.file}: {field_name}-data is not base64") from None
        path = self.text(field_name)
        return self.read(path, field_name) if path else None

    def read(self, path: str, field_name: str) -> bytes:
        whole = self.file.parent / path
        try:
            return whole.read_bytes()
        except OSError as error:
            raise UnavailableError(
                f"{self.file}: {field_name} cannot be read: {whole}: {error.strerror}",
                resolution="restore the file, or get a new kubeconfig",
            ) from None


@dataclass(slots=True)
class _Merged:
    files: list[Path]
    current: str | None = None
    clusters: dict[str, _Entry] = field(default_factory=dict)
    contexts: dict[str, _Entry] = field(default_factory=dict)
    users: dict[str, _Entry] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return "the kubeconfig " + " + ".join(str(file) for file in self.files)

    def named(self, section: str, name: str, context: str) -> _Entry:
        entries: dict[str, _Entry] = getattr(self, section)
        if name not in entries:
            raise UnavailableError(
                f"{self.where}: context {context!r} names {_SECTIONS[section]} {name!r}, which is not there"
            )
        return entries[name]


def _merged(kubeconfig: str | None, *, needed: bool = True) -> _Merged:
    given = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    files = list(dict.fromkeys(Path(part).expanduser() for part in given.split(os.pathsep) if part))
    merged = _Merged([])
    for file in files:
        content = _read(file)
        if content is None:
            continue
        merged.files.append(file)
        current_context = content.get("current-context")
        merged.current = merged.current or (str(current_context) if current_context else None)
        for section, singular in _SECTIONS.items():
            _add(getattr(merged, section), content.get(section), singular, file)
    if needed and not merged.files:
        raise UnavailableError(
            "there is no kubeconfig: " + ", ".join(str(file) for file in files) + " does not exist",
            resolution="name one with --kubeconfig or KUBECONFIG; for a cluster on this machine run `gcloud-pk lab up`",
        )
    return merged


def _read(file: Path) -> dict[str, Any] | None:
    import yaml

    try:
        # libyaml reads bytes faster; aliases are references, so that nested ones cost no memory here.
        content = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnavailableError(f"the kubeconfig {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnavailableError(f"the kubeconfig {file} is not valid YAML: {first}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UnavailableError(f"the kubeconfig {file} is not a mapping")
    return content


def _add(entries: dict[str, _Entry], listed: Any, singular: str, file: Path) -> None:
    if listed is None:
        return
    if not isinstance(listed, list):
        raise UnavailableError(f"the kubeconfig {file}: {singular}s is not a list")
    for item in listed:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise UnavailableError(f"the kubeconfig {file}: an entry of {singular}s has no name")
        content = item.get(singular)
        if content is not None and not isinstance(content, dict):
            raise UnavailableError(f"the kubeconfig {file}: {singular} {item['name']!r} is not a mapping")
        entries.setdefault(item["name"], _Entry(content or {}, file))


def _check_server(server: str, cluster: _Entry, context: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(server)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise UnavailableError(f"{cluster.file}: context {context!r}: server {server!r} is not an https:// address")
    if parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise UnavailableError(
            f"{cluster.file}: context {context!r}: server {server} is not encrypted",
            resolution="use the https:// address; plain http is accepted on loopback only (kubectl proxy)",
        )
    if cluster.content.get("insecure-skip-tls-verify"):
        raise UnavailableError(
            f"{cluster.file}: context {context!r} sets insecure-skip-tls-verify; the server could be anybody",
            resolution="give the cluster's certificate-authority instead",
        )


def _check_dates(certificate: bytes, context: str) -> None:
    from cryptography import x509

    try:
        leaf = x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise UnavailableError(f"context {context!r}: the client certificate is not a PEM certificate") from None
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc < now:
        raise UnavailableError(
            f"context {context!r}: the client certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            resolution="get a new one from the cluster's administrator; for a lab run `gcloud-pk lab up` again",
        )
    if leaf.not_valid_before_utc > now:
        raise UnavailableError(
            f"context {context!r}: the client certificate is not valid before "
            f"{leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
            resolution="check this machine's clock",
        )


def _token(user: _Entry) -> str | None:
    # client-go: the file wins, because it is rotated.
    path = user.text("tokenFile")
    if path:
        return user.read(path, "tokenFile").decode("utf-8", "replace").strip()
    return user.text("token") or None


def _exotic(files: list[Path], context: str, server: str, chosen: _Entry, cluster: _Entry) -> Access:
    """Let the official client run the exec plug-in or authentication provider."""
    from importlib import import_module

    try:
        loader: Any = import_module("kubernetes.config.kube_config")
        configuration: Any = import_module("kubernetes.client").Configuration()
    except ImportError:
        raise UnavailableError(
            f"context {context!r} authenticates by an exec plug-in or a provider, which needs the Kubernetes client",
            resolution="install it: uv tool install 'gcloud-pk[auth]' (or pip install 'gcloud-pk[auth]')",
        ) from None
    try:
        loader.load_kube_config(
            config_file=os.pathsep.join(str(file) for file in files),
            context=context,
            client_configuration=configuration,
        )
        # Its name inside api_key has changed between releases of the client; this has not.
        token = configuration.auth_settings().get("BearerToken", {}).get("value")
        certificate = Path(configuration.cert_file).read_bytes() if configuration.cert_file else None
        key = Path(configuration.key_file).read_bytes() if configuration.key_file else None
    except Exception as error:
        # The plug-in is a program of the user's: whatever it does wrong is an expected error.
        raise UnavailableError(f"context {context!r}: authentication failed: {error}") from error
    if not token and not certificate:
        raise UnavailableError(
            f"context {context!r}: the authentication plug-in gave neither a token nor a certificate",
            resolution="run the plug-in's command by hand (see `exec` in the kubeconfig) and look at what it says",
        )
    return Access(
        context=context,
        server=server,
        namespace=chosen.text("namespace") or "default",
        ca=cluster.pem("certificate-authority"),
        certificate=certificate,
        key=key,
        token=token.removeprefix("Bearer ") if token else None,
        tls_server_name=cluster.text("tls-server-name") or None,
        proxy=cluster.text("proxy-url") or None,
    )


def _listed(entries: Mapping[str, Any]) -> str:
    return ", ".join(sorted(entries)) or "none"
