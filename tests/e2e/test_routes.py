"""The Gateway API on a control plane of our own: without its definitions, from their first moment on, and with all."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tests.e2e import policy_world
from tests.e2e.conftest import RunningLab, running
from tests.e2e.policy_world import GATEWAY_API, Fixture
from tests.e2e.test_policies import eventually, refused_without_its_binding, unrolled, warnings
from tests.e2e.test_verify import Ministry, a_ministry, not_passed

from gcloud_pk.cluster.kinds import TENANT_POLICY
from gcloud_pk.cluster.transport import Answer, Api
from gcloud_pk.console import Console
from gcloud_pk.lab import gateway_api
from gcloud_pk.lab.gateway_api import Channel
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.programs.toolchain import BuildError
from gcloud_pk.proof.probe import Refused, standard
from gcloud_pk.render import platform

FIXTURES = policy_world.fixtures(needing=True)
ADMITTED = [f for f in FIXTURES if not f.denied]
DENIED = [f for f in FIXTURES if f.denied]
ELSEWHERE = [f for f in policy_world.fixtures() if f.of in {"gpk-ingresses", "gpk-services"}]
ROUTES = {name for name in standard().probes if "ISO-240" <= name <= "ISO-259"}
PARAMETERS = TENANT_POLICY.path("fixture-test", labels.TENANT_POLICY_NAME)
GROUP = "/apis/gateway.networking.k8s.io/v1/namespaces/fixture-test"


@dataclass(frozen=True)
class Story:
    """What happened on the control plane before its fixtures are tried.

    `without`: the answers to ELSEWHERE and then to a foreign host before there were definitions; `first`: those to the
    foreign host from then on, until it was refused; `unserved`: the probes' findings on a tenant before; `alpha`: the
    answers to a foreign TLSRoute on a cluster that has never served more than an alpha version of it.
    """

    lab: RunningLab
    api: Api
    ministry: Ministry
    without: list[Answer]
    first: list[Answer]
    alpha: list[Answer]
    unserved: dict[str, Finding]


def defined(channel: Channel) -> list[dict[str, Any]]:
    try:
        return gateway_api.definitions(channel, Console())
    except BuildError as error:
        pytest.skip(f"the definitions of the Gateway API are not to be had: {error} {' '.join(error.log)}")


def serve(api: Api, definitions: list[dict[str, Any]]) -> None:
    """Install definitions and wait until each of their versions is served."""
    for definition in definitions:
        policy_world.apply(api, definition)
    for spec in (d["spec"] for d in definitions):
        for version in (v["name"] for v in spec["versions"] if v["served"]):
            path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"
            eventually(lambda path=path: api.request("GET", path, params={"limit": "1"}).ok, f"{path} is never served")


def named(case: str) -> Fixture:
    return next(f for f in FIXTURES if f.path.stem == case)


def only_served(definitions: list[dict[str, Any]], kind: str, version: str) -> dict[str, Any]:
    """Return a definition of which only one version is served."""
    made = copy.deepcopy(next(d for d in definitions if d["spec"]["names"]["kind"] == kind))
    for each in made["spec"]["versions"]:
        each["served"] = each["name"] == version
    return made


def until_served(api: Api, fixture: Fixture) -> list[Answer]:
    """Send a fixture until its kind is served; return all answers."""
    answers: list[Answer] = []

    def served() -> bool:
        answers.append(policy_world.send(api, fixture))
        return answers[-1].status != 404

    eventually(served, "never served")
    return answers


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    channels = defined("standard"), defined("experimental")
    with running(f"routes-{os.getpid()}", tmp_path_factory.mktemp("routes")) as lab:
        ministry = a_ministry(lab, "moitt")
        api = ministry.admin
        policy_world.install_platform(api)
        policy_world.build(api)
        ministry.bring()
        foreign, of_alpha = named("a-host-of-another-ministry"), named("a-tls-host-in-an-alpha-version")
        without = [policy_world.send(api, fixture) for fixture in (*ELSEWHERE, foreign)]
        unserved = ministry.verify(only=frozenset(ROUTES))
        policy_world.apply(api, only_served(channels[1], "TLSRoute", "v1alpha2"))
        alpha = until_served(api, of_alpha)
        for definition in channels[0]:
            policy_world.apply(api, definition)
        first = until_served(api, foreign)
        serve(api, channels[0])
        yield Story(lab, api, ministry, without, first, alpha, unserved)


@pytest.fixture(scope="module")
def standard_channel(story: Story) -> dict[str, Finding]:
    """What the probes find while only the standard channel is served."""
    return story.ministry.verify(only=frozenset(ROUTES))


@pytest.fixture(scope="module")
def api(story: Story, standard_channel: dict[str, Finding]) -> Api:
    """All that there is, and the fixtures' own routes and gateways; not before the standard channel was looked at."""
    serve(story.api, defined("experimental"))
    parameters = TENANT_POLICY.path("fixture-prod", labels.TENANT_POLICY_NAME)
    before = story.api.get(parameters)["spec"]["domains"]
    allow(story.api, parameters, domains=["old.fixture.gov.pk", *before])
    for manifest in yaml.safe_load_all((policy_world.POLICIES / "world-gateway-api.yaml").read_text()):
        policy_world.apply(story.api, manifest, "world")
    allow(story.api, parameters, domains=before)
    return story.api


def allow(api: Api, parameters: str, **spec: list[str]) -> None:
    answer = api.request("PATCH", parameters, body={"spec": spec}, content_type=policy_world.PATCH)
    assert answer.ok, answer.message


# Without, and from the first moment on


def test_without_the_gateway_api_everything_else_is_judged_as_ever(story: Story) -> None:
    *others, foreign = story.without
    for fixture, answer in zip(ELSEWHERE, others, strict=True):
        if fixture.earlier and fixture.earlier in answer.message:
            continue
        assert answer.ok is not fixture.denied, f"{fixture}: {answer.message}"
        assert not fixture.denied or policy_world.refused_by(fixture.policy, answer), f"{fixture}: {answer.message}"
    assert foreign.status == 404


def test_without_the_gateway_api_no_probe_of_it_applies(story: Story) -> None:
    assert {f.verdict for name, f in story.unserved.items() if name in ROUTES} == {Verdict.NOT_APPLICABLE}


@pytest.mark.parametrize("answers", ["first", "alpha"])
def test_no_route_slips_through_when_the_definitions_arrive(story: Story, answers: str) -> None:
    *earlier, last = getattr(story, answers)
    assert {answer.status for answer in earlier} <= {404}
    assert policy_world.refused_by("gpk-routes", last), last.message


def test_a_tenant_passes_on_a_cluster_of_the_standard_channel(standard_channel: dict[str, Finding]) -> None:
    assert not_passed(standard_channel) == {}
    assert {f.verdict for name, f in standard_channel.items() if name in ROUTES} == {Verdict.PASS}


# With all


@pytest.mark.parametrize("fixture", ADMITTED, ids=str)
def test_what_lies_in_admitted_is_admitted(api: Api, fixture: Fixture) -> None:
    answer = policy_world.send(api, fixture)
    assert answer.ok, answer.message


@pytest.mark.parametrize("fixture", DENIED, ids=str)
def test_what_lies_in_denied_is_refused_by_policy_and_field(api: Api, fixture: Fixture) -> None:
    answer = policy_world.send(api, fixture)
    assert policy_world.refused_by(fixture.policy, answer), f"{answer.status} {answer.message}"
    assert fixture.field in answer.message


@pytest.mark.parametrize("policy", ["gpk-gateways", "gpk-routes"])
def test_without_its_binding_a_denied_object_is_admitted(api: Api, policy: str) -> None:
    assert not refused_without_its_binding(api, policy, [f for f in DENIED if f.of == policy])


def test_every_kind_of_the_gateway_api_that_a_namespace_can_hold_has_a_fixture() -> None:
    served = {d["spec"]["names"]["kind"] for d in defined("experimental") if d["spec"]["scope"] == "Namespaced"}
    tried = {f.body["kind"] for f in DENIED}
    assert served - tried == {"XBackendTrafficPolicy"}  # which needs what it aims at
    assert tried <= set(GATEWAY_API)


def of_version(policy: dict[str, Any], version: str) -> dict[str, Any]:
    """Return a policy for one version: of all versions at once, the server checks no types."""
    made = copy.deepcopy(policy)
    for rule in made["spec"]["matchConstraints"]["resourceRules"]:
        rule["apiVersions"] = [version]
    return made


def test_the_policy_of_routes_type_checks(api: Api) -> None:
    assert warnings(api, of_version(unrolled("gpk-routes"), "v1")) == []


def test_type_checking_would_see_a_misspelt_field(api: Api) -> None:
    said = warnings(api, of_version(unrolled("gpk-routes", ("params.spec.domains", "params.spec.domainz")), "v1"))
    assert "undefined field 'domainz'" in str(said)


# Cost


def largest(kind: str, domains: list[str]) -> dict[str, Any]:
    """Return a route with as much of everything as its definition allows."""
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "own", "port": 80}}}
    headers = [{"name": f"x-{number}", "value": "any"} for number in range(16)]
    filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers}}, *15 * [mirror]]
    if kind == "HTTPRoute":
        filters[1] = {"type": "URLRewrite", "urlRewrite": {"hostname": domains[-1]}}
    backend = {"name": "own", "port": 80, "filters": filters}
    rules: list[dict[str, Any]] = 16 * [{"filters": filters, "backendRefs": 16 * [backend]}]
    if kind == "TLSRoute":
        rules = [{"backendRefs": 16 * [{"name": "own", "port": 80}]}]
    hosts = [f"h{number}.{domains[-1 - number % 500]}" for number in range(1024 if kind == "TLSRoute" else 16)]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "large", "namespace": "fixture-test"},
        "spec": {
            "parentRefs": [{"name": f"g{number}", "namespace": "gateway-19"} for number in range(32)],
            "hostnames": hosts,
            "rules": json.loads(json.dumps(rules)),  # each an object of its own
        },
    }


@pytest.fixture
def thousand_domains(api: Api) -> Iterator[list[str]]:
    domains = [f"d{number:04}.{'x' * 60}.fixture.gov.pk" for number in range(1000)]
    allow(api, PARAMETERS, domains=domains, gatewayNamespaces=[f"gateway-{number:02}" for number in range(20)])
    yield domains
    allow(api, PARAMETERS, domains=[], gatewayNamespaces=[])


@pytest.mark.parametrize("kind", ["HTTPRoute", "TLSRoute"])
def test_the_largest_route_against_a_thousand_domains_is_judged(
    api: Api, kind: str, thousand_domains: list[str]
) -> None:
    def sent(body: dict[str, Any]) -> Answer:
        return api.request("POST", f"{GROUP}/{GATEWAY_API[kind]}", body=body, params={"dryRun": "All"})

    route = largest(kind, thousand_domains)
    answer = eventually(lambda: (a := sent(route)).ok and a, "never admitted", seconds=60)
    assert answer.ok
    if kind == "TLSRoute":
        route["metadata"]["annotations"] = {f"own-{number}": "any" for number in range(200)}
        assert (answer := sent(route)).ok, answer.message
        route["metadata"]["annotations"]["one-more"] = "any"
        assert "[GPK-RTE-08] metadata.annotations: 201" in sent(route).message
        del route["metadata"]["annotations"]
        route["spec"]["hostnames"] = [f"{'a.' * 100}h{number}.stranger.gov.pk" for number in range(1024)]
        assert "[GPK-RTE-01] spec.hostnames[0]" in sent(route).message
    else:
        route["spec"]["rules"][-1]["backendRefs"][-1]["namespace"] = "stranger-prod"
        assert "[GPK-RTE-03] spec.rules[15].backendRefs[15]: " in sent(route).message


# What the probes are worth


def probes_of(rule: str) -> set[str]:
    expected = {name: standard().probes[name].expect for name in ROUTES}
    return {name for name, each in expected.items() if isinstance(each, Refused) and each.rule == rule}


def rule_of(validation: dict[str, Any]) -> str:
    return str(validation["message"][1:11])


def test_each_rule_of_routes_that_is_taken_away_is_missed_by_exactly_its_probes(api: Api, story: Story) -> None:
    policy = next(
        m for m in platform.platform_objects()
        if m["kind"] == "ValidatingAdmissionPolicy" and m["metadata"]["name"] == "gpk-routes"
    )  # fmt: skip
    validations = policy["spec"]["validations"]
    # What the standard channel drops unseen, its definitions do not let anybody try; a probe is no large object.
    assert {rule_of(v) for v in validations if not probes_of(rule_of(v))} == {"GPK-RTE-06", "GPK-RTE-08"}

    def missed() -> dict[str, str]:
        return not_passed(story.ministry.verify(only=frozenset(ROUTES)))

    try:
        for gone in (v for v in validations if probes_of(rule_of(v))):
            kept = [v for v in validations if v != gone]
            policy_world.apply(api, {**policy, "spec": {**policy["spec"], "validations": kept}})
            expected = dict.fromkeys(probes_of(rule_of(gone)), "fail")
            eventually(lambda expected=expected: missed() == expected, f"{rule_of(gone)}: {missed()}, not {expected}")
    finally:
        policy_world.apply(api, policy)
    eventually(lambda: missed() == {}, "never mended")
