"""Kubeconfig files: merged as kubectl does; everything that can be wrong with them has words."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tests.unit.cluster_server import certificate

from gcloud_pk.cluster.kubeconfig import contexts, current, load
from gcloud_pk.errors import ExitCode, UnavailableError


def config(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"} | changes.get("cluster", {})}],
        "users": [{"name": "u", "user": changes.get("user", {"token": "t"})}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"} | changes.get("context", {})},
            {"name": "two", "context": {"cluster": "c", "user": "u"}},
        ],
        "current-context": "one",
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: Any, name: str = "config") -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


def test_the_current_context_is_the_default(write: Any) -> None:
    access = load(write(config(context={"namespace": "n"})), None)
    assert (access.context, access.server, access.token, access.namespace) == ("one", "https://10.0.0.1:6443", "t", "n")


def test_another_context_can_be_named(write: Any) -> None:
    assert load(write(config()), "two").context == "two"


def test_contexts_and_the_current_one_are_listed(write: Any) -> None:
    path = write(config())
    assert contexts(path) == ["one", "two"]
    assert current(path) == "one"


def test_without_a_kubeconfig_there_are_no_contexts(tmp_path: Path) -> None:
    assert contexts(str(tmp_path / "none")) == []
    assert current(str(tmp_path / "none")) is None


def test_of_several_files_the_first_to_say_something_wins(write: Any) -> None:
    first = write(
        {"users": [{"name": "u", "user": {"token": "first"}}], "contexts": None, "current-context": "two"}, "first"
    )
    second = write(config(), "second")
    access = load(os.pathsep.join([first, "/nowhere/at/all", second]), None)
    assert (access.context, access.token) == ("two", "first")


def test_kubeconfig_of_the_environment_is_used(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", write(config()))
    assert load(None, None).context == "one"


def test_the_home_folders_kubeconfig_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(yaml.safe_dump(config()))
    assert load(None, None).context == "one"


def test_paths_are_relative_to_the_file_that_holds_them(write: Any, tmp_path: Path) -> None:
    pair = certificate()
    (tmp_path / "c.crt").write_bytes(pair.certificate)
    (tmp_path / "c.key").write_bytes(pair.key)
    path = write(config(
        cluster={"certificate-authority": "c.crt"}, user={"client-certificate": "c.crt", "client-key": "c.key"}
    ))  # fmt: skip
    access = load(path, None)
    assert (access.ca, access.certificate, access.key) == (pair.certificate, pair.certificate, pair.key)


def test_embedded_data_wins_over_paths(write: Any) -> None:
    data = base64.b64encode(b"PEM").decode()
    path = write(config(cluster={"certificate-authority": "nowhere", "certificate-authority-data": data}))
    assert load(path, None).ca == b"PEM"


def test_a_token_file_wins_over_a_token_because_it_is_rotated(write: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("fresh\n")
    assert load(write(config(user={"token": "stale", "tokenFile": "token"})), None).token == "fresh"


def test_impersonation_of_the_kubeconfig_is_kept(write: Any) -> None:
    access = load(write(config(user={"token": "t", "as": "ali", "as-groups": ["g"]})), None)
    assert (access.user, access.groups) == ("ali", ("g",))


def test_secrets_are_not_in_the_representation(write: Any) -> None:
    assert "hunter2" not in repr(load(write(config(user={"token": "hunter2"})), None))


def expired() -> str:
    return base64.b64encode(certificate(days=(-3, -1)).certificate).decode()


def future() -> str:
    return base64.b64encode(certificate(days=(1, 2)).certificate).decode()


KEY = base64.b64encode(b"k").decode()

WRONG: dict[str, tuple[Any, str | None, str]] = {
    "no such context": (config(), "three", "has no context 'three'"),
    "no current context": (config() | {"current-context": ""}, None, "no context is chosen"),
    "the cluster is not there": (config() | {"clusters": []}, None, "names cluster 'c', which is not there"),
    "the user is not there": (config() | {"users": []}, None, "names user 'u', which is not there"),
    "not yaml": ("a: [", None, "is not valid YAML"),
    "not utf-8": ("\x80", None, "is not valid YAML"),
    "not a mapping": ("[1]", None, "is not a mapping"),
    "clusters are no list": (config() | {"clusters": {"a": 1}}, None, "clusters is not a list"),
    "an entry without a name": (config() | {"users": [{"user": {}}]}, None, "an entry of users has no name"),
    "a user that is no mapping": (
        config() | {"users": [{"name": "u", "user": "x"}]}, None, "user 'u' is not a mapping"),
    "a token that is no text": (config(user={"token": 5}), None, "token is not a text"),
    "no server": (config(cluster={"server": ""}), None, "is not an https:// address"),
    "a server of another kind": (config(cluster={"server": "ftp://x"}), None, "is not an https:// address"),
    "a port that is no number": (config(cluster={"server": "https://x:y"}), None, "is not an https:// address"),
    "a server without encryption": (config(cluster={"server": "http://10.0.0.1"}), None, "is not encrypted"),
    "no verification": (config(cluster={"insecure-skip-tls-verify": True}), None, "insecure-skip-tls-verify"),
    "an authority that is not there": (
        config(cluster={"certificate-authority": "gone.crt"}), None, "certificate-authority cannot be read"),
    "data that is no base64": (
        config(cluster={"certificate-authority-data": "%%%"}), None, "certificate-authority-data is not base64"),
    "a certificate without a key": (config(user={"client-certificate-data": KEY}), None, "has no client-key"),
    "a certificate that is none": (
        config(user={"client-certificate-data": KEY, "client-key-data": KEY}), None, "is not a PEM certificate"),
    "an expired certificate": (
        config(user={"client-certificate-data": expired(), "client-key-data": KEY}), None, "expired on 20"),
    "a certificate of the future": (
        config(user={"client-certificate-data": future(), "client-key-data": KEY}), None, "is not valid before 20"),
    "a password": (config(user={"username": "u", "password": "p"}), None, "has a password"),
    "a token file that is not there": (config(user={"tokenFile": "gone"}), None, "tokenFile cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case: str, write: Any) -> None:
    content, context, words = WRONG[case]
    with pytest.raises(UnavailableError) as caught:
        load(write(content), context)
    assert words in caught.value.message
    assert caught.value.code == ExitCode.UNAVAILABLE


def test_a_missing_kubeconfig_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no kubeconfig") as caught:
        load(str(tmp_path / "none"), None)
    assert str(tmp_path / "none") in caught.value.message
    assert "gcloud-pk lab up" in str(caught.value.resolution)


def test_the_contexts_that_there_are_are_named(write: Any) -> None:
    with pytest.raises(UnavailableError) as caught:
        load(write(config()), "three")
    assert "one, two" in str(caught.value.resolution)


def test_a_folder_is_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be read"):
        load(str(tmp_path), None)


PLUGIN = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "login"}}


def test_an_exec_plugin_without_the_client_says_how_to_install_it(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    monkeypatch.setitem(sys.modules, "kubernetes.config", None)
    monkeypatch.setitem(sys.modules, "kubernetes.config.kube_config", None)
    with pytest.raises(UnavailableError) as caught:
        load(write(config(user=PLUGIN)), None)
    assert "gcloud-pk[auth]" in str(caught.value.resolution)


class FakeConfiguration:
    token: str | None = None
    cert_file = key_file = None

    def auth_settings(self) -> dict[str, Any]:
        return {"BearerToken": {"in": "header", "value": self.token}} if self.token else {}


def fake_client(monkeypatch: pytest.MonkeyPatch, load_kube_config: Any) -> None:
    modules = {
        "kubernetes": SimpleNamespace(),
        "kubernetes.config": SimpleNamespace(),
        "kubernetes.config.kube_config": SimpleNamespace(load_kube_config=load_kube_config),
        "kubernetes.client": SimpleNamespace(Configuration=FakeConfiguration),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_the_token_of_an_exec_plugin_is_used(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def login(*, config_file: str, context: str, client_configuration: Any) -> None:
        client_configuration.token = f"Bearer for-{context}"

    fake_client(monkeypatch, login)
    assert load(write(config(user=PLUGIN)), None).token == "for-one"


def test_a_plugin_that_fails_or_gives_nothing_is_an_expected_error(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_: Any) -> None:
        raise RuntimeError("login: not found")

    fake_client(monkeypatch, failing)
    with pytest.raises(UnavailableError, match="authentication failed: login: not found"):
        load(write(config(user=PLUGIN)), None)
    fake_client(monkeypatch, lambda **_: None)
    with pytest.raises(UnavailableError, match="neither a token nor a certificate"):
        load(write(config(user=PLUGIN)), None)
