"""Every command, and what people and machines feed it by mistake: a message, a documented code, nothing half written.

Commands run through `main.main`, the one boundary, in this process: hundreds of them in seconds.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from tests.e2e.conftest import RunningLab
from tests.e2e.ministry import Ministry
from tests.unit.cluster_server import Reply, certificate, serving

from gcloud_pk import main
from gcloud_pk.cluster import transport
from gcloud_pk.cluster.transport import Api
from gcloud_pk.registry import sites

Arguments = Sequence[str | Path]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> dict[str, Any]:
        """The one document on standard output, which is an error's."""
        document = json.loads(self.out)
        assert list(document) == ["error"], document
        error: dict[str, Any] = document["error"]
        return error

    def failed_with(self, *codes: int) -> Ended:
        """Demand the architecture's shape of an error, one of these codes, and no traceback."""
        assert self.code in codes, (self.code, self.err)
        assert "Traceback" not in self.err + self.out
        error = self.error
        assert list(error) == ["code", "message", "details", "resolution"]
        assert error["code"] == self.code
        assert error["message"]
        for detail in error["details"]:
            assert list(detail) == ["file", "line", "field", "message", "expected"]
        assert f"error: {error['message']}".splitlines()[0][:60] in self.err
        return self


Cli = Callable[..., Ended]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command with `--format json`, away from this machine's own settings."""
    for name in list(os.environ):
        if name.startswith("GCLOUD_PK_") or name == "KUBECONFIG":
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*args: str | Path, **env: str) -> Ended:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        words = [*(str(arg) for arg in args), "--format", "json"]
        monkeypatch.setattr(sys, "argv", ["gcloud-pk", *words])
        capfd.readouterr()
        code = main.main(words)
        out, err = capfd.readouterr()
        return Ended(int(code), out, err)

    return run


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Ministry:
    """A registry with an approved request, a site, and a request that could be submitted next to it."""
    made = Ministry.found(cast("RunningLab", None), tmp_path_factory.mktemp("pattern") / "registry")
    made.write("moitt")
    (made.folder / "sites").mkdir()
    shutil.copy(Path(__file__).parents[2] / "examples" / "registry" / "sites" / "isb-1.yaml", made.folder / "sites")
    text = (made.folder / "tenants" / "moitt" / "request.yaml").read_text()
    made.folder.with_name("next.yaml").write_text(text.replace("revision: 1", "revision: 2"))
    return made


@dataclass(frozen=True)
class Desk:
    """A registry of a test's own, and what lies beside it."""

    registry: Path
    key: Path
    next_request: Path
    file: Path
    """Where a bad file is put."""

    def words(self, command: str) -> list[str]:
        """Return the words of a command; `{…}` stand for what lies on the desk."""
        known = {"F": self.file, "KEY": self.key, "NEXT": self.next_request, "OUT": self.file.with_name("out")}
        return [word.format(**known) for word in command.split()]


@pytest.fixture
def desk(pattern: Ministry, tmp_path: Path) -> Desk:
    shutil.copytree(pattern.folder, tmp_path / "registry")
    return Desk(tmp_path / "registry", pattern.key, pattern.folder.with_name("next.yaml"), tmp_path / "bad")


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file's bytes; an empty folder is nothing, to git as well."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def untouched(folder: Path) -> Iterator[None]:
    before = contents(folder)
    yield
    assert contents(folder) == before


# Files that are not what they should be.

BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9)
)
TOO_LARGE = "more than a megabyte"
BAD: dict[str, bytes] = {
    "nothing in it": b"",
    "not UTF-8": b"a: \xff\xfe\n",
    "a list": b"- a\n- b\n",
    "a text": b"hello\n",
    "a number": b"5\n",
    "a YAML bomb": BOMB,
    "nested too deeply": b"[" * 20000,
    "a key twice": b"apiVersion: a\napiVersion: b\n",
    TOO_LARGE: b"a: b\n" * 220_000,
    "a NUL": b"a: \0\n",
    "an escape sequence": b'a: "\x1b[31mred"\n',
    "a tag that runs code": b'!!python/object/apply:os.system ["true"]\n',
    "no YAML": b"a: [\n",
    "half a surrogate": b'a: "\\ud800"\n',
}
KINDS = (*BAD, "missing", "a folder", "a dangling link")


def put(path: Path, kind: str) -> None:
    """Make `path` bad in one way."""
    if kind == TOO_LARGE and path.parent.name == "sites":
        path.write_bytes(path.read_bytes() + b"#" * sites.LIMIT)  # nothing else is wrong with it
        return
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind in BAD:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BAD[kind])
    elif kind == "a folder":
        path.mkdir(parents=True)
    elif kind == "a dangling link":
        path.symlink_to(path.parent / "nowhere")


# Command → exit code, and the codes of kinds that are told apart.
UNREADABLE = dict.fromkeys(("missing", "a folder", "a dangling link"), 3)
GIVEN: dict[str, tuple[int, dict[str, int]]] = {
    "request validate {F}": (3, {}),
    "request submit {F}": (3, {}),
    "request new --from {F} -o {OUT}": (3, {}),
    "request submit {NEXT} --key {F}": (5, {}),
    "request approve moitt --key {F} --yes": (5, {}),
    "request reject moitt --reason r --key {F}": (5, {}),
    "registry sign --key {F}": (5, {}),
    "registry init {OUT} --organisations {F}": (3, {}),
    "registry init {OUT} --approver a@b={F}": (3, {}),
    "registry check --trust {F}": (4, UNREADABLE | {"missing": 5, TOO_LARGE: 3}),
    "onboard moitt --output-dir {OUT} --trust {F}": (4, UNREADABLE | {"missing": 5, TOO_LARGE: 3}),
    "request list --trust {F}": (4, UNREADABLE | {"missing": 5, TOO_LARGE: 3}),
    "tenant list --kubeconfig {F}": (5, {}),
    "onboard moitt --yes --kubeconfig {F}": (5, {}),
    "cluster status --kubeconfig {F}": (5, {}),
    "registry check --registry {F}": (5, {}),
    "onboard --all --yes --registry {F}": (5, {}),
    "request validate {NEXT} --registry {F}": (5, {}),
    "onboard moitt --output-dir {F}": (5, {"missing": 0, "a folder": 0}),
    "registry init {F}": (4, {"missing": 0, "a folder": 0, "a dangling link": 5}),
    "schema --output-dir {F}": (2, {"missing": 0, "a folder": 0, "a dangling link": 5}),
    "lab up --offline --name none --programs {F}": (2, {"a folder": 5}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", GIVEN)
def test_a_bad_file_is_named_and_nothing_is_written(cli: Cli, desk: Desk, command: str, kind: str) -> None:
    usual, special = GIVEN[command]
    put(desk.file, kind)
    words = desk.words(command)
    with untouched(desk.registry):
        ended = cli(*words, *([] if "--registry" in words else ["--registry", desk.registry]))
    expected = special.get(kind, usual)
    if expected == 0:
        assert ended.code == 0, ended.err
        return
    ended.failed_with(expected)
    nobody_is_trusted = "--trust" in words and kind == "nothing in it"
    assert str(desk.file) in ended.err or nobody_is_trusted, "the file is named"
    assert not desk.file.with_name("out").exists(), "nothing half written"


IN_REGISTRY = {
    "tenants/moitt/request.yaml": "registry check, request approve moitt --key {KEY} --yes, onboard moitt "
    "--output-dir {OUT}",
    "sites/isb-1.yaml": "registry check, request list, request submit {NEXT}, request approve moitt --key {KEY} --yes, "
    "onboard moitt --output-dir {OUT}, registry sign --key {KEY}",
    "settings.yaml": "registry check, request list, request submit {NEXT}, request approve moitt --key {KEY} --yes, "
    "onboard moitt --output-dir {OUT}, registry sign --key {KEY}",
    "organisations.yaml": "registry check, request list, request submit {NEXT}, request approve moitt --key {KEY} "
    "--yes, onboard moitt --output-dir {OUT}, registry sign --key {KEY}",
    "approvers": "registry check, request list, request submit {NEXT}, request approve moitt --key {KEY} --yes, "
    "onboard moitt --output-dir {OUT}, registry sign --key {KEY}",
    "tenants/moitt/state.yaml": "registry check, request approve moitt --key {KEY} --yes, onboard moitt --output-dir "
    "{OUT}",
    "tenants/moitt/approvals/head@moitt.sig": "registry check, onboard moitt --output-dir {OUT}",
    "tenants/moitt/approvals": "registry check, onboard moitt --output-dir {OUT}",
    "tenants/moitt/request.yaml.sig": "registry check",
    "tenants/moitt/history": "registry check, onboard moitt --output-dir {OUT}",
    "tenants": "registry check, request list, request submit {NEXT}, onboard moitt --output-dir {OUT}",
    "sites": "registry check, request list, request submit {NEXT}, onboard moitt --output-dir {OUT}",
}
"""A file of the registry → the commands that cannot go on where it is bad."""
MAY_BE_ABSENT = {"sites/isb-1.yaml", "settings.yaml", "tenants/moitt/state.yaml", "tenants/moitt/request.yaml.sig"}
FOLDERS = {"tenants/moitt/approvals", "tenants/moitt/history", "tenants", "sites"}
STATE = "tenants/moitt/state.yaml"


def is_in_order(broken: str, command: str, kind: str) -> bool:
    """Whether a registry is valid all the same."""
    if kind == "missing":
        # An approval that is outstanding is not wrong; that nobody has approved is another matter.
        outstanding = broken.endswith("head@moitt.sig") and command == "registry check"
        return outstanding or broken in MAY_BE_ABSENT or broken in FOLDERS
    return (kind == "a folder" and broken in FOLDERS) or (broken, kind) == ("approvers", "nothing in it")


@pytest.mark.parametrize(
    ("broken", "command", "kind"),
    [
        (broken, command, kind)
        for broken, commands in IN_REGISTRY.items()
        for command in commands.split(", ")
        for kind in KINDS
        if not is_in_order(broken, command, kind)
    ],
)
def test_a_registry_with_a_bad_file_is_refused_and_stays_as_it_is(
    cli: Cli, desk: Desk, broken: str, command: str, kind: str
) -> None:
    put(desk.registry / broken, kind)
    with untouched(desk.registry):
        ended = cli(*desk.words(command), "--registry", desk.registry)
    refusals = (
        {4} if broken == STATE and command != "registry check" else {3, 4} if broken.endswith("moitt.sig") else {3}
    )
    gone = {5} if kind == "missing" and broken in {"organisations.yaml", "approvers"} else refusals
    ended.failed_with(*gone)
    assert not desk.file.with_name("out").exists(), "nothing half written"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "missing"])
def test_all_leaves_out_a_tenant_whose_request_is_bad_and_tells_so_by_its_code(cli: Cli, desk: Desk, kind: str) -> None:
    put(desk.registry / "tenants" / "moitt" / "request.yaml", kind)
    ended = cli("onboard", "--all", "--output-dir", desk.file, "--registry", desk.registry)
    assert ended.code == 3
    (skipped,) = json.loads(ended.out)["skipped"]
    assert skipped["name"] == "moitt"
    assert skipped["error"]["code"] == 3
    assert skipped["error"]["details"]


# Names that nobody knows, and options that do not fit.

UNKNOWN: dict[str, int] = {
    "onboard nobody --output-dir {OUT}": 5,
    "request show nobody": 5,
    "request approve nobody --key {KEY} --yes": 5,
    "request reject nobody --reason r": 5,
    "onboard ../../etc --output-dir {OUT}": 5,
    "request show ../moitt": 5,
    "request diff nobody": 5,
    "request new --template nothing": 2,
    "request new --template ../approvers": 2,
    "tenant welcome nobody": 5,
    "tenant welcome ../moitt": 5,
    "tenant welcome moitt --lang fr": 2,
    "lab status --name nobody": 5,
    "lab kubeconfig --name nobody": 5,
    "lab status --name ../x": 2,
    "onboard": 2,
    "onboard moitt --all": 2,
    "onboard moitt --allow-removals -1": 2,
    "onboard moitt --wait-for-lock soon": 2,
    "request list --state lost": 2,
    "request reject moitt": 2,
    "request approve moitt": 2,
    "registry init {OUT} --approver nonsense": 2,
    "schema": 2,
    "schema Nothing": 2,
    "completion powershell": 2,
    "nonsense": 2,
    "tenant nonsense": 2,
    "tenant": 2,
    "--nonsense": 2,
    "tenant list --format": 2,
}


@pytest.mark.parametrize("command", UNKNOWN)
def test_what_nobody_knows_is_said_to_be_unknown(cli: Cli, desk: Desk, command: str) -> None:
    with untouched(desk.registry):
        cli("--registry", desk.registry, *desk.words(command)).failed_with(UNKNOWN[command])


# A cluster that is not there, is none, or does not know who asks.

CLUSTER = {
    "onboard": "onboard moitt --yes",
    "onboard all": "onboard --all --yes",
    "plan": "onboard moitt --dry-run",
    "list": "tenant list",
    "show": "tenant show moitt",
    "diff": "tenant diff moitt",
    "verify": "tenant verify moitt",
    "kubeconfig": "tenant kubeconfig moitt",
    "suspend": "tenant suspend moitt --reason none --yes",
    "resume": "tenant resume moitt --reason none",
    "offboard": "tenant offboard moitt --confirm moitt",
    "init": "cluster init --yes",
    "status": "cluster status",
    "register": "cluster register isb-1",
}
REPLIES: dict[str, Reply] = {
    "a web page": (200, b"<html>Welcome</html>"),
    "an empty object": (200, {}),
    "a list": (200, []),
    "nulls": (200, {"metadata": None, "items": None}),
    "nothing": (200, b""),
    "items that are none": (200, {"metadata": {"uid": 7}, "items": ["x", {}]}),
    "another page": (302, b"", {"Location": "https://login.example/"}),
    "a page that is not there": (404, b"<html>not found</html>"),
    "no such credentials": (401, {"kind": "Status", "message": "Unauthorized"}),
}


def access(path: Path, server: str, authority: bytes, **user: str) -> Path:
    """Write a kubeconfig."""
    where = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c", "cluster": where}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": user or {"token": "t"}}],
            }
        )
    )  # fmt: skip
    return path


def embedded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


OWN = certificate()


@pytest.mark.parametrize("command", CLUSTER)
@pytest.mark.parametrize("reply", REPLIES)
def test_a_server_that_is_no_kubernetes_is_5(cli: Cli, desk: Desk, tmp_path: Path, reply: str, command: str) -> None:
    with serving(lambda _: REPLIES[reply], OWN.context(tmp_path)) as server, untouched(desk.registry):
        kubeconfig = access(tmp_path / "kc", server.url, OWN.certificate)
        cli("--registry", desk.registry, "--kubeconfig", kubeconfig, *CLUSTER[command].split()).failed_with(5)


@pytest.mark.parametrize("command", CLUSTER)
def test_a_cluster_that_is_not_there_or_not_the_one_that_was_expected_is_5_and_named(
    cli: Cli, desk: Desk, tmp_path: Path, command: str
) -> None:
    late = certificate(days=(-3, -1))
    expired = {"client-certificate-data": embedded(late.certificate), "client-key-data": embedded(late.key)}
    words = ["--registry", str(desk.registry), *CLUSTER[command].split()]
    path = tmp_path / "kc"
    with serving(lambda _: (200, {}), OWN.context(tmp_path)) as server, untouched(desk.registry):
        cases: list[tuple[Path, list[str], str]] = [
            (tmp_path / "nowhere", [], "nowhere does not exist"),
            (access(path, server.url, OWN.certificate), ["--context", "nope"], "has no context 'nope'"),
        ]
        for kubeconfig, more, says in cases:
            assert says in cli("--kubeconfig", kubeconfig, *more, *words).failed_with(5).error["message"]
        access(path, server.url, certificate().certificate)
        assert "certificate is self-signed" in cli("--kubeconfig", path, *words).failed_with(5).error["message"]
        access(path, server.url, OWN.certificate, **expired)
        assert "client certificate expired on" in cli("--kubeconfig", path, *words).failed_with(5).error["message"]
    with serving(lambda _: (200, {})) as server, untouched(desk.registry):
        access(path, server.url.replace("http:", "https:"), OWN.certificate)
        assert "does not speak TLS" in cli("--kubeconfig", path, *words).failed_with(5).error["message"]


class Clock:
    """A clock that goes on while somebody waits, and then only."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        return True


@pytest.mark.parametrize("command", CLUSTER)
def test_a_closed_port_is_5_after_five_seconds_of_asking_again(
    cli: Cli, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    clock = Clock()
    monkeypatch.setattr(transport, "time", clock)
    monkeypatch.setattr(Api, "pause", lambda _, seconds: clock.pause(seconds))
    path = access(tmp_path / "kc", "https://127.0.0.1:1", OWN.certificate)
    with untouched(desk.registry):
        ended = cli("--registry", desk.registry, "--kubeconfig", path, *CLUSTER[command].split())
    message = ended.failed_with(5).error["message"]
    assert message == "the API server https://127.0.0.1:1 does not answer: connection refused"
    assert 1 < clock.now - 1000 < 25, "5 s each; what is asked side by side waits on one clock"


def test_a_certificate_of_another_authority_is_not_let_in(
    cli: Cli, desk: Desk, lab: RunningLab, tmp_path: Path
) -> None:
    known = yaml.safe_load(lab.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = base64.b64decode(known["certificate-authority-data"])
    mine = {"client-certificate-data": embedded(OWN.certificate), "client-key-data": embedded(OWN.key)}
    path = access(tmp_path / "kc", known["server"], authority, **mine)
    for words in CLUSTER.values():
        cli("--registry", desk.registry, "--kubeconfig", path, *words.split()).failed_with(5)


def test_somebody_without_rights_is_refused_and_the_right_is_named(cli: Cli, desk: Desk, lab: RunningLab) -> None:
    made = lab.gcloud_pk("lab", "kubeconfig", "--name", lab.name, "--group", "strangers", check=0).stdout.strip()
    for words in CLUSTER.values():
        ended = cli("--registry", desk.registry, "--kubeconfig", made, *words.split())
        assert "has no right to" in ended.failed_with(4).error["message"]


OF_CLUSTER: dict[str, int] = {
    "tenant show nobody": 5,
    "tenant diff nobody": 5,
    "tenant kubeconfig nobody": 5,
    "tenant kubeconfig x)": 5,
    "tenant kubeconfig unbidden": 5,
    "tenant kubeconfig unbidden --role nobody": 2,
    "tenant verify nobody": 5,
    "tenant suspend nobody --reason none --yes": 5,
    "tenant suspend a,b --reason none --yes": 5,
    "tenant resume nobody --reason none": 5,
    "tenant offboard nobody --confirm nobody": 5,
    "cluster register nowhere": 4,
    "onboard nobody --yes": 5,
    "onboard unbidden": 4,
    "onboard unbidden --yes --context nope": 5,
    "onboard unbidden --yes --verify-context nope": 5,
    "tenant verify unbidden --verify-context nope": 5,
    "tenant verify unbidden": 5,
    "tenant offboard unbidden": 4,
    "tenant offboard unbidden --confirm another": 4,
    "tenant offboard unbidden --confirm unbidden --environment none": 4,
    "tenant show Not-A-Name": 5,
    "tenant show a,b": 5,
    "tenant show x)": 5,
}


@pytest.mark.parametrize("command", OF_CLUSTER)
def test_a_wrong_name_on_a_real_cluster_writes_nothing(cli: Cli, lab: RunningLab, tmp_path: Path, command: str) -> None:
    ministry = Ministry.found(lab, tmp_path / "registry")
    ministry.write("unbidden")
    with untouched(ministry.folder):
        ended = cli("--registry", ministry.folder, *command.split(), **lab_env(lab))
    ended.failed_with(OF_CLUSTER[command])
    assert ministry.labelled("unbidden") == []


def lab_env(lab: RunningLab) -> dict[str, str]:
    return {"KUBECONFIG": str(lab.kubeconfig), "XDG_STATE_HOME": lab.env["XDG_STATE_HOME"]}


# Nowhere to write.

WRITERS = {
    "request submit {NEXT}": "",
    "request approve moitt --key {KEY} --yes": "",
    "request reject moitt --reason r": "",
    "registry sign --key {KEY}": "",
    "registry init {REGISTRY}/new": "",
    "request new --from {NEXT} -o {REGISTRY}/new.yaml": "",
    "schema --output-dir {REGISTRY}/schemas": "",
    "onboard moitt --output-dir {REGISTRY}/manifests": "",
}


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fresh(desk: Desk) -> None:
    """Take the approval away, so that `approve` has something to write."""
    shutil.rmtree(desk.registry / "tenants" / "moitt" / "approvals", ignore_errors=True)


@pytest.mark.parametrize("command", WRITERS)
def test_a_read_only_folder_is_5_and_stays_as_it_is(cli: Cli, desk: Desk, command: str) -> None:
    if "onboard" not in command:
        fresh(desk)
    words = desk.words(command.replace("{REGISTRY}", str(desk.registry)))
    with mounted(desk.registry, "--bind", str(desk.registry)):
        subprocess.run(["mount", "-o", "remount,bind,ro", desk.registry], check=True)
        with untouched(desk.registry):
            ended = cli("--registry", desk.registry, *words).failed_with(5)
    assert "read-only" in ended.error["message"].lower()
    assert ended.error["resolution"]


@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_is_5_and_what_was_there_stays_whole(cli: Cli, desk: Desk, pattern: Ministry, command: str) -> None:
    folder = desk.registry.with_name("small")
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", "size=256k", "none"):
        registry = folder / "registry"
        shutil.copytree(pattern.folder, registry)
        small = Desk(registry, desk.key, desk.next_request, desk.file)
        if "onboard" not in command:
            fresh(small)
        fill(folder / "ballast")
        with untouched(registry):
            words = small.words(command.replace("{REGISTRY}", str(registry)))
            ended = cli("--registry", registry, *words).failed_with(5)
        assert "the disk is full" in ended.error["message"].lower() or "no space" in ended.error["message"].lower()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def test_a_read_only_registry_does_not_stop_a_repair(cli: Cli, lab: RunningLab, tmp_path: Path) -> None:
    ministry = Ministry.found(lab, tmp_path / "registry")
    ministry.write("checkout")
    with mounted(ministry.folder, "--bind", str(ministry.folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", ministry.folder], check=True)
        words = ("--registry", ministry.folder, "onboard", "checkout", "--yes", "--no-verify")
        ended = cli(*words, **lab_env(lab))
        assert ended.code == 0, ended.err
        assert "was not kept in the registry" in ended.err
        refused = cli("--registry", ministry.folder, "tenant", "offboard", "checkout", "--confirm", "checkout")
        refused.failed_with(5)
    assert ministry.live("rolebinding", "checkout-prod"), "nothing was deleted that could not be recorded"


# Trust.


@pytest.fixture
def signed(cli: Cli, desk: Desk) -> Path:
    """A registry that its keeper signed; return the trust file."""
    public = " ".join(desk.key.with_name(desk.key.name + ".pub").read_text().split()[:2])
    trust = desk.registry.with_name("trust")
    trust.write_text(f'keeper@ntc namespaces="gcloud-pk-registry" {public}\n')
    assert cli("registry", "sign", "--key", desk.key, "--registry", desk.registry).code == 0
    assert cli("registry", "check", "--registry", desk.registry, "--trust", trust).code == 0
    return trust


TRUSTING = (
    "registry check", "request list", "request submit {NEXT}", "request diff moitt", "tenant welcome moitt -o {OUT}",
    "onboard moitt --output-dir {OUT}",
)  # fmt: skip
SPOILT: dict[str, Callable[[Desk, Path], Path]] = {}


def spoils(act: Callable[[Desk, Path], Path]) -> Callable[[Desk, Path], Path]:
    SPOILT[act.__name__.replace("_", " ")] = act
    return act


@spoils
def a_rule_changed(desk: Desk, trust: Path) -> Path:
    with (desk.registry / "organisations.yaml").open("a") as file:
        file.write("# a comment\n")
    return trust


@spoils
def an_approver_added(desk: Desk, trust: Path) -> Path:
    path = desk.registry / "approvers"
    path.write_text(path.read_text() + "# another\n")
    return trust


@spoils
def a_site_added(desk: Desk, trust: Path) -> Path:
    text = (desk.registry / "sites" / "isb-1.yaml").read_text()
    (desk.registry / "sites" / "isb-9.yaml").write_text(text.replace("isb-1", "isb-9"))
    return trust


@spoils
def the_signature_gone(desk: Desk, trust: Path) -> Path:
    (desk.registry / "registry.sha256.sig").unlink()
    return trust


@spoils
def another_keeper(desk: Desk, trust: Path) -> Path:
    other = desk.registry.with_name("other")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other, "-C", ""], check=True)
    public = " ".join(other.with_name("other.pub").read_text().split()[:2])
    trust.write_text(f'stranger@ntc namespaces="gcloud-pk-registry" {public}\n')
    return trust


@spoils
def a_keeper_of_another_namespace(desk: Desk, trust: Path) -> Path:
    trust.write_text(trust.read_text().replace("gcloud-pk-registry", "gcloud-pk-approval"))
    return trust


@spoils
def the_trust_file_inside(desk: Desk, trust: Path) -> Path:
    inside = desk.registry / "trust"
    shutil.copy(trust, inside)
    return inside


@spoils
def the_trust_file_inside_by_a_link(desk: Desk, trust: Path) -> Path:
    shutil.copy(trust, desk.registry / "trust")
    link = desk.registry.with_name("link")
    link.symlink_to(desk.registry / "trust")
    return link


@pytest.mark.parametrize("command", TRUSTING)
@pytest.mark.parametrize("how", SPOILT)
def test_a_registry_that_is_not_what_its_keepers_signed_is_refused(
    cli: Cli, desk: Desk, signed: Path, how: str, command: str
) -> None:
    trust = SPOILT[how](desk, signed)
    with untouched(desk.registry):
        cli(*desk.words(command), "--registry", desk.registry, "--trust", trust).failed_with(4)
    assert not desk.file.with_name("out").exists()
