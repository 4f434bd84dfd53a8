"""One provisioned lab data centre for whatever a cluster has to survive: audits, drills, restores."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.datacenter import bare_centre
from tests.e2e.live_tenants import Cloud, furnish
from tests.stacks import engine

SITE, CLUSTER = "lab-dc", "lab-dc-a"


@dataclass(frozen=True)
class Surviving:
    """A data centre with two tenants. `recipient`: the key of who can open its snapshots."""

    cloud: Cloud
    recipient: Path

    @property
    def certificate(self) -> str:
        """The recipient's, as the site file has it."""
        return self.recipient.with_suffix(".crt").read_text()

    def name_in_site(self, **fields: Any) -> None:
        """Set fields of the cluster in the site's file, or remove them where they are None; have it signed."""
        _name_in_site(self.cloud.centre.registry, **fields)
        self.cloud.centre.gcloud_pk("registry", "sign", "--key", self.cloud.centre.said["keeper"]["key"], check=0)


@contextmanager
def surviving(folder: Path, count: int = 3) -> Iterator[Surviving]:
    """Bring one of `count` nodes up under `folder`, and remove it with all it wrote."""
    program = engine.program()
    if program is None:
        pytest.skip("no Pulumi engine on PATH, in the cache, or by GCLOUD_PK_TEST_ENGINE")
    with bare_centre(folder, count=count) as centre:
        centre.env["GCLOUD_PK_ENGINE"] = str(program)
        key = _recipient(folder)
        _name_in_site(centre.registry, backup={"recipients": key.with_suffix(".crt").read_text()})
        centre.gcloud_pk("registry", "sign", "--key", centre.said["keeper"]["key"], check=0)
        centre.lab("up", "--provision")
        yield Surviving(furnish(centre), key)


def _recipient(folder: Path) -> Path:
    key = folder / "recipient.key"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-subj", "/CN=lab backups", "-days", "30"]
    subprocess.run([*words, "-keyout", key, "-out", key.with_suffix(".crt")], check=True, capture_output=True)
    return key


def _name_in_site(registry: Path, **fields: Any) -> None:
    file = registry / "sites" / f"{SITE}.yaml"
    document = yaml.safe_load(file.read_text())
    (cluster,) = document["spec"]["clusters"]
    document["spec"]["clusters"] = [{key: value for key, value in {**cluster, **fields}.items() if value is not None}]
    file.write_text(yaml.safe_dump(document, sort_keys=False))
