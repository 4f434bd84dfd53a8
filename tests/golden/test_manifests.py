"""What a request renders to, byte for byte. A case is a folder: request.yaml, optionally retired.txt, and expected/.

After a change that is meant: GCLOUD_PK_UPDATE_GOLDEN=1 make golden, and read the diff.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Site
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render.folder import files
from gcloud_pk.render.tenant import render

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/request.yaml"))

SITE = Site.model_validate(
    {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "Site",
        "metadata": {"name": "isb-1"},
        "spec": {
            "operator": "NTC",
            "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
            "admits": ["open", "public", "restricted", "confidential", "secret"],
            "clusters": [
                {
                    "name": "isb-1-a",
                    "networks": {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"},
                    "dns": {"addresses": ["169.254.20.10"]},
                }
            ],
        },
    }
)


def tenant_of(case: Path) -> tuple[Tenant, list[str]]:
    request = TenantRequest.model_validate(yaml.safe_load((case / "request.yaml").read_text()))
    organisation = Organisation.model_validate(
        {"code": request.spec.organisation, "name": {"en": "A body"}, "tier": "federal", "domains": ["gov.pk"]}
    )
    retired = (case / "retired.txt").read_text().split() if (case / "retired.txt").exists() else []
    return Tenant(request, "0" * 64, organisation, Settings(), SITE, SITE.spec.clusters[0]), retired


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_renders_to_these_bytes(case: Path) -> None:
    tenant, retired = tenant_of(case)
    rendered = files(tenant.name, render(tenant, retired))
    expected = case / "expected"
    if os.environ.get("GCLOUD_PK_UPDATE_GOLDEN"):
        shutil.rmtree(expected, ignore_errors=True)
        for path, text in rendered.items():
            (expected / path).parent.mkdir(parents=True, exist_ok=True)
            (expected / path).write_text(text)
    on_disk = {str(p.relative_to(expected)): p.read_text() for p in expected.rglob("*.yaml")}
    assert rendered == on_disk


def test_another_process_with_another_hash_seed_renders_the_same_bytes() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_manifests as t;"
        "from gcloud_pk.render.folder import files; from gcloud_pk.render.tenant import render;"
        "[sys.stdout.write(k + v) for c in t.CASES for ten, gone in [t.tenant_of(c)]"
        " for k, v in files(ten.name, render(ten, gone)).items()]"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parent)],
            capture_output=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert outputs != {b""}
