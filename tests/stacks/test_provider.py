"""The provider's parts without an engine: values, differences, inputs, batches, versions."""

from __future__ import annotations

import base64
import datetime as dt
import threading
import time
from collections.abc import Hashable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from tests.stacks.engine import site

from gcloud_pk.errors import UnavailableError
from gcloud_pk.stack.provider import batch as batch_module
from gcloud_pk.stack.provider import difference, values
from gcloud_pk.stack.provider.batch import Batch, Flow, StoppedError
from gcloud_pk.stack.provider.resources import KINDS, step_refusal

_JSON = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.dictionaries(st.text(min_size=1, max_size=8), _JSON, max_size=5)


@given(_FIELDS)
def test_values_come_back_as_they_went(fields: dict[str, Any]) -> None:
    assert values.read(values.write(fields)) == fields


def test_a_secret_goes_marked_and_comes_back_as_its_value() -> None:
    message = values.write({"kubeconfigs": values.Secret({"admin": "key"})})

    assert "1b47061264138c4ac30d75fd1eb44270" in str(message)
    assert values.read(message) == {"kubeconfigs": {"admin": "key"}}
    assert "key" not in repr(values.Secret("key"))


def test_what_is_not_known_yet_is_no_text() -> None:
    message = values.write({"node": values.UNKNOWN, "list": ["a", values.UNKNOWN]})
    found = values.read(message)

    assert found["node"] == values.UNKNOWN
    assert not values.known(found["list"])
    assert values.known({"a": ["b", 1, None]})


@given(_FIELDS)
def test_nothing_differs_from_itself(fields: dict[str, Any]) -> None:
    assert difference.changes(fields, fields) == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 2}, {"a": "update"}),
        ({}, {"a": 2}, {"a": "add"}),
        ({"a": 1}, {}, {"a": "delete"}),
        ({"a": None}, {}, {}),
        ({"k": {"x": 1, "y": 1}}, {"k": {"x": 1, "y": 2}}, {"k.y": "update"}),
        ({"k": {}}, {"k": {"maxPods": 90}}, {"k.maxPods": "add"}),
        ({"l": [1, 2]}, {"l": [2, 1]}, {"l": "update"}),
        ({"k": {"x": 1}}, {"k": "x"}, {"k": "update"}),
    ],
)
def test_a_difference_names_the_path(old: dict[str, Any], new: dict[str, Any], expected: dict[str, str]) -> None:
    assert difference.changes(old, new) == expected


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("1.36.3", "1.36.3", None),
        ("1.36.3", "1.36.9", None),
        ("1.36.3", "1.37.0", None),
        ("1.36.3", "1.38.0", "to 1.37 first"),
        ("1.36.3", "1.36.2", "does not go back to 1.36.2"),
        ("1.36.3", "2.0.0", "to 1.37 first"),
        ("", "1.36.3", None),
    ],
)
def test_kubernetes_goes_up_one_minor_version_at_a_time(old: str, new: str, words: str | None) -> None:
    found = step_refusal(old, new)

    assert (found is None) == (words is None)
    assert words is None or words in (found or "")


_MACHINE = {"site": "isb-1", "name": "c1", "address": "10.0.0.1", "hostKeys": ["ssh-ed25519 AAAA"], "machines": "ssh"}


@pytest.mark.parametrize(
    ("changed", "another"),
    [
        ({"address": "10.0.0.2"}, True),
        ({"hostKeys": ["ssh-ed25519 BBBB"]}, True),
        ({"hostKeys": ["ssh-ed25519 AAAA", "ssh-rsa BBBB"]}, False),
        ({"machines": "redfish"}, True),
        ({"rack": "rack-2"}, False),
        ({"machineClass": "large"}, False),
    ],
)
def test_a_machine_is_another_one_by_its_address_its_provider_or_all_of_its_keys(
    changed: dict[str, Any], another: bool
) -> None:
    new = {**_MACHINE, **changed}

    assert any(KINDS["Machine"].replaces(path, _MACHINE, new) for path in difference.changes(_MACHINE, new)) == another


def test_a_control_plane_is_never_replaced() -> None:
    old = {"site": "a", "cluster": "b", "version": "1.36.3", "endpoint": "x", "networks": {"pods": "y"}}
    new = {**old, "endpoint": "z", "networks": {"pods": "q"}, "version": "1.35.0"}

    assert not any(KINDS["ControlPlane"].replaces(path, old, new) for path in new)
    assert [name for name, _ in KINDS["ControlPlane"].forbidden(old, new)] == ["networks", "endpoint", "version"]


def _batch(act: Any, **more: Any) -> tuple[Batch[str, str], Flow]:
    flow = Flow(quiet=0.1)
    return Batch(flow, act, **more), flow


def _submit(batch: Batch[str, str], *keys: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def submit(key: str) -> None:
        try:
            found[key] = batch.submit(key, key.upper())
        except Exception as error:  # noqa: BLE001 - looked at by the test
            found[key] = error

    threads = [threading.Thread(target=submit, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    return found


def test_calls_that_come_together_are_one_and_each_gets_its_own_result() -> None:
    acts: list[list[str]] = []

    def act(items: Mapping[Hashable, str]) -> Mapping[Hashable, str]:
        acts.append(sorted(items.values()))
        return {key: f"{item}!" for key, item in items.items()}

    batch, _ = _batch(act)

    assert _submit(batch, "a", "b", "c") == {"a": "A!", "b": "B!", "c": "C!"}
    assert acts == [["A", "B", "C"]]
    assert _submit(batch, "d") == {"d": "D!"}


def test_an_error_of_a_batch_reaches_everybody_in_it() -> None:
    def act(items: Mapping[Hashable, str]) -> Mapping[Hashable, str]:
        raise UnavailableError("Ansible did not begin")

    batch, _ = _batch(act)
    found = _submit(batch, "a", "b")

    assert {type(one) for one in found.values()} == {UnavailableError}


def test_a_batch_waits_for_those_who_are_expected_and_for_nobody_else() -> None:
    acts: list[list[str]] = []

    def act(items: Mapping[Hashable, str]) -> Mapping[Hashable, str]:
        acts.append(sorted(items.values()))
        return dict(items)

    batch, _ = _batch(act, missing=lambda items: len(items) < 3)
    late = threading.Timer(0.6, batch.submit, ("c", "C"))
    late.start()
    start = time.monotonic()
    _submit(batch, "a", "b")
    late.join(5)

    assert acts == [["A", "B", "C"]]
    assert time.monotonic() - start > 0.5


def test_who_is_expected_and_does_not_come_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "FORBEARANCE", 0.3)
    monkeypatch.setattr(batch_module, "LONGEST", 120)
    began: list[float] = []

    def act(items: Mapping[Hashable, str]) -> Mapping[Hashable, str]:
        began.append(time.monotonic())
        return dict(items)

    batch, flow = _batch(act, missing=lambda _: True, after=("Machine",))
    start = time.monotonic()
    _submit(batch, "a")
    flow.enter("Machine")
    monkeypatch.setattr(batch_module, "LONGEST", 0.8)
    again = time.monotonic()
    _submit(batch, "b")

    assert 0.3 <= began[0] - start < 60
    assert began[1] - again >= 0.8


def test_a_patient_batch_waits_as_long_as_something_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "FORBEARANCE", 0.1)
    monkeypatch.setattr(batch_module, "LONGEST", 0.1)
    began: list[float] = []

    def act(items: Mapping[Hashable, str]) -> Mapping[Hashable, str]:
        began.append(time.monotonic())
        return dict(items)

    batch, flow = _batch(act, missing=lambda _: True, after=("Member",), patient=True)
    flow.enter("Member")
    threading.Timer(0.7, flow.leave, ["Member"]).start()
    start = time.monotonic()
    _submit(batch, "a")

    assert began[0] - start >= 0.7


def test_two_batches_of_a_site_are_never_at_work_at_once() -> None:
    active, most = [0], [0]

    def act(items: Mapping[Hashable, str]) -> Mapping[Hashable, str]:
        active[0] += 1
        most[0] = max(most[0], active[0])
        time.sleep(0.1)
        active[0] -= 1
        return dict(items)

    flow = Flow(quiet=0.02)
    batches = [Batch(flow, act) for _ in range(3)]
    threads = [threading.Thread(target=batch.submit, args=("a", "A")) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert most == [1]


def test_after_a_stop_nothing_begins() -> None:
    acts: list[object] = []

    def act(items: Mapping[Hashable, str]) -> Mapping[Hashable, str]:
        acts.append(items)
        return dict(items)

    batch, flow = _batch(act)
    flow.halt.set()
    found = _submit(batch, "a")

    assert isinstance(found["a"], StoppedError)
    assert acts == []


@pytest.mark.parametrize(("days", "due"), [(89, False), (29, True), (-1, True)])
def test_a_look_at_the_cluster_finds_credentials_that_will_not_last(days: int, due: bool) -> None:
    # Nothing in the site file changes when they expire: no plain `up` would make them anew.
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gcloud-pk:admin")])
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    whole = builder.serial_number(1).not_valid_before(ends - dt.timedelta(days=90)).not_valid_after(ends)
    pem = whole.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    text = f"users:\n- user:\n    client-certificate-data: {base64.b64encode(pem).decode()}\n"
    seen = SimpleNamespace(uid="u")
    said: list[str] = []
    ground: Any = SimpleNamespace(
        observe=lambda _: seen, cluster=lambda _: site().spec.clusters[0], log=lambda *words: said.append(words[1])
    )
    inputs = {"cluster": "lab-dc-a", "roles": "digest"}

    found = KINDS["ControlPlane"].read(ground, "urn", inputs, {**inputs, "uid": "u", "kubeconfigs": {"admin": text}})

    assert found is not None
    assert (found[0]["roles"] != "digest") == due
    assert isinstance(found[1]["kubeconfigs"], values.Secret)
    assert bool(said) == due
