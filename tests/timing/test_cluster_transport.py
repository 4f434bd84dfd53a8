"""The transport against a tiny local server (`cluster_server.py`)."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.unit.cluster_server import DROP, Asked, certificate, serving, status

from gcloud_pk.cluster import transport
from gcloud_pk.cluster.answer import ConflictError, CredentialsError, ForbiddenError, NotFoundError, refusal
from gcloud_pk.cluster.identity import cluster_uid
from gcloud_pk.cluster.kinds import NETWORK_POLICY
from gcloud_pk.cluster.kubeconfig import Access
from gcloud_pk.cluster.transport import Answer, Api, Identity
from gcloud_pk.errors import RefusedError, UnavailableError

OK = (200, {"kind": "Thing"})


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_an_answer_carries_the_audit_id_and_the_servers_warnings() -> None:
    headers = {"Audit-Id": "a-1", "Warning": '299 - "would violate \\"restricted\\""'}
    with serving(lambda _: (201, {"kind": "Pod"}, headers)) as server:
        answer = server.api().request("POST", "/api/v1/pods", body={}, params={"dryRun": "All"})
    assert (answer.status, answer.ok, answer.audit_id) == (201, True, "a-1")
    assert answer.warnings == ('would violate "restricted"',)
    assert answer.seconds > 0


@pytest.mark.parametrize("code", [400, 403, 404, 409, 422])
def test_a_refusal_is_an_answer_and_no_exception(code: int) -> None:
    with serving(lambda _: status(code, "no")) as server:
        answer = server.api().request("GET", "/x")
        assert (answer.status, answer.ok, answer.message) == (code, False, "no")
        assert len(server.asked) == 1


def test_what_is_no_json_is_shown_as_the_servers_words() -> None:
    with serving(lambda _: (404, b"<html>not here</html>")) as server:
        assert server.api().request("GET", "/x").message == "<html>not here</html>"


def test_a_reply_without_words_is_named_by_its_number() -> None:
    assert Answer(418, {}).message == "HTTP 418"


def test_a_server_that_does_not_listen_is_named_with_what_to_do() -> None:
    url = closed_port()
    started = time.monotonic()
    api = Api(Access(context="test", server=url), patience=0.5)
    with pytest.raises(UnavailableError, match=f"{url} does not answer: .*refused") as caught:
        api.request("PATCH", "/x", body={})
    assert 0.2 < time.monotonic() - started < 60, "it is tried again, but not for ever"
    assert "kubectl --context test" in str(caught.value.resolution)
    assert api.persisted == 0, "what was never sent was never written"


def test_a_server_that_never_answered_is_not_waited_for_as_long_as_one_that_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "_STRANGER_SECONDS", 0.3)
    started = time.monotonic()
    with pytest.raises(UnavailableError):
        Api(Access(context="test", server=closed_port()), patience=300).request("GET", "/x")
    assert time.monotonic() - started < 60
    replies = iter([OK, DROP, DROP, DROP, OK])
    with serving(lambda _: next(replies)) as server:
        api = server.api(patience=60)
        assert api.request("GET", "/x").ok
        assert api.request("GET", "/x").ok, "0.7 s of pauses"


def test_a_server_that_comes_back_is_heard() -> None:
    replies = iter([DROP, DROP, OK])
    with serving(lambda _: next(replies)) as server:
        assert server.api(patience=60).request("GET", "/x").ok


@pytest.mark.parametrize(
    ("method", "params", "asked"),
    [("GET", None, 2), ("PATCH", None, 2), ("POST", {"dryRun": "All"}, 2), ("POST", None, 1)],
)
def test_only_what_does_no_harm_twice_is_sent_twice(method: str, params: Any, asked: int) -> None:
    replies = iter([DROP, OK])
    with serving(lambda _: next(replies)) as server:
        api = server.api(patience=60)
        if asked == 1:
            with pytest.raises(UnavailableError):
                api.request(method, "/api/v1/x", params=params)
        else:
            assert api.request(method, "/api/v1/x", params=params).ok
        assert len(server.asked) == asked


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_an_overloaded_server_is_asked_again(code: int) -> None:
    replies = iter([status(code, "later"), OK])
    with serving(lambda _: next(replies)) as server:
        assert server.api(patience=60).request("PATCH", "/x").ok


def test_retry_after_is_obeyed() -> None:
    replies = iter([(429, {}, {"Retry-After": "0.4"}), OK])
    with serving(lambda _: next(replies)) as server:
        started = time.monotonic()
        assert server.api(patience=60).request("POST", "/x").ok
        assert time.monotonic() - started >= 0.4


def test_a_retry_after_beyond_the_patience_is_not_waited_for() -> None:
    with serving(lambda _: (429, {"message": "too many"}, {"Retry-After": "60"})) as server:
        started = time.monotonic()
        assert server.api(patience=50).request("GET", "/x").status == 429
        assert time.monotonic() - started < 40


def test_a_500_that_lasts_is_not_asked_again() -> None:
    message = "failed to create typed patch object (x): .spec.foo: field not declared in schema"
    with serving(lambda _: status(500, message)) as server:
        assert server.api(patience=60).request("PATCH", "/x").status == 500
        assert len(server.asked) == 1


def test_a_hurried_client_tries_nothing_again() -> None:
    with serving(lambda _: status(503, "later")) as server:
        api = server.api(patience=300)
        api.hurry()
        started = time.monotonic()
        assert api.request("GET", "/x").status == 503
        assert time.monotonic() - started < 60
        assert len(server.asked) == 1


def test_just_after_a_server_came_back_its_refusals_are_not_believed() -> None:
    replies = iter([DROP, status(403, 'User "x" cannot get resource "pods"'), OK])
    with serving(lambda _: next(replies)) as server:
        assert server.api(patience=60).request("GET", "/x").ok


@pytest.mark.parametrize(
    ("method", "path", "params", "counted"),
    [
        ("PATCH", "/api/v1/namespaces/a", {"fieldManager": "gcloud-pk"}, 1),
        ("DELETE", "/api/v1/namespaces/a", None, 1),
        ("PATCH", "/api/v1/namespaces/a", {"dryRun": "All"}, 0),
        ("GET", "/api/v1/namespaces/a", None, 0),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", None, 0),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/a/leases", None, 0),
    ],
)
def test_persisted_counts_what_stays_on_the_cluster(method: str, path: str, params: Any, counted: int) -> None:
    with serving(lambda _: OK) as server:
        api = server.api()
        api.impersonating(Identity("somebody")).request(method, path, params=params, body={})
        assert api.persisted == counted


def test_a_refused_write_is_not_counted() -> None:
    with serving(lambda _: status(403, "no")) as server:
        api = server.api()
        api.request("PATCH", "/api/v1/namespaces/a", body={})
        assert api.persisted == 0


def test_a_write_whose_answer_was_lost_counts_as_written() -> None:
    with serving(lambda _: DROP) as server:
        api = server.api(patience=0.2)
        with pytest.raises(UnavailableError):
            api.request("PATCH", "/api/v1/namespaces/a", body={})
        assert api.persisted > 0


def test_an_impersonating_copy_says_whom_it_acts_as() -> None:
    with serving(lambda _: OK) as server:
        server.api(token="t").impersonating(Identity("ali", ("oidc:a", "وزارت"))).request("GET", "/x")
        asked = server.asked[0]
    assert asked.header("Impersonate-User") == ["ali"]
    groups = [value.encode("latin-1").decode() for value in asked.header("Impersonate-Group")]
    assert groups == ["oidc:a", "وزارت"]
    assert asked.header("Authorization") == ["Bearer t"]


def test_the_kubeconfigs_own_as_is_obeyed() -> None:
    with serving(lambda _: OK) as server:
        server.api(user="ali", groups=("g",)).request("GET", "/x")
        assert server.asked[0].header("Impersonate-User") == ["ali"]


def test_a_list_follows_its_pages_and_names_kind_and_version() -> None:
    def reply(asked: Asked) -> Any:
        assert asked.params["limit"] == "2000"
        assert asked.params["labelSelector"] == "a=b"
        if "continue" not in asked.params:
            return 200, {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "one"}}]}
        return 200, {"metadata": {}, "items": [{"metadata": {"name": "two"}}]}

    with serving(reply) as server:
        items = server.api().list(NETWORK_POLICY, namespace="n", selector="a=b")
    assert [item["metadata"]["name"] for item in items] == ["one", "two"]
    assert {(item["apiVersion"], item["kind"]) for item in items} == {("networking.k8s.io/v1", "NetworkPolicy")}
    assert server.asked[0].path == "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies"


def test_a_list_whose_snapshot_is_gone_begins_again_without_pages() -> None:
    def reply(asked: Asked) -> Any:
        if "continue" in asked.params:
            return status(410, "expired")
        if "limit" in asked.params:
            return 200, {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "one"}}]}
        return 200, {"metadata": {}, "items": [{"metadata": {"name": "one"}}, {"metadata": {"name": "two"}}]}

    with serving(reply) as server:
        assert len(server.api().list(NETWORK_POLICY)) == 2


RBAC = (
    'namespaces is forbidden: User "gcloud-pk:onboarder" cannot list resource "networkpolicies" in API group '
    '"networking.k8s.io" in the namespace "moitt-prod"'
)


def test_a_missing_right_is_named_with_user_verb_and_resource() -> None:
    with serving(lambda _: status(403, RBAC)) as server, pytest.raises(ForbiddenError) as caught:
        server.api().get("/x")
    error = caught.value
    assert (error.user, error.verb, error.resource) == (
        "gcloud-pk:onboarder", "list", "networkpolicies.networking.k8s.io",
    )  # fmt: skip
    assert "has no right to list networkpolicies.networking.k8s.io in namespace moitt-prod" in error.message
    assert "'list' on 'networkpolicies.networking.k8s.io'" in str(error.resolution)


def test_a_missing_right_to_list_names_the_kind_once() -> None:
    message = 'User "x" cannot list resource "tenants" in API group "gcloud.gov.pk" at the cluster scope'
    error = refusal(Answer(403, {"message": message}), "tenants.gcloud.gov.pk")
    assert error.message == "user 'x' has no right to list tenants.gcloud.gov.pk in the whole cluster"


def test_a_missing_right_on_a_subresource_is_named_as_rules_write_it() -> None:
    message = 'tenants is forbidden: User "x" cannot patch resource "tenants/status" in API group "gcloud.gov.pk"'
    error = refusal(Answer(403, {"message": message}), "Tenant a")
    assert isinstance(error, ForbiddenError)
    assert (error.verb, error.resource) == ("patch", "tenants.gcloud.gov.pk/status")


def test_a_missing_right_to_bind_is_named_without_all_that_the_role_holds() -> None:
    message = (
        'rolebindings.rbac.authorization.k8s.io "a" is forbidden: user "x" (groups=["g" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n" + '{APIGroups:[""], Resources:["pods"]}\n' * 40
    )
    error = refusal(Answer(403, {"message": message}), "RoleBinding n/a")
    assert isinstance(error, ForbiddenError)
    assert (error.user, error.verb, error.resource) == ("x", "bind", "clusterroles.rbac.authorization.k8s.io")
    assert len(error.message) < 200


def test_a_policys_refusal_keeps_its_words() -> None:
    error = refusal(Answer(403, {"message": "denied by gpk-images"}), "Pod a/b")
    assert isinstance(error, ForbiddenError)
    assert error.message == "the API server refused Pod a/b: denied by gpk-images"
    assert error.verb == ""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, CredentialsError), (404, NotFoundError), (409, ConflictError), (422, RefusedError),
        (503, UnavailableError), (429, UnavailableError),
    ],
)  # fmt: skip
def test_each_refusal_has_its_error(code: int, error: type[Exception]) -> None:
    assert type(refusal(Answer(code, {"message": "words of the server"}), "Pod a/b")) is error


def test_the_clusters_identity_is_the_uid_of_kube_system() -> None:
    with serving(lambda _: (200, {"metadata": {"uid": "u-1"}})) as server:
        assert cluster_uid(server.api()) == "u-1"
        assert server.asked[0].path == "/api/v1/namespaces/kube-system"


def test_a_trusted_server_is_spoken_to_over_tls(tmp_path: Path) -> None:
    own = certificate()
    with serving(lambda _: OK, own.context(tmp_path)) as server:
        assert server.api(ca=own.certificate).request("GET", "/x").ok


@pytest.mark.parametrize(
    ("served", "trusted", "words"),
    [
        ({"days": (-3, -1)}, "own", "the server's certificate has expired"),
        ({"days": (1, 2)}, "own", "the server's certificate is not valid yet"),
        ({"address": "127.0.0.9"}, "own", "the server's certificate is for another IP address"),
        ({}, "other", "the server's certificate is self-signed"),
    ],
)
def test_a_bad_server_certificate_is_named_at_once(served: Any, trusted: str, words: str, tmp_path: Path) -> None:
    own = certificate(**served)
    ca = own if trusted == "own" else certificate()
    with serving(lambda _: OK, own.context(tmp_path)) as server:
        started = time.monotonic()
        with pytest.raises(UnavailableError, match=words) as caught:
            server.api(patience=300, ca=ca.certificate).request("GET", "/x")
        assert time.monotonic() - started < 60, "a wrong certificate stays wrong"
    assert caught.value.resolution


def test_a_server_without_tls_is_named_as_one() -> None:
    with serving(lambda _: OK) as server:
        access = Access(context="test", server=server.url.replace("http:", "https:"), ca=certificate().certificate)
        with pytest.raises(UnavailableError, match="does not speak TLS"):
            Api(access, patience=60).request("GET", "/x")


def test_a_server_that_demands_another_client_certificate_is_named(tmp_path: Path) -> None:
    own, client, demanded = certificate(), certificate(), certificate()
    context = own.context(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=demanded.certificate.decode())
    with serving(lambda _: OK, context) as server:
        api = server.api(patience=60, ca=own.certificate, certificate=client.certificate, key=client.key)
        with pytest.raises(UnavailableError, match="refuses the client certificate"):
            api.request("GET", "/x")


def test_a_key_of_another_certificate_is_named() -> None:
    one, other = certificate(), certificate()
    with pytest.raises(UnavailableError, match="certificates cannot be used") as caught:
        Api(Access(context="test", server="https://127.0.0.1:1", certificate=one.certificate, key=other.key))
    assert "BEGIN" not in str(caught.value)
    assert "PRIVATE" not in repr(Access(context="c", server="s", key=one.key))


@pytest.mark.parametrize(
    ("reason", "lasting"),
    [
        ("TLSV1_ALERT_DECODE_ERROR", False),
        ("TLSV1_ALERT_INTERNAL_ERROR", False),
        ("TLSV1_ALERT_UNKNOWN_CA", True),
        ("CERTIFICATE_VERIFY_FAILED", True),
        ("WRONG_VERSION_NUMBER", True),
    ],
)
def test_an_alert_about_one_handshake_is_tried_again_and_one_about_us_is_not(reason: str, lasting: bool) -> None:
    cause = ssl.SSLError(1, reason)
    cause.reason = reason
    assert transport._is_lasting(urllib3.exceptions.SSLError(cause)) is lasting
