"""Live probes without packets: which flows are tried, what is believed of what came back, and what the pods are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.proof_server import FakeServer, Request, admitted, refused
from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.kinds import POD
from gcloud_pk.cluster.transport import Api
from gcloud_pk.commands.live import items, live_request, unenforced
from gcloud_pk.errors import WrongUsageError
from gcloud_pk.model.finding import Finding, Verdict, exit_code
from gcloud_pk.model.site import Site
from gcloud_pk.onboarding.standing import Standing
from gcloud_pk.onboarding.verification import environment
from gcloud_pk.proof.live import pods, station
from gcloud_pk.proof.live.aims import METADATA, Address, Aims, dns_pods, let_in
from gcloud_pk.proof.live.aims import read as read_aims
from gcloud_pk.proof.live.judgement import Attempt, Post, judge, unjudged
from gcloud_pk.proof.live.plan import CHECKS, WITNESS, Flow, Plan, plan
from gcloud_pk.proof.live.pods import Home, Run, Seen, seen
from gcloud_pk.proof.live.program import OPEN, REFUSED, SILENT, STRANGE, UNREACHABLE
from gcloud_pk.proof.live.run import batches, omitted
from gcloud_pk.proof.target import Target

A, B = "moitt-eoffice", "fbr-tax"
HOSTS = {A: "10.208.0.1", B: "10.208.0.2", "fbr-customs": "10.208.0.3", WITNESS: "10.208.0.4"}
SUBJECT = "tenant/moitt/eoffice"
UNENFORCED = "not enforced here: a bridge"
BRIDGE = "the network bridge, which enforces no NetworkPolicy"

CLOSED_CODES = (SILENT, REFUSED, UNREACHABLE)
SERVER = Address("10.209.0.1", 443)
RUN = Run("0a1b2c3d-4e5f6071", "word")


def a_target(
    *environments: str | dict[str, Any], name: str = "moitt", others: tuple[str, ...] = ("fbr-tax",)
) -> Target:
    tenant = a_tenant(name, environments or ("eoffice", "portal"))
    made = tuple(environment(tenant, e) for e in tenant.request.spec.environments)
    return Target(name, made, admins=(f"oidc:{name}-admins",), other_namespaces=others)


def furnished(**more: Any) -> dict[str, Any]:
    return {
        "name": "eoffice",
        "tier": "production",
        "quota": {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20},
        **more,
    }


def a_site(name: str, cluster: str, network: str) -> Site:
    return Site.model_validate(
        {
            "apiVersion": "gcloud.gov.pk/v1alpha1",
            "kind": "Site",
            "metadata": {"name": name},
            "spec": {
                "operator": "NTC",
                "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
                "admits": ["open"],
                "clusters": [{"name": cluster, "networkPlugin": network}],
            },
        }
    )


def flows(made: Plan, check: str, subject: str = "tenant/moitt/eoffice") -> set[tuple[str, str, str]]:
    return {(f.source, str(f.aim), f.expected) for f in made.flows if (f.check, f.subject) == (check, subject)}


# The plan.


def test_every_environment_tries_the_whole_matrix() -> None:
    aims = Aims(servers=(SERVER,), kubelets=(Address("10.207.0.11", 10250),), dns_others=(Address("10.208.0.9", 9153),))
    made = plan([a_target()], aims, [Address("192.0.2.1", 443)])
    judged = {"tenant/moitt/eoffice", "tenant/moitt/portal"}
    assert set(made.subjects) == judged
    tried = {s: {f.check for f in made.flows if f.subject == s} for s in judged}
    # Who may come in is the gateway's and monitoring's matter; this tenant declares no flow to the outside.
    assert tried == dict.fromkeys(judged, set(CHECKS) - {"ISO-700", "ISO-714"})
    assert flows(made, "ISO-702") == {("moitt-eoffice", "moitt-portal", "closed")}
    assert flows(made, "ISO-703") == {("moitt-eoffice", "fbr-tax", "closed")}
    assert flows(made, "ISO-704") == {("fbr-tax", "moitt-eoffice", "closed")}
    assert {h.namespace for h in made.homes} == {A, "moitt-portal", B, WITNESS, "monitoring"}


def test_every_flow_between_pods_is_tried_over_tcp_and_udp() -> None:
    made = plan([a_target()], Aims())
    between = [f for f in made.flows if isinstance(f.aim, str)]
    of = {(f.source, f.aim, f.check, f.subject) for f in between}
    assert len(between) == 2 * len(of)


def test_the_platforms_pod_tries_every_address_so_that_silence_means_something() -> None:
    aims = Aims(servers=(SERVER,), kubelets=(Address("10.207.0.11", 10250),))
    made = plan([a_target()], aims, [Address("192.0.2.1", 443)])
    aimed = {f.aim for f in made.flows if isinstance(f.aim, Address) and f.settled is None}
    assert {f.aim for f in made.flows if f.source == WITNESS and isinstance(f.aim, Address)} == aimed
    assert {f.source for f in made.flows if f.aim == f.source} == {h.namespace for h in made.homes}


def test_gateways_are_let_in_where_domains_are_and_kept_out_elsewhere() -> None:
    made = plan([a_target(furnished(domains=["eoffice.moitt.gov.pk"]), "portal")], Aims())
    assert ("gateway", "moitt-eoffice", "open") in flows(made, "ISO-715")
    assert ("gateway", "moitt-portal", "closed") in flows(made, "ISO-706", "tenant/moitt/portal")
    assert ("monitoring", "moitt-portal", "open") in flows(made, "ISO-715", "tenant/moitt/portal")


def test_an_address_outside_is_open_on_the_declared_port_only() -> None:
    egress = [{"to": "192.0.2.0/24", "ports": [{"port": 5432, "protocol": "TCP"}], "reason": "database"}]
    named = [Address("192.0.2.1", 5432), Address("192.0.2.1", 443), Address("198.51.100.1", 5432)]
    made = plan([a_target(furnished(egress=egress), "portal")], Aims(), named)
    assert flows(made, "ISO-714") == {("moitt-eoffice", "192.0.2.1:5432/TCP", "open")}
    closed = {"192.0.2.1:443/TCP", "198.51.100.1:5432/TCP"}
    assert flows(made, "ISO-710") == {("moitt-eoffice", a, "closed") for a in closed}
    assert len(flows(made, "ISO-710", "tenant/moitt/portal")) == 3


@pytest.mark.parametrize(
    ("to", "port", "tried"),
    [
        ("192.0.2.9/32", {"port": 5432, "protocol": "TCP"}, "192.0.2.9:5432/TCP"),
        ("192.0.2.0/24", {"port": 5432, "protocol": "TCP"}, None),
        ("192.0.2.9/32", {"port": 514, "protocol": "UDP"}, None),
        ("192.0.2.9/32", {"port": 53, "protocol": "UDP"}, "192.0.2.9:53/UDP"),
    ],
    ids=["one address", "a network of which no address is named", "UDP, which nobody answers", "DNS over UDP"],
)
def test_a_declared_flow_that_cannot_be_tried_is_not_checked(to: str, port: dict[str, Any], tried: str | None) -> None:
    egress = [{"to": to, "ports": [port], "reason": "a system"}]
    made = plan([a_target(furnished(egress=egress))], Aims())
    (flow,) = [f for f in made.flows if f.check == "ISO-714"]
    if tried is None:
        assert flow.settled is not None
        assert flow.settled[0] is Verdict.NOT_CHECKED
    else:
        assert (flow.settled, str(flow.aim)) == (None, tried)


def test_what_the_tenant_opened_between_its_own_environments_is_not_judged() -> None:
    made = plan([a_target()], Aims(own_flows={("moitt-eoffice", "moitt-portal"): ("out", "in")}))
    settled = {f.settled for f in made.flows if f.check == "ISO-702" and f.source == "moitt-eoffice"}
    assert {s[0] for s in settled if s} == {Verdict.NOT_APPLICABLE}
    assert {f.settled for f in made.flows if f.check == "ISO-702" and f.source == "moitt-portal"} == {None}


def test_without_an_address_outside_that_check_is_left_out_and_says_so() -> None:
    made = plan([a_target()], Aims())
    assert "ISO-710" not in {f.id for f in judge(made, {}, Aims())}
    assert omitted(pods_options()) == ["ISO-710"]
    assert omitted(None) == sorted([*CHECKS, "ISO-718"])


def pods_options() -> Any:
    return live_request(**asked()).options


def test_a_run_of_many_tenants_goes_in_groups() -> None:
    targets = [a_target(*(f"e{n}" for n in range(4)), name=f"tenant{t}") for t in range(13)]
    groups = list(batches(targets))
    assert [t for group in groups for t in group] == targets
    assert [len(group) for group in groups] == [6, 6, 1]


# What is believed.


def heard(
    flow: Flow,
    code: str,
    *others: tuple[Flow, str],
    trouble: str | None = None,
    aims: Aims | None = None,
    unenforced: str | None = None,
) -> Finding:
    """Judge one flow of A, beside what others heard."""
    posts: dict[str, Post] = {}
    for each, said in ((flow, code), *others):
        address = each.aim if isinstance(each.aim, Address) else Address(HOSTS[each.aim], 7654, each.protocol)
        attempts = (*posts.get(each.source, Post()).attempts, Attempt(each, address, said, 0.1))
        posts[each.source] = Post(attempts=attempts)
    if trouble is not None:
        posts[flow.source] = Post(trouble)
    made = Plan((), (flow, *(f for f, _ in others)), {SUBJECT: A})
    return next(f for f in judge(made, posts, aims or Aims(), unenforced) if f.id == flow.check)


def out(check: str = "ISO-703", aim: Address | str = B, **more: Any) -> Flow:
    return Flow(A, aim, "TCP", "closed", check, SUBJECT, **more)


def own(namespace: str, protocol: Any = "TCP") -> Flow:
    return Flow(namespace, namespace, protocol, "open")


@pytest.mark.parametrize("code", [OPEN, *CLOSED_CODES, STRANGE])
@pytest.mark.parametrize(("control", "witness"), list(itertools.product([OPEN, SILENT], repeat=2)))
def test_a_closed_flow_passes_only_beside_a_control_and_a_witness(code: str, control: str, witness: str) -> None:
    said = heard(out(), code, (own(A), control), (own(B), witness))
    if code == OPEN:
        assert said.verdict is Verdict.FAIL
    elif code == STRANGE:
        assert said.verdict is Verdict.ERROR
    elif (control, witness) == (OPEN, OPEN):
        assert said.verdict is Verdict.PASS
    else:
        assert said.verdict is Verdict.NOT_CHECKED
        assert said.reason


def test_a_control_over_the_other_protocol_is_none() -> None:
    assert heard(out(), SILENT, (own(A, "UDP"), OPEN), (own(B), OPEN)).verdict is Verdict.NOT_CHECKED


def test_the_pod_itself_is_no_witness() -> None:
    earlier = Flow(A, SERVER, "TCP", "open")
    assert heard(out("ISO-707", SERVER), SILENT, (own(A), OPEN), (earlier, OPEN)).verdict is Verdict.NOT_CHECKED


def test_a_witness_at_another_port_of_the_same_host_is_none() -> None:
    other = Flow(WITNESS, replace(SERVER, port=80), "TCP", "open")
    said = heard(out("ISO-707", SERVER), SILENT, (own(A), OPEN), (own(WITNESS), OPEN), (other, OPEN))
    assert said.verdict is Verdict.NOT_CHECKED


@pytest.mark.parametrize(
    ("check", "code", "witness", "verdict"),
    [
        ("ISO-711", OPEN, SILENT, Verdict.PASS),
        ("ISO-711", SILENT, OPEN, Verdict.FAIL),
        ("ISO-711", SILENT, SILENT, Verdict.NOT_CHECKED),
        ("ISO-711", STRANGE, OPEN, Verdict.ERROR),
    ],
)
def test_an_open_flow_fails_only_where_somebody_else_is_answered(
    check: str, code: str, witness: str, verdict: Verdict
) -> None:
    names = Address("10.209.0.10", 53, "UDP")
    flow = Flow(A, names, "UDP", "open", check, SUBJECT)
    assert heard(flow, code, (Flow(WITNESS, names, "UDP", "open"), witness)).verdict is verdict


@pytest.mark.parametrize(("elsewhere", "verdict"), [(OPEN, Verdict.FAIL), (SILENT, Verdict.NOT_CHECKED)])
def test_a_namespace_that_does_not_reach_itself_fails_where_others_do(elsewhere: str, verdict: Verdict) -> None:
    itself = Flow(A, A, "TCP", "open", "ISO-701", SUBJECT)
    assert heard(itself, SILENT, (own(B), elsewhere)).verdict is verdict


@pytest.mark.parametrize(
    ("held", "control", "verdict"),
    [
        ((), OPEN, Verdict.NOT_APPLICABLE),
        (("a-policy",), OPEN, Verdict.NOT_CHECKED),
        ((), SILENT, Verdict.NOT_CHECKED),
    ],
    ids=["nobody holds the platform's pod", "a policy may hold it", "its network does not work"],
)
def test_a_metadata_service_is_absent_only_where_a_free_pod_finds_none(
    held: tuple[str, ...], control: str, verdict: Verdict
) -> None:
    metadata = Address(METADATA, 80)
    tried = Flow(WITNESS, metadata, "TCP", "open")
    said = heard(
        out("ISO-709", metadata), SILENT, (own(A), OPEN), (own(WITNESS), control), (tried, SILENT), aims=Aims(held=held)
    )
    assert said.verdict is verdict


def test_only_the_metadata_service_may_be_absent() -> None:
    said = heard(
        out("ISO-707", SERVER),
        SILENT,
        (own(A), OPEN),
        (own(WITNESS), OPEN),
        (Flow(WITNESS, SERVER, "TCP", "open"), SILENT),
    )
    assert said.verdict is Verdict.NOT_CHECKED


def test_one_flow_that_is_open_fails_the_check_whatever_the_others_say() -> None:
    said = heard(out(), SILENT, (own(A), OPEN), (own(B), OPEN), (out(aim="fbr-customs"), OPEN))
    assert said.verdict is Verdict.FAIL
    assert len(said.evidence["tried"]) == 2


@pytest.mark.parametrize("code", [OPEN, *CLOSED_CODES, STRANGE])
@pytest.mark.parametrize(("control", "witness"), list(itertools.product([OPEN, SILENT], repeat=2)))
def test_where_nothing_is_enforced_no_closed_flow_is_judged(code: str, control: str, witness: str) -> None:
    said = heard(out(), code, (own(A), control), (own(B), witness), unenforced=UNENFORCED)
    assert (said.verdict, said.reason) == (Verdict.NOT_CHECKED, UNENFORCED)


def test_where_nothing_is_enforced_an_absent_metadata_service_is_not_judged_either() -> None:
    metadata = Address(METADATA, 80)
    others = ((own(A), OPEN), (own(WITNESS), OPEN), (Flow(WITNESS, metadata, "TCP", "open"), SILENT))
    assert heard(out("ISO-709", metadata), SILENT, *others).verdict is Verdict.NOT_APPLICABLE
    said = heard(out("ISO-709", metadata), SILENT, *others, unenforced=UNENFORCED)
    assert (said.verdict, said.reason) == (Verdict.NOT_CHECKED, UNENFORCED)


@pytest.mark.parametrize(("code", "verdict"), [(OPEN, Verdict.PASS), (SILENT, Verdict.FAIL)])
def test_where_nothing_is_enforced_open_flows_are_judged_all_the_same(code: str, verdict: Verdict) -> None:
    names = Address("10.209.0.10", 53, "UDP")
    flow, witness = Flow(A, names, "UDP", "open", "ISO-711", SUBJECT), Flow(WITNESS, names, "UDP", "open")
    assert heard(flow, code, (witness, OPEN), unenforced=UNENFORCED).verdict is verdict


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("bridge", f"not enforced here: cluster a of site isb-1 has {BRIDGE}"),
        ("cilium", None),
        (None, None),
    ],
    ids=["a bridge", "cilium", "no site names the cluster"],
)  # fmt: skip
def test_the_site_says_whether_its_network_enforces(network: str | None, said: str | None) -> None:
    site = a_site("isb-1", "a", network) if network else None
    cluster = site.spec.clusters[0] if site else None
    assert unenforced(Standing("uid", None, site, cluster)) == said


def test_a_pod_that_did_not_report_checks_nothing() -> None:
    said = heard(out(), SILENT, (own(B), OPEN), trouble="it is Pending")
    assert (said.verdict, said.reason) == (Verdict.NOT_CHECKED, f"from {A}: it is Pending")


def test_where_nobody_listens_nothing_is_shown() -> None:
    made = Plan((), (out(), own(A)), {SUBJECT: A})
    posts = {A: Post(attempts=(Attempt(own(A), Address("10.208.0.1", 7654), OPEN, 0.1),)), B: Post("a full quota")}
    (said,) = [f for f in judge(made, posts, Aims()) if f.id == "ISO-703"]
    assert (said.verdict, said.reason) == (Verdict.NOT_CHECKED, f"to {B}: a full quota")


def test_a_cluster_without_nodes_has_no_verdict_that_passes() -> None:
    found = unjudged(["tenant/moitt/eoffice"], "no nodes")
    assert {f.verdict for f in found} == {Verdict.NOT_CHECKED}
    assert exit_code(found) == 7


# What the cluster says of itself.


def api_of(script: Callable[[Request], Any], server: str = "https://192.0.2.7:6443") -> Api:
    """Return an API whose answers follow a script, under an address."""
    api = FakeServer(script).api()
    object.__setattr__(api, "access", type("Access", (), {"server": server})())
    return api


def test_what_cannot_be_read_is_unknown_and_never_absent() -> None:
    said = 'services is forbidden: User "x" cannot list resource "services"'
    api = api_of(lambda _: refused(said), "https://127.0.0.1:6443")
    aims = read_aims(api, [a_target()])
    assert aims.nodes is None
    assert aims.held == ("its network policies cannot be listed",)
    made = plan([a_target()], aims)
    for check in ("ISO-707", "ISO-713"):
        (flow,) = [f for f in made.flows if (f.check, f.subject) == (check, SUBJECT)]
        assert flow.settled is not None
        assert flow.settled[0] is Verdict.NOT_CHECKED
        assert "cannot list resource" in flow.settled[1]


def a_name_server(address: str | None, *, ready: bool = True, metrics: int | None = 9153) -> dict[str, Any]:
    ports = [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]
    status: dict[str, Any] = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {
        "metadata": {"name": "coredns"},
        "spec": {"containers": [{"ports": ports + ([{"containerPort": metrics}] if metrics else [])}]},
        "status": status | ({"podIP": address} if address else {}),
    }


@pytest.mark.parametrize(
    ("listed", "tried"),
    {
        "one that is ready": ([a_name_server("10.1.0.1")], "10.1.0.1"),
        "its node starts again: no address yet": ([a_name_server(None), a_name_server("10.1.0.2")], "10.1.0.2"),
        "one that is not ready": ([a_name_server("10.1.0.1", ready=False), a_name_server("10.1.0.2")], "10.1.0.2"),
        "none is ready": ([a_name_server(None), a_name_server("10.1.0.1", ready=False)], "10.1.0.1"),
    }.values(),
)  # fmt: skip
def test_packets_go_to_a_name_server_that_runs(listed: list[dict[str, Any]], tried: str) -> None:
    aims = read_aims(where_name_servers_are(listed), [a_target()])
    assert aims.dns_others == (Address(tried, 9153),)
    assert aims.no_dns is None


@pytest.mark.parametrize(
    ("listed", "why"),
    {
        "none is there": ([], "no pod of a name server is known"),
        "all are starting": ([a_name_server(None)], "no pod of a name server runs at an address"),
        "all have ended": ([a_name_server("10.1.0.1") | {"status": {"phase": "Failed", "podIP": "10.1.0.1"}}],
                           "no pod of a name server runs at an address"),
    }.values(),
)  # fmt: skip
def test_where_no_name_server_runs_its_other_ports_are_not_checked(listed: list[dict[str, Any]], why: str) -> None:
    aims = read_aims(where_name_servers_are(listed), [a_target()])
    (flow,) = [f for f in plan([a_target()], aims).flows if (f.check, f.subject) == ("ISO-713", SUBJECT)]
    assert flow.settled is not None
    assert flow.settled[0] is Verdict.NOT_CHECKED
    assert flow.settled[1].startswith(why)


def test_name_servers_that_declare_no_other_port_have_none_to_try() -> None:
    aims = read_aims(where_name_servers_are([a_name_server("10.1.0.1", metrics=None)]), [a_target()])
    assert [f for f in plan([a_target()], aims).flows if f.check == "ISO-713"] == []


def where_name_servers_are(listed: list[dict[str, Any]]) -> Api:
    def script(request: Request) -> Any:
        return admitted({"items": listed if request.path == POD.path("kube-system") else []}, 200)

    return api_of(script)


def test_policies_of_the_tenants_own_making_are_found_at_both_ends() -> None:
    def policy(namespace: str, direction: str, side: str, other: str, **metadata: Any) -> dict[str, Any]:
        peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": other}}}
        return {
            "metadata": {"name": f"own-{direction}", "namespace": namespace, **metadata},
            "spec": {direction: [{side: [peer]}]},
        }

    made = [
        policy("moitt-eoffice", "egress", "to", "moitt-portal"),
        policy("moitt-portal", "ingress", "from", "moitt-eoffice"),
        policy("moitt-portal", "egress", "to", "moitt-eoffice"),
    ]

    def script(request: Request) -> Any:
        if request.path.endswith("/networkpolicies"):
            return admitted({"items": [p for p in made if p["metadata"]["namespace"] in request.path]}, 200)
        return admitted({"items": []}, 200)

    api = api_of(script)
    aims = read_aims(api, [a_target()])
    assert aims.own_flows == {("moitt-eoffice", "moitt-portal"): ("own-egress", "own-ingress")}
    assert aims.servers == (Address("192.0.2.7", 6443),)


def test_the_request_says_who_is_let_in_and_where_names_are_asked() -> None:
    target = a_target(furnished(domains=["eoffice.moitt.gov.pk"]))
    assert let_in(target.active[0].flows) == {"gateway", "monitoring"}
    assert dns_pods([target]) == (("kube-system", "k8s-app=kube-dns"),)


# The pods.


def test_the_listener_and_the_caller_carry_the_program_and_end_by_themselves() -> None:
    tries = [["10.208.0.1", 7654, "TCP", "word", 5, 0]]
    for made in (
        pods.listener(RUN, Home(A), "python:3"),
        pods.caller(RUN, Home(A), "python:3", tries, 1.0),
    ):
        spec = made["spec"]
        assert spec["activeDeadlineSeconds"] == RUN.seconds
        assert not spec["automountServiceAccountToken"]
        assert made["metadata"]["labels"] == {"gcloud.gov.pk/probe": RUN.id}
        command = spec["containers"][0]["command"]
        assert command[:3] == ["python3", "-I", "-c"]
        compile(command[3], "program", "exec")
        assert json.loads(command[5])["word"] == "word"


def test_a_tenant_with_nodes_of_its_own_is_probed_there() -> None:
    spec = pods.listener(RUN, Home(A, "moitt", "dedicated-nodes"), "python:3")["spec"]
    assert spec["nodeSelector"] == {"gcloud.gov.pk/tenant": "moitt"}


@pytest.mark.parametrize(
    ("hard", "used", "named"),
    [
        ({"pods": "20"}, {"pods": "18"}, None),
        ({"pods": "20"}, {"pods": "19"}, "pods 19 of 20 used, 2 needed"),
        ({"limits.cpu": "4"}, {"limits.cpu": "3600m"}, "limits.cpu 3600m of 4 used, 500m needed"),
        ({"requests.memory": "8Gi"}, {"requests.memory": "8100Mi"}, "requests.memory 8100Mi of 8Gi used, 96Mi needed"),
        ({"secrets": "1"}, {"secrets": "1"}, None),
        ({"pods": "1"}, {}, "pods 0 of 1 used, 2 needed"),
    ],
)
def test_a_quota_without_room_for_both_pods_is_named(hard: Any, used: Any, named: str | None) -> None:
    quota = {"metadata": {"name": "tenant"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}
    said = pods.lacking([quota])
    assert said is None if named is None else said is not None and said.endswith(named)
    scoped = {**quota, "spec": {"hard": hard, "scopes": ["Terminating"]}}
    assert pods.lacking([scoped]) is None


def test_why_a_pod_does_not_start_is_read_from_its_status() -> None:
    pulling = {
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}]}
    }
    assert (seen(pulling).waiting, seen(pulling).hopeless) == ("ImagePullBackOff: no", True)
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]
    assert seen({"status": {"conditions": conditions}}).waiting == "Unschedulable: 0/3 nodes"
    assert seen({}) == Seen()


def test_a_machine_keeps_its_station_and_two_runs_at_once_never_share_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with station.station() as first, station.station() as second:
        assert first != second
    with station.station() as again:
        assert again == first


# The options.


def asked(**changed: Any) -> dict[str, Any]:
    return {
        "live": True,
        "live_context": "admin",
        "live_images": ("python:3",),
        "live_platform_images": (),
        "live_outside": (),
        "live_wait": 5.0,
        "allow_unregistered_cluster": False,
        **changed,
    }


@pytest.mark.parametrize("text", ["192.0.2.1", "192.0.2.1:0", "192.0.2.1:70000", "example.gov.pk:443", ":1", "[::1]:x"])
def test_an_address_outside_is_an_ip_address_and_a_port(text: str) -> None:
    with pytest.raises(WrongUsageError, match="is no address"):
        live_request(**asked(live_outside=(text,)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"live_context": None}, "needs --live-context and --live-image"),
        ({"live_images": ()}, "needs --live-context and --live-image"),
        ({"live": False}, "--live is not"),
    ],
)
def test_options_that_do_not_fit_together_are_wrong_usage(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongUsageError, match=said):
        live_request(**asked(**changed))


def test_a_live_check_is_not_to_be_had_without_live() -> None:
    nothing = live_request(**asked(live=False, live_context=None, live_images=()))
    with pytest.raises(WrongUsageError, match="ISO-703: shown by packets only"):
        nothing.check(["ISO-020 iso-703,GPK-NET-001"])
    nothing.check(["ISO-020", "GPK-NET-001"])
    live_request(**asked()).check(["ISO-703"])


def test_addresses_of_both_kinds_are_read() -> None:
    options = live_request(**asked(live_outside=("192.0.2.1:443", "[2001:db8::1]:443"))).options
    assert options is not None
    assert [str(a) for a in options.outside] == ["192.0.2.1:443/TCP", "[2001:db8::1]:443/TCP"]


def test_every_live_check_is_listed_and_left_out_without_live() -> None:
    ids = sorted(item.id for item in items())
    assert ids == omitted(None)
    nothing = live_request(**asked(live=False, live_context=None, live_images=()))
    assert set(ids) <= set(nothing.omitted(["ISO-901"], None))
    assert "ISO-901" not in live_request(**asked()).omitted(["ISO-901"], None)
