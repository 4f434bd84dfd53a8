"""What a data centre is made of, judged by others: programs run, images are pulled by a client that is not ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from gcloud_pk.console import Console
from gcloud_pk.lab.datacenter import registry_server
from gcloud_pk.lab.nodes import image, network
from gcloud_pk.lab.nodes.layout import DATACENTER, GATEWAY, Layout
from gcloud_pk.lab.processes import Process
from gcloud_pk.programs import images, pins, sourcing
from gcloud_pk.programs.images import Images
from gcloud_pk.programs.sourcing import Program, Wish

ADDRESS = f"{GATEWAY}:{registry_server.PORT}"


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    """The data centre's programs, from the cache; nothing is built for these tests."""
    search = sourcing.look(pins.load("datacenter"), Wish(offline=True))
    if search.missing:
        names = ", ".join(pin.name for pin in search.missing)
        pytest.skip(f"not in the cache: {names}; `gcloud-pk lab datacenter up` brings them")
    return search.found


def probe(programs: dict[str, Program], *words: str) -> tuple[int, dict[str, object]]:
    done = subprocess.run([programs["probe"].path, *words], capture_output=True, text=True, timeout=20)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


@pytest.fixture
def server(programs: dict[str, Program]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(programs["probe"].path), "serve", "--port", str(port), "--name", "here"]
    with subprocess.Popen(command) as running:
        while probe(programs, "tcp", f"127.0.0.1:{port}")[0]:
            assert running.poll() is None
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
        running.terminate()
        assert running.wait(5) == 0  # it ends in order, as the first process of a container must


def test_every_program_says_the_version_that_is_pinned(programs: dict[str, Program]) -> None:
    pinned = pins.load("datacenter").programs
    said = {name: sourcing.said_version(program.path, pinned[name]) for name, program in programs.items()}
    assert said == {name: pin.version for name, pin in pinned.items()}


def test_a_probe_that_is_answered_says_by_whom(programs: dict[str, Program], server: str) -> None:
    code, said = probe(programs, "get", f"http://{server}/")
    assert (code, said["outcome"], said["answer"], said["status"]) == (0, "answered", "here", 200)
    code, said = probe(programs, "udp", server)
    assert (code, said["answer"]) == (0, "here")
    code, said = probe(programs, "dns", "localhost")
    assert code == 0
    assert said["addresses"]


def test_a_probe_tells_a_refusal_from_silence_and_from_a_name_that_is_not_known(programs: dict[str, Program]) -> None:
    with ExitStack() as held:
        silent = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagrams = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as gone:
            nobody = f"127.0.0.1:{gone.getsockname()[1]}"
        quick = ("--timeout", "200ms")
        found = {
            words[0]: probe(programs, *words)[0]
            for words in (
                ("tcp", nobody),
                ("udp", f"127.0.0.1:{datagrams.getsockname()[1]}", *quick),
                ("get", f"http://127.0.0.1:{silent.getsockname()[1]}/", *quick),
                ("dns", "no-such-name.invalid"),
            )
        }
        assert found == {"tcp": 10, "udp": 11, "get": 11, "dns": 13}
        assert probe(programs, "udp", nobody)[0] == 10


@pytest.mark.parametrize("words", [[], ["ask"], ["tcp"], ["tcp", "x:1", "--timeout", "0s"], ["get", "x", "y"]])
def test_a_probe_that_is_asked_wrongly_says_how(programs: dict[str, Program], words: list[str]) -> None:
    done = subprocess.run([programs["probe"].path, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: probe" in done.stderr


def test_pause_buries_the_orphans_of_its_pod_and_ends_when_told(programs: dict[str, Program]) -> None:
    """In a PID namespace of its own, as a pod has it: a grandchild whose parent went becomes pause's child."""
    if os.geteuid() != 0:
        pytest.skip("a PID namespace wants root")
    script = f"(sleep 0.2 &) ; exec {programs['pause'].path}"
    command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    with subprocess.Popen(command) as outer:
        time.sleep(0.1)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        pause = int(children.read_text().split()[0])
        end = time.monotonic() + 10
        own = Path(f"/proc/{pause}/task/{pause}/children")
        while own.read_text().split() or Path(f"/proc/{pause}/comm").read_text() != "pause\n":
            assert time.monotonic() < end, "the orphan is not buried"
            time.sleep(0.05)
        os.kill(pause, signal.SIGTERM)
        assert outer.wait(5) == 0


def test_kubeadm_asks_for_the_names_that_the_images_have(programs: dict[str, Program]) -> None:
    words = ["config", "images", "list", "--image-repository", "r", "--kubernetes-version", "v1.36.3"]
    listed = subprocess.run([programs["kubeadm"].path, *words], capture_output=True, text=True, check=True).stdout
    asked = dict(line.removeprefix("r/").rsplit(":", 1) for line in listed.split())
    made = {r.name: r.tag for r in images.recipes({name: program.version for name, program in programs.items()})}
    assert set(asked) <= set(made)
    # The tags of these two are said in kubeadm's configuration.
    assert {name: tag for name, tag in asked.items() if name not in {"etcd", "coredns"}}.items() <= made.items()


@dataclass(frozen=True)
class Served:
    """A lab's network with its registry, and a client of it in a rack. `certificates`: folder with its authority."""

    lab: Layout
    images: Images
    certificates: Path

    def skopeo(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run skopeo in the first rack."""
        inside = ["nsenter", f"--net=/run/netns/{self.lab.rack(1)}"]
        # What others configured on this machine is none of this test's business.
        command = [*inside, "skopeo", "--insecure-policy", "--registries-conf=/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def served(programs: dict[str, Program], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    base = image.recipe().key
    if os.geteuid() != 0:
        pytest.skip("network namespaces want root")
    if not image.cached(base):
        pytest.skip("no nodes' image in the cache; `gcloud-pk lab nodes up` makes it")
    folder = tmp_path_factory.mktemp("registry")
    lab = Layout(folder / "lab", DATACENTER)
    lab.folder.mkdir()
    found = images.obtain(programs, image.root(base), pins.architecture(), registry_server.PREFIX, Console())
    try:
        network.make_fabric(lab, 1)
        command = ["ip", "-n", lab.rack(1), "address", "add", "10.207.0.99/24", "dev", "br0"]
        subprocess.run(command, check=True)
        server = registry_server.ensure(lab, found, programs)
        assert server.address == ADDRESS
        (folder / "certificates").mkdir()
        (folder / "certificates" / "ca.crt").write_text(server.authority_pem)
        yield Served(lab, found, folder / "certificates")
    finally:
        network.end(lab)


def test_a_client_that_is_not_ours_pulls_every_image_over_tls(served: Served, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo on PATH")
    for made in served.images.images:
        source, target = f"docker://{ADDRESS}/k8s/{made.name}:{made.tag}", tmp_path / made.name
        pulled = served.skopeo("copy", "--src-cert-dir", str(served.certificates), source, f"dir:{target}")
        assert pulled.returncode == 0, pulled.stderr
        names = {file.name for file in target.iterdir()} - {"version"}
        assert names == {"manifest.json", *(blob.digest.removeprefix("sha256:") for blob in made.blobs)}
        shutil.rmtree(target)


def test_who_does_not_know_the_authority_gets_nothing_and_nobody_can_push(served: Served, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("no skopeo on PATH")
    pause = f"docker://{ADDRESS}/k8s/pause:{images.PAUSE_TAG}"
    assert "certificate" in served.skopeo("inspect", pause).stderr
    source = f"oci:{served.images.folder}:pause:{images.PAUSE_TAG}"
    target = f"docker://{ADDRESS}/k8s/other:1"
    pushed = served.skopeo("copy", "--dest-cert-dir", str(served.certificates), source, target)
    assert pushed.returncode != 0
    assert "405" in pushed.stderr


def test_a_registry_that_was_killed_is_started_again_and_one_that_runs_is_left_alone(
    served: Served, programs: dict[str, Program]
) -> None:
    def process() -> Process:
        (found,) = registry_server._servers(served.lab)
        return found

    first = process()
    registry_server.ensure(served.lab, served.images, programs)
    assert process() == first
    os.kill(first.pid, signal.SIGKILL)
    registry_server.ensure(served.lab, served.images, programs)
    assert process() != first


def test_a_certificate_that_is_due_is_renewed_and_served(served: Served, programs: dict[str, Program]) -> None:
    (served.lab.folder / "images/pki/images.crt").unlink()
    (former,) = registry_server._servers(served.lab)
    authority = registry_server.authority(served.lab)
    registry_server.ensure(served.lab, served.images, programs)
    (now,) = registry_server._servers(served.lab)
    assert now != former
    assert registry_server.authority(served.lab) == authority


def test_it_stops(served: Served) -> None:
    assert registry_server.running(served.lab)
    assert registry_server.stop(served.lab)
    assert not registry_server.running(served.lab)
    assert not registry_server.stop(served.lab)
