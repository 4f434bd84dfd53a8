"""Last year's rules, validly signed, put back over today's: the cluster remembers; kubectl is the referee."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import running
from tests.e2e.ministry import Ministry

COVERED = ("approvers", "registry.sha256", "registry.sha256.sig")
PUT_BACK = "this cluster was given serial 2 of the registry (signed by keeper@ntc); this one is serial 1, signed on 20"
WHY = ("--reason", "an inquiry")


class Registrar:
    """A ministry whose registry has a keeper, and a second approver who is dismissed."""

    def __init__(self, ministry: Ministry) -> None:
        self.ministry = ministry
        ministry.env["GCLOUD_PK_TRUST"] = str(self.beside("trust"))
        lines = {"keeper@ntc": "gcloud-pk-registry", "dismissed@ntc": "gcloud-pk-approval"}
        made = {who: f'{who} namespaces="{what}" {self.key_pair(who)}\n' for who, what in lines.items()}
        self.beside("trust").write_text(made["keeper@ntc"])
        with (ministry.folder / "approvers").open("a") as file:
            file.write(made["dismissed@ntc"])

    def beside(self, name: str) -> Path:
        return self.ministry.folder.with_name(name)

    def key_pair(self, name: str) -> str:
        """Make a key; return `KEYTYPE KEY`."""
        path = self.beside(name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
        return " ".join(self.beside(f"{name}.pub").read_text().split()[:2])

    def sign(self, *args: str) -> int:
        done = self.ministry.run("registry", "sign", "--key", self.beside("keeper@ntc"), *args, "--format", "json")
        serial: int = json.loads(done.stdout)["serial"]
        return serial

    def put(self, version: str) -> None:
        for name in COVERED:
            shutil.copy(self.beside(f"{version}-{name}"), self.ministry.folder / name)

    def keep(self, version: str) -> None:
        for name in COVERED:
            shutil.copy(self.ministry.folder / name, self.beside(f"{version}-{name}"))

    def lease(self) -> tuple[list[int], str]:
        """Return the serials that the cluster keeps, and the resourceVersion of where it keeps them."""
        done = self.ministry.lab.kubectl("get", "lease", "-n", "gcloud-pk-system", "registry", "-o", "json")
        metadata = json.loads(done.stdout)["metadata"]
        said = json.loads(metadata["annotations"]["gcloud.gov.pk/registry-serials"])
        return sorted(said.values()), metadata["resourceVersion"]

    def has_lease(self) -> bool:
        asked = ("get", "lease", "-n", "gcloud-pk-system", "registry", "--ignore-not-found", "-o", "name")
        return bool(self.ministry.lab.kubectl(*asked).stdout)


@pytest.fixture(scope="module")
def registrar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registrar]:
    """A cluster that was given serial 1, then 2, which dismissed an approver; the registry is back at serial 1."""
    with running(f"rollback-{os.getpid()}", tmp_path_factory.mktemp("labs")) as lab:
        registrar = Registrar(Ministry.found(lab, tmp_path_factory.mktemp("ministry") / "registry"))
        ministry = registrar.ministry
        ministry.write("clinic", "prod")
        assert registrar.sign() == 1
        ministry.run("onboard", "clinic", "--dry-run")
        assert not registrar.has_lease(), "a dry run writes nothing"
        ministry.onboard("clinic")
        assert registrar.lease()[0] == [1]
        registrar.keep("old")
        words = ("approver", "revoke", "dismissed@ntc", "--reason", "left", "--sign", registrar.beside("keeper@ntc"))
        assert "serial 2" in ministry.run(*words).stderr + ministry.run("registry", "check").stdout
        ministry.onboard("clinic")
        assert registrar.lease()[0] == [2], "kept, though nothing of the tenant changed"
        registrar.keep("new")
        yield registrar


@pytest.fixture(autouse=True)
def put_back(registrar: Registrar) -> Iterator[None]:
    registrar.put("old")
    yield
    registrar.put("new")


def test_what_its_keepers_signed_before_still_holds_without_a_cluster(registrar: Registrar) -> None:
    document = json.loads(registrar.ministry.run("registry", "check", "--format", "json").stdout)
    assert (document["trusted"], document["serial"]) == (True, 1)


@pytest.mark.parametrize(
    "words",
    [
        ("onboard", "clinic", "--yes"),
        ("onboard", "clinic", "--dry-run"),
        ("onboard", "--all", "--yes"),
        ("tenant", "offboard", "clinic", "--confirm", "clinic"),
        ("tenant", "kubeconfig", "clinic"),
    ],
    ids=" ".join,
)
def test_a_version_before_the_clusters_is_refused_and_nothing_is_written(
    registrar: Registrar, words: tuple[str, ...]
) -> None:
    since = registrar.ministry.audit_size()
    refused = registrar.ministry.run(*words, check=4)
    assert PUT_BACK in refused.stderr
    assert "an old version was put back" in refused.stderr
    wrote = {"create", "update", "patch", "delete"}
    mine = [e for e in registrar.ministry.audited(since) if "gcloud-pk" in e.get("userAgent", "")]
    assert [e["requestURI"] for e in mine if e["verb"] in wrote] == []


@pytest.mark.parametrize(
    "words", [("tenant", "diff", "clinic"), ("tenant", "verify", "clinic", "--quick")], ids=" ".join
)
def test_who_only_reads_is_warned(registrar: Registrar, words: tuple[str, ...]) -> None:
    assert PUT_BACK in registrar.ministry.run(*words).stderr


def test_a_suspension_is_not_stopped_and_a_resumption_is(registrar: Registrar) -> None:
    ministry = registrar.ministry
    resume = ("tenant", "resume", "clinic", *WHY, "--key", ministry.key, "--yes")
    suspended = ministry.run("tenant", "suspend", "clinic", *WHY, "--yes")
    assert PUT_BACK in suspended.stderr
    assert ministry.live("rolebindings", "clinic-prod") == []
    assert PUT_BACK in ministry.run(*resume, check=4).stderr
    assert PUT_BACK in ministry.run("tenant", "verify", "clinic").stderr
    registrar.put("new")
    assert PUT_BACK not in ministry.run(*resume).stderr
    assert registrar.lease()[0] == [2]


def test_with_the_newest_version_a_second_run_writes_nothing(registrar: Registrar) -> None:
    registrar.put("new")
    before = registrar.lease()
    registrar.ministry.onboard("clinic")
    assert registrar.lease() == before


def test_a_registry_whose_newest_version_is_lost_is_signed_above_it(registrar: Registrar) -> None:
    assert registrar.sign("--serial", "2") == 2
    # Two versions of one serial: git shows them as a conflict; the cluster only knows what comes before.
    assert registrar.sign() == 3
    registrar.ministry.run("onboard", "clinic", "--dry-run")


def test_only_keys_that_are_trusted_today_count(registrar: Registrar) -> None:
    ministry = registrar.ministry
    trust = registrar.beside("trust")
    kept = trust.read_text()
    trust.write_text(f'second@ntc namespaces="gcloud-pk-registry" {registrar.key_pair("second@ntc")}\n')
    ministry.run("registry", "sign", "--key", registrar.beside("second@ntc"))
    ministry.run("onboard", "clinic", "--dry-run")
    trust.write_text(trust.read_text() + kept)
    ministry.run("onboard", "clinic", "--yes", "--no-verify")
    assert registrar.lease()[0] == [2, 2]


def test_without_trust_a_lab_is_asked_nothing(registrar: Registrar) -> None:
    ministry = registrar.ministry
    since = ministry.audit_size()
    ministry.lab.gcloud_pk("--registry", ministry.folder, "onboard", "clinic", "--yes", "--no-verify", check=0)
    assert not [e for e in ministry.audited(since) if e["requestURI"].split("?")[0].endswith("/leases/registry")]


def test_whatever_writes_has_the_cluster_keep_the_version_it_acted_on(registrar: Registrar) -> None:
    ministry = registrar.ministry
    registrar.put("new")
    for words in (
        ("tenant", "suspend", "clinic", *WHY, "--yes"),
        ("tenant", "resume", "clinic", *WHY, "--key", ministry.key, "--yes"),
        ("tenant", "offboard", "clinic", "--confirm", "clinic"),
    ):
        serial = registrar.sign()
        ministry.run(*words)
        assert max(registrar.lease()[0]) == serial, words
