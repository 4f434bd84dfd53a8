"""What a ministry gets works: its kubeconfig with real kubectl, and the welcome page's sample as it stands."""

from __future__ import annotations

import html
import json
import os
import re
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.conftest import RunningLab
from tests.e2e.ministry import Ministry


def staging(tenant: str) -> dict[str, Any]:
    quota = {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20}
    return {"name": "staging", "tier": "staging", "quota": quota, "domains": [f"{tenant}.moitt.gov.pk"]}


@pytest.fixture(scope="module")
def ministry(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Ministry:
    made = Ministry.found(lab, tmp_path_factory.mktemp("welcome") / "registry")
    made.write("hosted", "prod", staging("hosted"))
    made.write("owned", "prod", staging("owned"), isolation="dedicated-nodes")
    made.onboard("hosted", "owned")
    return made


def kubectl(
    ministry: Ministry, config: Path, *args: str, check: bool = True, **kw: Any
) -> subprocess.CompletedProcess[str]:
    """Run real kubectl with a kubeconfig alone."""
    command = [str(ministry.lab.programs["kubectl"]), "--kubeconfig", str(config), *args]
    env = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, **kw)
    assert not check or done.returncode == 0, done.stderr
    return done


def made(ministry: Ministry, tmp_path: Path, tenant: str, *options: str) -> Path:
    config = tmp_path / f"{tenant}{''.join(options)}.kubeconfig"
    ministry.run("tenant", "kubeconfig", tenant, "-o", config, *options)
    return config


def test_the_kubeconfig_lets_developers_work_in_their_namespaces_and_nowhere_else(
    ministry: Ministry, tmp_path: Path
) -> None:
    config = made(ministry, tmp_path, "hosted")
    contexts = kubectl(ministry, config, "config", "get-contexts", "-o", "name").stdout.split()
    assert sorted(contexts) == ["hosted-prod", "hosted-staging"]
    assert kubectl(ministry, config, "config", "current-context").stdout.strip() == "hosted-staging"
    for context in contexts:
        assert "No resources found" in kubectl(ministry, config, "--context", context, "get", "pods").stderr
        assert (
            kubectl(ministry, config, "--context", context, "auth", "can-i", "create", "deployments").stdout == "yes\n"
        )
    assert kubectl(ministry, config, "get", "pods", "-n", "owned-prod", check=False).returncode == 1
    assert kubectl(ministry, config, "auth", "can-i", "create", "rolebindings", check=False).stdout == "no\n"
    admins = made(ministry, tmp_path, "hosted", "--role=admins")
    assert kubectl(ministry, admins, "auth", "can-i", "create", "rolebindings").stdout == "yes\n"


def test_the_kubeconfig_holds_no_secret_and_is_its_owners_alone(ministry: Ministry, tmp_path: Path) -> None:
    config = made(ministry, tmp_path, "hosted", "--environment=prod")
    text = config.read_text()
    assert not re.search(r"PRIVATE KEY|key-data|token|password", text)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    (user,) = yaml.safe_load(text)["users"]
    key = Path(user["user"]["client-key"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert ministry.lab.folder in key.parents
    secret = "".join(key.read_text().split("-----")[2].split())
    assert secret not in text
    assert [c["name"] for c in yaml.safe_load(text)["contexts"]] == ["hosted-prod"]
    before = config.read_bytes()
    ministry.run("tenant", "kubeconfig", "hosted", "-o", config, check=4)
    assert config.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "tenant 'nobody' is not on this cluster"),
        (["hosted", "--environment", "stagin"], "has no environment 'stagin'"),
    ],
)
def test_what_is_not_there_is_said(ministry: Ministry, arguments: list[str], words: str) -> None:
    done = ministry.run("tenant", "kubeconfig", *arguments, check=5)
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("tenant", ["hosted", "owned"])
def test_the_sample_of_the_page_is_admitted_as_it_stands_and_its_pods_are_made(
    ministry: Ministry, tmp_path: Path, tenant: str
) -> None:
    page = ministry.run("tenant", "welcome", tenant).stdout
    (sample,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    as_html = ministry.run("tenant", "welcome", tenant, "--html", "--lang", "ur").stdout
    (again,) = re.findall(r'<code class="language-yaml">(.*?)</code>', as_html, re.DOTALL)
    assert html.unescape(again) + "\n" == sample
    config = made(ministry, tmp_path, tenant)
    applied = kubectl(ministry, config, "apply", "-f", "-", input=sample)
    assert "Warning" not in applied.stderr
    assert applied.stdout.splitlines() == [
        "deployment.apps/hello created", "service/hello created", "ingress.networking.k8s.io/hello created",
    ]  # fmt: skip
    wanted = next(yaml.safe_load_all(sample))["spec"]["replicas"]
    deadline = time.monotonic() + 60
    while len(pods := kubectl(ministry, config, "get", "pods", "-o", "name").stdout.split()) < wanted:
        events = kubectl(ministry, config, "get", "events", "--field-selector=type=Warning").stdout
        assert time.monotonic() < deadline, events
        time.sleep(0.2)
    assert len(pods) == wanted


def test_a_page_needs_an_accepted_request(ministry: Ministry, tmp_path: Path) -> None:
    ministry.write("waiting", "prod", approve=False)
    done = ministry.run("tenant", "welcome", "waiting", "-o", tmp_path / "page.md", check=4)
    assert "0 of 1 approvals" in done.stderr
    assert not (tmp_path / "page.md").exists()


@pytest.fixture
def elsewhere(ministry: Ministry, tmp_path: Path) -> Ministry:
    """Return the same cluster as one that is no lab of this user: with a registered site and a trusted registry."""
    folder = tmp_path / "registry"
    subprocess.run(["cp", "-r", ministry.folder, folder], check=True)
    uid = ministry.lab.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    (folder / "sites").mkdir()
    site = {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "Site",
        "metadata": {"name": "isb-1"},
        "spec": {
            "operator": "NTC",
            "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
            "admits": ["restricted"],
            "clusters": [{"name": "isb-1-a", "uid": uid, "endpoint": "https://api.isb-1.example:6443"}],
        },
    }
    (folder / "sites" / "isb-1.yaml").write_text(yaml.safe_dump(site))
    public = " ".join(ministry.key.with_name(ministry.key.name + ".pub").read_text().split()[:2])
    trust = tmp_path / "trust"
    trust.write_text(f'keeper@ntc namespaces="gcloud-pk-registry" {public}\n')
    env = {"XDG_STATE_HOME": str(tmp_path / "state"), "GCLOUD_PK_TRUST": str(trust)}
    return Ministry(ministry.lab, folder, env)


def test_outside_a_lab_people_sign_in_with_their_browser(
    ministry: Ministry, elsewhere: Ministry, tmp_path: Path
) -> None:
    elsewhere.run("registry", "sign", "--key", ministry.key)
    done = elsewhere.run("tenant", "kubeconfig", "hosted", check=5)
    assert "set signIn" in done.stderr
    (elsewhere.folder / "settings.yaml").write_text(
        "signIn: {issuer: https://id.gov.example/realms/gov, clientId: gcloud, scopes: [groups]}\n"
    )
    # A provider that nobody vouches for would collect passwords.
    assert "settings.yaml: was added" in elsewhere.run("tenant", "kubeconfig", "hosted", check=4).stderr
    elsewhere.run("registry", "sign", "--key", ministry.key)
    config = made(elsewhere, tmp_path, "hosted")
    seen = yaml.safe_load(kubectl(ministry, config, "config", "view", "--raw").stdout)
    assert seen["clusters"][0]["name"] == "isb-1-a"
    assert seen["clusters"][0]["cluster"]["server"] == "https://api.isb-1.example:6443"
    assert seen["users"][0]["user"]["exec"]["args"][:2] == ["oidc-login", "get-token"]
    assert not re.search(r"PRIVATE KEY|key-data|password|client-secret", config.read_text())
    document = json.loads(elsewhere.run("tenant", "kubeconfig", "hosted", "--format", "json").stdout)
    assert (document["signIn"], document["contexts"]) == ("oidc", ["hosted-prod", "hosted-staging"])
    assert document["content"] == yaml.safe_load(config.read_text())
