"""The kubeconfig of a tenant's people: what kubectl and kubelogin understand, and no secret in it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcloud_pk.model.request import Tier
from gcloud_pk.model.settings import Settings, SignIn
from gcloud_pk.registry.documents import parse
from gcloud_pk.registry.readings import load
from gcloud_pk.render.kubeconfig import Endpoint, by_certificate, by_sign_in, kubeconfig

PEM = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
ISSUER = "https://id.gov.example/realms/gov"
PLACES: list[tuple[str, Tier]] = [("moitt-prod", "production"), ("moitt-dev", "development"), ("moitt-qa", "staging")]
ENDPOINT = Endpoint("isb-1-a", "https://api.isb-1.example:6443", PEM.encode())


def sign_in(**fields: Any) -> SignIn:
    return SignIn.model_validate({"issuer": ISSUER, "clientId": "gcloud", **fields})


def made(user: dict[str, Any], endpoint: Endpoint = ENDPOINT) -> Any:
    return yaml.safe_load(kubeconfig(endpoint, "moitt", user, PLACES))


def test_there_is_one_context_for_each_namespace_and_the_calmest_is_current() -> None:
    document = made(by_sign_in(sign_in()))
    assert [context["name"] for context in document["contexts"]] == [place for place, _ in PLACES]
    for context in document["contexts"]:
        assert context["context"] == {"cluster": "isb-1-a", "namespace": context["name"], "user": "moitt"}
    assert document["current-context"] == "moitt-dev"


def test_the_cluster_is_known_by_its_own_authority() -> None:
    (cluster,) = made(by_sign_in(sign_in()))["clusters"]
    assert cluster["cluster"]["server"] == "https://api.isb-1.example:6443"
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode() == PEM
    behind = Endpoint("a", "https://10.0.0.1", None, "api.example", "http://proxy.example:3128")
    assert made(by_sign_in(sign_in()), behind)["clusters"][0]["cluster"] == {
        "server": "https://10.0.0.1", "tls-server-name": "api.example", "proxy-url": "http://proxy.example:3128",
    }  # fmt: skip


def test_people_sign_in_by_kubelogin_with_the_clients_public_particulars() -> None:
    (user,) = made(by_sign_in(sign_in(scopes=["openid", "groups", "email"], ca=PEM)))["users"]
    plugin = user["user"]["exec"]
    assert plugin["apiVersion"] == "client.authentication.k8s.io/v1"
    assert [plugin["command"], *plugin["args"]] == [
        "kubectl", "oidc-login", "get-token", f"--oidc-issuer-url={ISSUER}", "--oidc-client-id=gcloud",
        "--oidc-extra-scope=groups", "--oidc-extra-scope=email",
        f"--certificate-authority-data={base64.b64encode(PEM.encode()).decode()}",
    ]  # fmt: skip
    assert plugin["interactiveMode"] == "IfAvailable"
    assert "oidc-login" in plugin["installHint"]


SECRET = re.compile(r"PRIVATE KEY|client-key-data|token:|password|secret", re.IGNORECASE)


@pytest.mark.parametrize(
    "user", [by_sign_in(sign_in(ca=PEM)), by_certificate(Path("/lab/users/x.crt"), Path("/lab/users/x.key"))]
)
def test_no_secret_stands_in_it(user: dict[str, Any]) -> None:
    text = kubeconfig(ENDPOINT, "moitt", user, PLACES)
    assert not SECRET.search(text)
    # The only long text is the authority's certificate, which is public.
    long = {word for word in re.findall(r"(?:[A-Za-z0-9+/]{4}){8,}=*", text) if not word.startswith("/")}
    assert all(base64.b64decode(word).startswith(b"-----BEGIN CERTIFICATE") for word in long), long


WRONG = {
    "a plain http issuer": "{issuer: http://id.example, clientId: x}",
    "an issuer with a query": '{issuer: "https://id.example/?a=b", clientId: x}',
    "a client's secret": "{issuer: https://id.example, clientId: x, clientSecret: s}",
    "no client": "{issuer: https://id.example}",
    "an option in the client's id": '{issuer: https://id.example, clientId: "x --insecure-skip-tls-verify"}',
    "an option in a scope": '{issuer: https://id.example, clientId: x, scopes: ["a b"]}',
    "a key in place of a certificate": '{issuer: https://id.example, clientId: x, ca: "-----BEGIN PRIVATE KEY-----"}',
    "a key behind a certificate": "{issuer: https://id.example, clientId: x, ca: "
    + json.dumps(PEM + "-----BEGIN PRIVATE KEY-----\n")
    + "}",
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_take_nothing_that_would_not_be_safe_in_it(case: str) -> None:
    reading = load(parse(f"signIn: {WRONG[case]}\n".encode(), "settings.yaml"), Settings)
    assert reading.model is None
    assert all((found.field or "").startswith("signIn") for found in reading.problems)
    assert reading.problems


def test_settings_take_what_is_meant() -> None:
    text = f"signIn: {{issuer: {ISSUER}, clientId: gcloud, scopes: [groups]}}\n"
    reading = load(parse(text.encode(), "settings.yaml"), Settings)
    assert reading.problems == ()
    assert reading.model is not None
    assert reading.model.sign_in == sign_in(scopes=["groups"])
