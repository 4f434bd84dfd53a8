"""Snapshots as the command line reads them, and what it refuses; no etcd, no node."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from gcloud_pk.errors import GcloudPkError, InvalidInputError, RefusedError, UnavailableError
from gcloud_pk.model.site import Site
from gcloud_pk.stack.recovery import opening, shelf, snapshot
from gcloud_pk.stack.recovery.doors import Door, NodeError, backup_program, restore_program
from gcloud_pk.stack.recovery.ground import Ground
from gcloud_pk.stack.recovery.judging import LEASED, compared
from gcloud_pk.stack.recovery.node_steps import Failed, Node
from gcloud_pk.stack.recovery.relay import relayed
from gcloud_pk.stack.recovery.restoring import Restoring
from gcloud_pk.stack.recovery.snapshot import BrokenError

DIGEST = "0" * 64
PLAIN = {"sha256": DIGEST, "bytes": 1}
SEALED = {"sha256": DIGEST, "bytes": 2, "plain": PLAIN}
MANIFEST: dict[str, Any] = {
    "format": snapshot.FORMAT,
    "site": "isb-1",
    "cluster": "isb-1-a",
    "uid": "u",
    "node": "c1",
    "taken": "2026-11-22T12:00:00Z",
    "revision": 7,
    "objects": {"pods": 2},
    "snapshot": {"sha256": DIGEST, "bytes": 1, "hash": 1},
    "versions": {"etcd": "3.7.0"},
    "recipients": [DIGEST],
    "files": {"etcd-000.cms": SEALED, "keys.cms": SEALED},
}


def a_manifest(folder: Path, **changes: Any) -> Path:
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, **changes}))
    return folder


def test_a_manifest_is_read(tmp_path: Path) -> None:
    found = snapshot.read(a_manifest(tmp_path))
    assert (found.revision, found.total, found.taken.hour) == (7, 2, 12)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "gcloud-pk-backup/2"},
        {"revision": "7"},
        {"revision": True},
        {"revision": -1},
        {"taken": "2026-11-22T12:00:00"},
        {"taken": "yesterday"},
        {"objects": {"pods": None}},
        {"objects": []},
        {"snapshot": {"sha256": "x", "bytes": 1}},
        {"recipients": ["../../etc/passwd"]},
        {"files": {}},
        {"files": {"keys.cms": SEALED}},
        {"files": {"etcd-001.cms": SEALED, "keys.cms": SEALED}},
        {"files": {"etcd-000.cms": SEALED, "keys.cms": SEALED, "../../root/.profile": SEALED}},
        {"files": {"etcd-000.cms": {}, "keys.cms": SEALED}},
    ],
    ids=str,
)
def test_a_manifest_that_is_none_is_refused_in_words(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="is no manifest of a snapshot"):
        snapshot.read(a_manifest(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "[]", "null", "{ torn", '"a text"', "\udcff"])
def test_a_manifest_that_is_torn_is_refused_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RefusedError):
        snapshot.read(tmp_path)


def test_a_folder_that_is_not_there_and_one_without_a_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="there is no snapshot"):
        snapshot.read(tmp_path / "nothing")
    with pytest.raises(UnavailableError, match=r"manifest\.json cannot be read"):
        snapshot.read(tmp_path)


def test_digests_name_each_file_once_and_no_other(tmp_path: Path) -> None:
    found = snapshot.read(a_manifest(tmp_path))
    for text in ("", f"{DIGEST}  manifest.json\n", f"{DIGEST}  ../x\n", f"{DIGEST}  keys.cms\n" * 2, "nonsense\n"):
        (tmp_path / "SHA256SUMS").write_text(text)
        with pytest.raises(BrokenError):
            snapshot.check_whole(found)


def test_signers_are_read_from_allowed_signers_and_from_public_keys() -> None:
    lines = ["# nodes", "", 'c1 namespaces="gcloud-pk-backup" ssh-ed25519 AAAA', "ssh-ed25519 BBBB root@c2", "words"]
    assert snapshot.signers_of(lines) == {"ssh-ed25519 AAAA": "c1", "ssh-ed25519 BBBB": "root@c2"}


def test_counts_that_differ_are_named_and_what_ended_by_itself_is_not_missed() -> None:
    assert compared({"pods": 2}, {"pods": 2}) == "2 objects of 1 resources"
    with pytest.raises(BrokenError, match="pods: 1 instead of 2; secrets: 3 instead of 0"):
        compared({"pods": 2}, {"pods": 1, "secrets": 3})
    compared({"pods": 2, "events": 9}, {"pods": 2, "events": 1}, LEASED)
    with pytest.raises(BrokenError, match="events: 10 instead of 9"):
        compared({"events": 9}, {"events": 10}, LEASED)


ENCRYPTION = b"""
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - secretbox: {keys: [{name: second, secret: x}, {name: first, secret: y}]}
      - kms: {apiVersion: v2, name: vault}
      - identity: {}
"""


def test_what_secrets_can_be_read_by_is_read_from_the_configuration() -> None:
    assert opening.encrypting(ENCRYPTION) == {"secretbox:v1:second", "secretbox:v1:first", "kms:v2:vault"}
    with pytest.raises(BrokenError):
        opening.encrypting(b"[]")


def test_keys_that_are_missing_are_named() -> None:
    with pytest.raises(BrokenError, match=r"the keys lack .*pki/ca\.key"):
        opening.check_keys({}, {})


SITE: dict[str, Any] = {
    "apiVersion": "gcloud.gov.pk/v1alpha1",
    "kind": "Site",
    "metadata": {"name": "isb-1"},
    "spec": {
        "operator": "NTC",
        "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
        "admits": ["open"],
        "clusters": [{"name": "isb-1-a"}],
    },
}


def test_a_site_without_recipients_is_told_where_they_are_named() -> None:
    site = Site.model_validate(SITE)
    with pytest.raises(InvalidInputError, match="nobody could open a snapshot") as caught:
        shelf.check_recipients(site, site.spec.clusters[0])
    assert caught.value.details[0].field == "spec.clusters[0].backup.recipients"


def here(**more: Any) -> Door:
    return Door("n1", "127.0.0.1", ("sh", "-c"), "", **more)


PROGRAM = b"import sys,json\norder=json.loads(sys.stdin.buffer.readline())\n"


def test_a_program_gets_its_order_and_data_and_its_answer_comes_back() -> None:
    def give(stream: IO[bytes]) -> None:
        stream.write(b"much data")

    text = PROGRAM + b"print(json.dumps({'order': order, 'data': sys.stdin.buffer.read().decode()}))\n"
    said = here().ask(text, {"act": "x"}, give=give)
    assert said == {"order": {"act": "x"}, "data": "much data"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"print('no json')", "answers with something else"),
        (b"print('[]')", "answers with something else"),
        (b"sys.exit(1)", "exit code 1"),
        (b"print(json.dumps({'error': 'no room', 'kind': 'full'}), file=sys.stderr); sys.exit(3)", "no room"),
        (b"raise ValueError('a defect over there')", "a defect over there"),
    ],
)
def test_what_a_node_does_not_do_is_said_with_its_name(text: bytes, words: str) -> None:
    with pytest.raises(NodeError, match=words) as caught:
        here().ask(PROGRAM + text, {})
    assert str(caught.value).startswith("n1: ")


def test_a_node_that_never_answers_is_left() -> None:
    with pytest.raises(NodeError):
        here().ask(PROGRAM + b"import time; time.sleep(60)", {}, seconds=0.5)


def test_what_nodes_list_is_not_believed() -> None:
    with pytest.raises(NodeError, match="something else"):
        shelf._checked({"snapshots": [{"name": 1}]}, "n1")
    said = {
        "folder": "f",
        "snapshots": [{"name": "../x", "taken": "", "revision": 1, "uid": "", "bytes": 1}],
        "strange": [],
    }
    assert shelf._checked(said, "n1")["snapshots"] == []


def test_no_snapshot_of_the_cluster_is_an_answer_in_words(tmp_path: Path) -> None:
    site = Site.model_validate(SITE)
    with pytest.raises(UnavailableError, match="keeps no snapshot of cluster isb-1-a"):
        shelf.newest(site.spec.clusters[0], shelf.listed_here(tmp_path), str(tmp_path))
    with pytest.raises(UnavailableError, match="there is no folder"):
        shelf.listed_here(tmp_path / "nothing")


def test_a_folder_that_cannot_take_a_snapshot_keeps_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    site = Site.model_validate(SITE)
    for error in (
        failure(lambda: shelf.bring(here(), site.spec.clusters[0], "n", tmp_path / "file/shelf", {})),
        failure(lambda: shelf.fetch(here(), "20261122T120000Z-r000000000001", tmp_path)),
    ):
        assert isinstance(error, UnavailableError)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def failure(act: Callable[[], object]) -> GcloudPkError:
    with pytest.raises(GcloudPkError) as caught:
        act()
    return caught.value


def order(root: Path, **more: Any) -> dict[str, Any]:
    ports = {"etcd": free_port(), "peer": 1, "api": free_port()}
    return {
        "id": "one",
        "node": "n1",
        "address": "127.0.0.1",
        "kubernetes": str(root / "kubernetes"),
        "data": str(root / "etcd/data"),
        "etcd": {},
        "ports": ports,
        "firewall": False,
        "bump": 1,
        "members": {"n1": "https://127.0.0.1:1"},
        "snapshot": {"name": "s", "sha256": DIGEST},
        **more,
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def a_node(tmp_path: Path, **more: Any) -> Node:
    (tmp_path / "kubernetes/manifests").mkdir(parents=True)
    (tmp_path / "etcd/data").mkdir(parents=True)
    for name in ("etcd", "kube-apiserver", "kube-scheduler"):
        (tmp_path / f"kubernetes/manifests/{name}.yaml").write_text(name)
    return Node(order(tmp_path, **more))


def test_manifests_go_aside_and_come_back_step_by_step_and_again(tmp_path: Path) -> None:
    node = a_node(tmp_path)
    for _ in range(2):
        node.stop()
        assert list(node.manifests.iterdir()) == []
    with pytest.raises(Failed, match="were not replaced"):
        node.start("etcd", ("etcd",))
    node.noted("replaced")
    for _ in range(2):
        node.start("etcd", ("etcd",))
        assert [path.name for path in node.manifests.iterdir()] == ["etcd.yaml"]
    node.start("servers", ("kube-apiserver", "kube-controller-manager", "kube-scheduler"))
    assert {path.stem for path in node.manifests.iterdir()} == {"etcd", "kube-apiserver", "kube-scheduler"}
    node.open()
    assert node.state == {}
    node.open()


def test_data_are_never_replaced_where_etcd_was_not_stopped(tmp_path: Path) -> None:
    node = a_node(tmp_path)
    with pytest.raises(Failed, match="was not stopped"):
        node.replace()
    assert node.data.is_dir()


def test_a_server_that_does_not_stop_is_waited_for_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = a_node(tmp_path)
    moments = iter([0.0, 1000.0])
    monkeypatch.setattr("gcloud_pk.stack.recovery.node_steps.time.monotonic", lambda: next(moments))
    with socket.create_server(("127.0.0.1", node.ports["api"])), pytest.raises(Failed, match="still takes connections"):
        node.stop()
    assert not node.done("stopped")


def test_what_comes_in_is_what_was_announced(tmp_path: Path) -> None:
    node = a_node(tmp_path, files={"snapshot.db": DIGEST}, bytes=1)
    node.store.mkdir()
    parts = iter([b"something else", b""])
    with pytest.raises(Failed, match="another digest"):
        node._take("snapshot.db", lambda _: next(parts), DIGEST)


def seeded(tmp_path: Path) -> Path:
    """Send keys to a node by the command line's own way; return its folder."""
    folder = tmp_path / "kubernetes"
    door = here(ground=Ground(kubernetes=str(folder)))
    keys = {"pki/ca.key": b"key", opening.ENCRYPTION: b"words", "gcloud-pk/kubeadm.yaml": b"of the old one"}
    manifests = tmp_path / "snapshot"
    manifests.mkdir(exist_ok=True)
    assert Restoring([door], snapshot.read(a_manifest(manifests)), print).seed(keys) == "n1"
    return folder


def test_the_keys_of_a_lost_cluster_come_to_a_new_machine_private_and_again(tmp_path: Path) -> None:
    for _ in range(2):
        folder = seeded(tmp_path)
    assert (folder / "pki/ca.key").read_bytes() == b"key"
    assert (folder / opening.ENCRYPTION).stat().st_mode & 0o077 == 0
    assert not (folder / "gcloud-pk/kubeadm.yaml").exists()


@pytest.mark.parametrize("trace", ["admin.conf", "manifests/etcd.yaml", "gcloud-pk/member.json"])
def test_keys_never_come_to_a_machine_that_carries_a_cluster(tmp_path: Path, trace: str) -> None:
    file = tmp_path / "kubernetes" / trace
    file.parent.mkdir(parents=True)
    file.write_text("of a cluster")
    with pytest.raises(UnavailableError, match="not put in place"):
        seeded(tmp_path)
    assert not (tmp_path / "kubernetes/pki").exists()


def test_keys_of_another_cluster_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "kubernetes/pki").mkdir(parents=True)
    (tmp_path / "kubernetes/pki/ca.key").write_bytes(b"another")
    with pytest.raises(UnavailableError):
        seeded(tmp_path)
    assert (tmp_path / "kubernetes/pki/ca.key").read_bytes() == b"another"


def test_a_new_restore_does_not_go_on_with_anothers(tmp_path: Path) -> None:
    node = a_node(tmp_path, files={}, bytes=1)
    node.noted("received")
    other = Node({**node.order, "id": "two"})
    assert not other.done("received")
    with pytest.raises(Failed, match="another restore is under way"):
        other.receive()


def test_a_dead_control_plane_keeps_a_restore_from_beginning(tmp_path: Path) -> None:
    dead = Door("n2", "127.0.0.1", ("false",), "")
    found = snapshot.read(a_manifest(tmp_path))
    with pytest.raises(UnavailableError, match="nothing was touched") as caught:
        Restoring([dead], found, print).look()
    assert "n2: " in str(caught.value.details[0])


@contextmanager
def an_echo() -> Any:
    """Answer what comes, in capitals, on a port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data.upper())

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])


def test_connections_go_through_the_session_side_by_side_and_end(tmp_path: Path) -> None:
    with an_echo() as port:
        door = here(ground=Ground(ports={"etcd": 1, "peer": 1, "api": port}))
        asked = Restoring([door], snapshot.read(a_manifest(tmp_path)), print).order(door, "relay")
        with relayed(door, asked) as way:
            first = socket.create_connection(("127.0.0.1", way), timeout=10)
            second = socket.create_connection(("127.0.0.1", way), timeout=10)
            large = b"x" * 1_000_000
            sender = threading.Thread(target=second.sendall, args=(large,))
            sender.start()
            first.sendall(b"words")
            assert first.recv(100) == b"WORDS"
            got = bytearray()
            while len(got) < len(large):
                got += second.recv(65536)
            sender.join()
            assert bytes(got) == large.upper()
            first.close()
            second.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", way), timeout=1).recv(1)


def test_a_server_that_is_silent_ends_the_connection_and_not_the_session(tmp_path: Path) -> None:
    door = here(ground=Ground(ports={"etcd": 1, "peer": 1, "api": free_port()}))
    asked = Restoring([door], snapshot.read(a_manifest(tmp_path)), print).order(door, "relay")
    with relayed(door, asked) as way:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", way), timeout=10) as one:
                one.sendall(b"words")
                assert one.recv(10) == b""


def test_programs_for_nodes_need_nothing_but_python(tmp_path: Path) -> None:
    for text in (backup_program(), restore_program()):
        file = tmp_path / "program.py"
        file.write_bytes(text)
        done = subprocess.run([sys.executable, "-I", "-S", "-c", f"compile(open({str(file)!r}).read(), 'x', 'exec')"])
        assert done.returncode == 0
        assert b"gcloud_pk." not in text.replace(b"`gcloud_pk.", b"")


def test_certificates_are_known_by_their_fingerprint_of_sha_256() -> None:
    from tests.unit.backup_program import program

    body = base64.b64encode(b"certificate").decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
    assert program.fingerprint(pem) == hashlib.sha256(b"certificate").hexdigest()
