"""A tenant that is closed without being ended, and opened again exactly as it was; kubectl is the referee."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import CLI, running
from tests.e2e.ministry import Ministry

from gcloud_pk.registry.suspension import stripped

REPLICAS = """
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: web, labels: {{app: web}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: web
          image: registry.gcloud.gov.pk/{tenant}/web:1.0
          imagePullPolicy: Always
          securityContext:
            allowPrivilegeEscalation: false
            runAsNonRoot: true
            capabilities: {{drop: [ALL]}}
            seccompProfile: {{type: RuntimeDefault}}
"""
OWN = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader}}
rules: [{{apiGroups: [""], resources: [configmaps], verbs: [get, list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: readers
  labels: {{team: payroll}}
  annotations: {{ticket: "17"}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects:
  - {{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "oidc:{tenant}-developers"}}
  - {{kind: ServiceAccount, name: default, namespace: {tenant}-prod}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: within, labels: {{team: payroll}}}}
spec:
  podSelector: {{matchLabels: {{app: web}}}}
  policyTypes: [Ingress]
  ingress: [{{from: [{{podSelector: {{}}}}]}}]
"""
WRITES = re.compile(r'"verb":"(create|patch|update|delete|deletecollection)"')
WHY = ("--reason", "an inquiry")


@pytest.fixture(scope="module")
def ministry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    with running(f"suspend-{os.getpid()}", tmp_path_factory.mktemp("labs")) as lab:
        yield Ministry.found(lab, tmp_path_factory.mktemp("ministry") / "registry")


class Tenancy:
    """A tenant with something of its own in its namespace `<tenant>-prod`."""

    def __init__(self, ministry: Ministry, name: str, *environments: str, own: bool = True) -> None:
        self.ministry, self.name = ministry, name
        self.folder = ministry.folder / "tenants" / name
        ministry.write(name, *(environments or ("prod",)))
        ministry.onboard(name, "--no-verify")
        group = ("--group", f"oidc:{name}-admins")
        path = ministry.lab.gcloud_pk("lab", "kubeconfig", "--name", ministry.lab.name, *group, check=0)
        self.kubeconfig = path.stdout.strip()
        if own:
            made = self.as_admin("apply", "-n", f"{name}-prod", "-f", "-", input=OWN.format(tenant=name))
            assert made.returncode == 0, made.stderr

    def as_admin(self, *args: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        kubectl = str(self.ministry.lab.programs["kubectl"])
        return subprocess.run(
            [kubectl, "--kubeconfig", self.kubeconfig, *args], input=input, capture_output=True, text=True
        )

    def suspend(self, *args: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.ministry.run("tenant", "suspend", self.name, *WHY, "--yes", *args, check=check)

    def resume(self, *args: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        words = ("tenant", "resume", self.name, "--reason", "settled", "--yes", "--key", self.ministry.key)
        return self.ministry.run(*words, *args, check=check)

    def objects(self) -> dict[str, dict[str, Any]]:
        """Return bindings and flows of all its namespaces without what the server sets."""
        found = {}
        for namespace in self.namespaces():
            for kind in ("rolebindings", "networkpolicies"):
                for live in self.ministry.live(kind, namespace):
                    found[f"{live['kind']} {namespace}/{live['metadata']['name']}"] = stripped(live)
        return found

    def namespaces(self) -> list[str]:
        found = self.ministry.live("namespaces", None, "-l", f"gcloud.gov.pk/tenant={self.name}")
        return [live["metadata"]["name"] for live in found]

    def bindings(self) -> list[str]:
        return [name for name in self.objects() if name.startswith("RoleBinding")]

    def parameters(self) -> set[str | None]:
        return {self.ministry.live("tenantpolicies", name)[0]["spec"].get("suspended") for name in self.namespaces()}

    def status(self) -> dict[str, Any]:
        done = self.ministry.lab.kubectl("get", "tenant", self.name, "-o", "json")
        said: dict[str, Any] = json.loads(done.stdout)["status"]
        return said

    @property
    def saved(self) -> Path:
        return self.folder / "suspended" / "bindings.json"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "history.jsonl").read_text().splitlines()]

    def acts(self) -> list[str]:
        return [line["act"] for line in self.lines()]

    def head(self) -> str:
        return sha256((self.folder / "history.jsonl").read_bytes().splitlines(keepends=True)[-1]).hexdigest()


def eventually(ask: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def pods(ministry: Ministry, namespace: str) -> set[str]:
    return {live["metadata"]["uid"] for live in ministry.live("pods", namespace)}


def test_a_suspended_tenant_runs_on_without_anybody_and_comes_back_exactly_as_it_was(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "payroll", "prod", "dev")
    made = tenant.as_admin("apply", "-n", "payroll-prod", "-f", "-", input=REPLICAS.format(tenant="payroll"))
    assert made.returncode == 0, made.stderr
    eventually(lambda: len(pods(ministry, "payroll-prod")) == 2, "no pods")
    before = tenant.objects()
    assert "RoleBinding payroll-prod/readers" in before

    said = json.loads(tenant.suspend("--format", "json").stdout)
    assert (said["state"], said["objects"], said["already"]) == ("suspended", 7, False)
    assert [place["networkPolicies"] for place in said["namespaces"]] == [[], []], "what was not taken is not named"
    assert tenant.bindings() == []
    assert [name for name in before if name.startswith("NetworkPolicy")] == list(tenant.objects())
    assert tenant.parameters() == {"suspended"}
    status = tenant.status()
    assert status["phase"] == "Suspended"
    assert status["suspendedAt"]
    assert "by" in (tenant.folder / "state.yaml").read_text()
    assert "suspend" in tenant.acts()

    # Nobody of the tenant gets in, not even with rights that somebody gave it elsewhere.
    assert "forbidden" in tenant.as_admin("get", "pods", "-n", "payroll-prod").stderr
    ministry.lab.kubectl("create", "clusterrolebinding", "payroll-elsewhere", "--clusterrole=cluster-admin",
                         "--group=oidc:payroll-admins")  # fmt: skip
    try:
        refused = tenant.as_admin("create", "configmap", "mine", "-n", "payroll-prod")
        eventually(
            lambda: "GPK-SUS-01" in tenant.as_admin("create", "configmap", "mine", "-n", "payroll-prod").stderr,
            refused.stderr,
        )
        assert "GPK-SUS-01" in tenant.as_admin("delete", "pods", "--all", "-n", "payroll-prod").stderr
    finally:
        ministry.lab.kubectl("delete", "clusterrolebinding", "payroll-elsewhere")

    # What runs goes on: a pod that is lost is replaced.
    old = pods(ministry, "payroll-prod")
    name = ministry.live("pods", "payroll-prod")[0]["metadata"]["name"]
    ministry.lab.kubectl("delete", "pod", name, "-n", "payroll-prod", "--force", "--grace-period=0")
    eventually(lambda: len(pods(ministry, "payroll-prod")) == 2, "the pod is not replaced")
    assert pods(ministry, "payroll-prod") != old

    # The registry's other commands obey.
    assert "suspended" in ministry.run("onboard", "payroll", "--yes", check=4).stderr
    assert {"name": "payroll", "reason": "suspended"} in ministry.onboard("--all", "--no-verify")["skipped"]
    proof = json.loads(ministry.run("tenant", "verify", "payroll", "--format", "json").stdout)
    assert proof["verdicts"] == dict.fromkeys(proof["verdicts"], 0) | {"pass": 11}
    assert "Suspended" in ministry.run("tenant", "list").stdout
    shown = json.loads(ministry.run("tenant", "show", "payroll", "--format", "json").stdout)["suspension"]
    assert (shown["how"], shown["since"], shown["reason"]) == ("suspended", status["suspendedAt"], "an inquiry")
    told = f"suspended since {shown['since']} by {shown['by']}: an inquiry"
    assert told in ministry.run("tenant", "show", "payroll").stdout
    assert f"payroll: {told}" in ministry.run("tenant", "list").stdout
    assert "already suspended since" in tenant.suspend().stdout

    assert "approver" in ministry.run("tenant", "resume", "payroll", *WHY, check=4).stderr
    assert tenant.bindings() == []
    said = json.loads(tenant.resume("--format", "json").stdout)
    assert len(said["restored"]) == 7
    assert tenant.objects() == before
    assert tenant.parameters() == {None}
    assert (tenant.status()["phase"], tenant.status().get("suspendedAt")) == ("Ready", None)
    assert not tenant.saved.parent.exists()
    assert tenant.acts()[-1] == "resume"
    ministry.run("tenant", "diff", "payroll")
    admins = ministry.lab.kubectl("get", "rolebinding", "tenant-admins", "-n", "payroll-prod", "-o", "json",
                                  "--show-managed-fields").stdout  # fmt: skip
    owners = {(entry["manager"], entry["operation"]) for entry in json.loads(admins)["metadata"]["managedFields"]}
    assert owners == {("gcloud-pk", "Apply")}, "as onboarding applies it, so that it can take fields away again"
    assert ministry.onboard("payroll")["tenants"][0]["changes"] == {
        "created": 0, "changed": 0, "removed": 0, "unchanged": 23,
    }  # fmt: skip
    assert "not suspended" in tenant.resume().stdout
    assert tenant.as_admin("get", "pods", "-n", "payroll-prod").returncode == 0


def test_quarantine_cuts_all_traffic_and_keeps_the_pods(ministry: Ministry, tmp_path: Path) -> None:
    tenant = Tenancy(ministry, "infected")
    before = tenant.objects()
    ministry.run("onboard", "infected", "--output-dir", str(tmp_path / "out"))
    tenant.suspend()
    time.sleep(1.1)
    said = json.loads(tenant.suspend("--quarantine", "--format", "json").stdout)  # tightens
    assert set(said["namespaces"][0]["networkPolicies"]) >= {"declared-flows", "within"}
    assert list(tenant.objects()) == ["NetworkPolicy infected-prod/default-deny"]
    assert tenant.parameters() == {"quarantined"}
    assert tenant.status()["phase"] == "Quarantined"
    again = tenant.suspend().stdout
    tightened = tenant.lines()[-1]["time"]
    assert tenant.status()["suspendedAt"] == tightened, "what opens it must be dated after the last closing"
    assert f"already quarantined since {tightened}" in again, "it never loosens"

    # The folder of GitOps closes as well.
    ministry.run("onboard", "--all", "--output-dir", str(tmp_path / "out"))
    folder = tmp_path / "out" / "infected" / "infected-prod"
    assert not (folder / "07-rolebinding.yaml").exists()
    assert "suspended: quarantined" in (folder / "02-tenantpolicy.yaml").read_text()
    assert "declared-flows" not in (folder / "05-networkpolicy.yaml").read_text()
    assert "default-deny" in (folder / "05-networkpolicy.yaml").read_text()

    tenant.resume()
    assert tenant.objects() == before
    ministry.run("tenant", "diff", "infected")
    ministry.run("onboard", "infected", "--output-dir", str(tmp_path / "out"))
    assert (folder / "07-rolebinding.yaml").exists()
    assert "suspended" not in (folder / "02-tenantpolicy.yaml").read_text()


def test_quarantine_puts_a_missing_default_deny_in_place_before_it_takes_flows(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "drifted")
    ministry.lab.kubectl("delete", "networkpolicy", "default-deny", "-n", "drifted-prod")
    tenant.suspend("--quarantine")
    (deny,) = ministry.live("networkpolicies", "drifted-prod")
    assert deny["metadata"]["name"] == "default-deny"
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    tenant.resume()
    ministry.run("tenant", "diff", "drifted")


BREACHES = {
    "SUS-010": ("create", "rolebinding", "more", "-n", "watched-prod", "--clusterrole=gcloud-pk:tenant-auditor",
                "--group=oidc:watched-auditors"),
    "SUS-011": ("patch", "tenantpolicy", "tenant", "-n", "watched-prod", "--type=merge", "-p",
                '{"spec": {"suspended": null}}'),
    "SUS-012": ("delete", "networkpolicy", "default-deny", "-n", "watched-prod"),
    "SUS-013": ("create", "clusterrolebinding", "watched-elsewhere", "--clusterrole=view",
                "--group=oidc:watched-developers"),
    "SUS-001": ("patch", "tenant", "watched", "--subresource=status", "--type=merge", "-p",
                '{"status": {"phase": "Ready"}}'),
}  # fmt: skip


def test_verify_of_a_suspended_tenant_finds_each_way_in(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "watched", own=False)
    tenant.suspend()
    ministry.run("tenant", "verify", "watched")
    for check, breach in BREACHES.items():
        ministry.lab.kubectl(*breach)
        report = json.loads(ministry.run("tenant", "verify", "watched", "--format", "json", check=6).stdout)
        failed = {result["id"] for result in report["results"] if result["verdict"] == "fail"}
        assert check in failed, failed
    ministry.lab.kubectl("delete", "clusterrolebinding", "watched-elsewhere")


def test_closing_depends_neither_on_the_request_nor_on_a_key(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "broken")
    (tenant.folder / "request.yaml").write_text("no: request\n")
    tenant.suspend()
    assert tenant.bindings() == []
    assert tenant.parameters() == {"suspended"}
    # Nor does ending it: the policy that refuses the tenant lets the namespace be emptied.
    ministry.run("tenant", "offboard", "broken", "--confirm", "broken")
    assert ministry.labelled("broken") == []


def test_it_asks_first_and_the_wrong_name_is_no_answer(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "asked", own=False)
    ministry.run("tenant", "suspend", "asked", *WHY, check=4)
    ministry.run("tenant", "suspend", "asked", *WHY, "--confirm", "another", check=4)
    assert len(tenant.bindings()) == 3
    assert not (tenant.folder / "state.yaml").exists()
    ministry.run("tenant", "suspend", "asked", *WHY, "--confirm", "asked")
    assert tenant.bindings() == []


def test_who_resumes_is_asked_too(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "awaited", own=False)
    tenant.suspend()
    words = ("tenant", "resume", "awaited", *WHY, "--key", ministry.key)
    assert "Give 3 objects back to awaited on " in ministry.run(*words, check=4).stderr
    assert tenant.bindings() == []
    assert tenant.acts()[-1] == "suspend"
    ministry.run(*words, "--yes")
    assert len(tenant.bindings()) == 3


def test_a_suspension_that_only_the_registry_knows_is_said_to_be_unfinished(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "halfway", own=False)
    (tenant.folder / "state.yaml").write_text(
        'state: suspended\nby: op@desk\nreason: begun\ntime: "2026-11-22T03:00:00Z"\ntenant: halfway\n'
    )
    wrong = (
        "tenant halfway is suspended in the registry, and still open on this cluster: gcloud-pk tenant suspend halfway"
    )
    assert wrong in ministry.run("onboard", "halfway", "--yes", check=4).stderr
    (skipped,) = [s for s in ministry.onboard("--all", "--no-verify", check=4)["skipped"] if s["name"] == "halfway"]
    assert skipped["error"]["code"] == 4
    assert wrong in skipped["reason"]
    assert wrong in ministry.run("tenant", "list").stderr
    assert wrong in ministry.run("tenant", "show", "halfway").stderr
    assert "halfway" in json.loads(ministry.run("tenant", "list", "--format", "json").stdout)["unfinished"]
    tenant.suspend()
    assert tenant.bindings() == []
    assert "still open" not in ministry.run("tenant", "list").stderr
    assert {"name": "halfway", "reason": "suspended"} in ministry.onboard("--all", "--no-verify", check=None)["skipped"]


def test_a_resumption_whose_signature_no_longer_holds_is_signed_anew_and_the_cluster_stays_as_it_is(
    ministry: Ministry,
) -> None:
    tenant = Tenancy(ministry, "renewed", own=False)
    tenant.suspend()
    tenant.resume()
    before = tenant.objects()
    (tenant.folder / "state.yaml.sig").unlink()  # as if the key that signed it were revoked
    assert "gcloud-pk tenant resume renewed" in ministry.run("onboard", "renewed", "--yes", check=4).stderr
    words = ("tenant", "resume", "renewed", *WHY)
    assert "approver" in ministry.run(*words, "--yes", check=4).stderr
    assert "Sign anew" in ministry.run(*words, "--key", ministry.key, check=4).stderr
    assert tenant.acts()[-1] == "resume"
    assert len([act for act in tenant.acts() if act == "resume"]) == 1
    done = tenant.resume("--format", "json")
    assert json.loads(done.stdout)["renewed"] is True
    assert (tenant.lines()[-1]["act"], tenant.lines()[-1]["detail"]["renewed"]) == ("resume", "state")
    assert tenant.status()["historyHead"] == tenant.head()
    assert tenant.status()["phase"] == "Ready"
    assert tenant.objects() == before
    assert ministry.onboard("renewed", "--no-verify")["tenants"][0]["changes"]["changed"] == 0
    # Suspended since, it is no longer a matter of a signature.
    tenant.suspend()
    (tenant.folder / "state.yaml").write_text("state: active\n")
    assert "is not what the history names" not in tenant.resume().stderr
    assert tenant.objects() == before


def test_the_tenant_names_the_head_of_the_history_once_an_environment_is_offboarded(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "shrunk", "prod", "dev", own=False)
    ministry.write("shrunk", "prod", revision=2)
    ministry.onboard("shrunk", "--no-verify")
    ministry.run("tenant", "offboard", "shrunk", "--environment", "dev", "--confirm", "shrunk")
    assert tenant.acts()[-1] == "offboard"
    assert tenant.status()["historyHead"] == tenant.head()
    assert tenant.status()["phase"] == "Ready"


def test_what_was_saved_is_given_back_only_as_the_history_names_it(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "tampered")
    tenant.suspend()
    whole = tenant.saved.read_bytes()
    tenant.saved.write_bytes(whole.replace(b"gcloud-pk:tenant-auditor", b"gcloud-pk:tenant-admin"))
    assert "was changed" in tenant.resume(check=4).stderr
    assert str(tenant.saved) in tenant.resume(check=4).stderr
    assert tenant.bindings() == []
    tenant.saved.unlink()
    assert "is missing" in tenant.resume(check=4).stderr
    tenant.saved.write_bytes(whole)
    # A history that was written anew, to name another file, is not the one that the cluster knows.
    history = tenant.folder / "history.jsonl"
    known = history.read_bytes()
    digest = sha256(whole).hexdigest().encode()
    wider = whole.replace(b"gcloud-pk:tenant-auditor", b"gcloud-pk:tenant-admin")
    tenant.saved.write_bytes(wider)
    history.write_bytes(known.replace(digest, sha256(wider).hexdigest().encode()))
    assert "lacks the line that its Tenant names" in tenant.resume(check=4).stderr
    assert tenant.bindings() == []
    # Nor does a line count that was merely appended: the cluster never heard of it.
    last = known.splitlines(keepends=True)[-1]
    forged = json.loads(last) | {"previous": sha256(last).hexdigest()}
    forged["detail"] = forged["detail"] | {"saved": sha256(wider).hexdigest()}
    history.write_bytes(known + json.dumps(forged).encode() + b"\n")
    refused = tenant.resume(check=4).stderr
    assert "this cluster does not know that line" in refused
    assert tenant.bindings() == []
    tenant.saved.write_bytes(whole)
    history.write_bytes(known)
    tenant.resume()
    assert len(tenant.bindings()) == 4


def test_an_earlier_signed_active_does_not_open_again(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "replayed", own=False)
    tenant.suspend()
    tenant.resume()
    state = {name: (tenant.folder / name).read_bytes() for name in ("state.yaml", "state.yaml.sig")}
    time.sleep(1.1)
    tenant.suspend()
    for name, content in state.items():
        (tenant.folder / name).write_bytes(content)
    ministry.run("onboard", "replayed", "--yes", check=4)
    ministry.run("tenant", "resume", "replayed", *WHY, check=4)
    # Though all that the folder remembers is taken out, the cluster remembers.
    (tenant.folder / "history.jsonl").unlink()
    refused = ministry.run("onboard", "replayed", "--yes", check=4)
    assert "suspended on this cluster since" in refused.stderr
    for name in state:
        (tenant.folder / name).unlink()
    refused = ministry.run("onboard", "replayed", "--yes", check=4)
    assert "no approver has resumed it since" in refused.stderr
    assert tenant.bindings() == []


def onboarded_after(ministry: Ministry, name: str, act: Callable[[], Any]) -> tuple[int, str]:
    """Run `onboard`, and answer its question with yes once `act` was done; return its exit code and what it said."""
    person, terminal = pty.openpty()
    command = [str(CLI), "--registry", str(ministry.folder), "onboard", name, "--no-verify"]
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, text=True, env=ministry.lab.env, stdin=terminal, stdout=pipe, stderr=pipe)
    assert run.stderr is not None
    asked = ""
    while "Apply " not in asked:
        asked += os.read(run.stderr.fileno(), 4096).decode()
    act()
    os.write(person, b"y\n")
    _, said = run.communicate(timeout=60)
    os.close(person)
    os.close(terminal)
    return run.returncode, said


def test_a_tenant_that_is_closed_before_it_ever_came_does_not_come(ministry: Ministry) -> None:
    ministry.write("fresh")
    suspend = ("tenant", "suspend", "fresh", *WHY, "--yes")
    code, said = onboarded_after(ministry, "fresh", lambda: ministry.run(*suspend))
    assert code == 4, said
    assert "tenant fresh is suspended by" in said
    assert ministry.labelled("fresh") == []


def test_a_tenant_that_left_before_the_answer_does_not_come_back(ministry: Ministry) -> None:
    Tenancy(ministry, "leaver", own=False)
    ministry.write("leaver", "prod", "dev", revision=2)
    offboard = ("tenant", "offboard", "leaver", "--confirm", "leaver")
    code, said = onboarded_after(ministry, "leaver", lambda: ministry.run(*offboard))
    assert code == 4, said
    assert "saw tenant leaver offboarded at" in said
    assert ministry.labelled("leaver") == []


def test_a_run_that_was_planned_before_the_suspension_opens_nothing_after_it(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "raced", own=False)
    ministry.write("raced", "prod", "dev", revision=2)
    code, said = onboarded_after(ministry, "raced", tenant.suspend)
    assert code == 4, said
    assert "is suspended on this cluster since" in said
    assert tenant.bindings() == []
    assert tenant.namespaces() == ["raced-prod"]


def test_a_binding_that_is_refused_today_is_named_and_the_others_come_back(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "narrowed")
    tenant.suspend()
    groups = ["oidc:narrowed-admins", "oidc:narrowed-auditors"]
    ministry.lab.kubectl("patch", "tenantpolicy", "tenant", "-n", "narrowed-prod", "--type=merge", "-p",
                         json.dumps({"spec": {"groups": groups}}))  # fmt: skip
    done = tenant.resume(check=8)
    assert "RoleBinding narrowed-prod/tenant-developers" in done.stderr
    assert "oidc:narrowed-developers" in done.stderr
    assert [name.rpartition("/")[2] for name in tenant.bindings()] == ["tenant-admins", "tenant-auditors"]
    kept = json.loads((tenant.folder / "suspended" / "refused.json").read_text())["objects"]
    assert sorted(one["metadata"]["name"] for one in kept) == ["readers", "tenant-developers"]
    assert tenant.status()["phase"] == "Ready"


def written(ministry: Ministry, since: int, word: str) -> int:
    """Count the onboarder's writes so far, leases apart."""
    with (ministry.lab.folder / "log" / "audit.log").open("rb") as stream:
        stream.seek(since)
        lines = stream.read().decode(errors="replace").splitlines()
    return sum(
        word in line and '"stage":"ResponseComplete"' in line and bool(WRITES.search(line)) and "/leases" not in line
        and "dryRun=All" not in line and '"gcloud-pk:onboarder"' in line
        for line in lines
    )  # fmt: skip


def killed_after(ministry: Ministry, count: int, tenant: Tenancy, *args: str) -> bool:
    """Run a command and kill it once it has written `count` objects; return whether it was alive then."""
    since = ministry.audit_size()
    run = subprocess.Popen([str(CLI), "--registry", str(ministry.folder), *args], env=ministry.lab.env,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    while run.poll() is None and written(ministry, since, tenant.name) < count:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    return run.wait() == -signal.SIGKILL


def test_a_suspension_that_is_killed_anywhere_loses_nothing_and_the_next_one_converges(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "cut", "prod", "dev")
    before = tenant.objects()
    killed = 0
    for count in (0, 1, 2, 4, 6, 8, 10):
        killed += killed_after(ministry, count, tenant, "tenant", "suspend", "cut", *WHY, "--yes", "--quarantine")
        if (tenant.folder / "state.yaml").exists():
            ministry.run("onboard", "cut", "--yes", check=4)
    assert killed >= 4
    tenant.suspend("--quarantine")
    assert tenant.bindings() == []
    assert tenant.status()["phase"] == "Quarantined"
    saved = {f"{o['kind']} {o['metadata']['namespace']}/{o['metadata']['name']}" for o in
             json.loads(tenant.saved.read_text())["objects"]}  # fmt: skip
    assert saved == {name for name in before if not name.endswith("/default-deny")}
    tenant.resume()
    assert tenant.objects() == before
    ministry.run("tenant", "diff", "cut")


def test_a_resumption_that_is_killed_anywhere_stays_closed_to_onboard_and_the_next_one_converges(
    ministry: Ministry,
) -> None:
    tenant = Tenancy(ministry, "slow", "prod", "dev")
    before = tenant.objects()
    tenant.suspend("--quarantine")
    killed = 0
    for count in (1, 2, 3, 5, 7, 9):
        done = killed_after(ministry, count, tenant, "tenant", "resume", "slow", *WHY, "--key",
                            str(ministry.key), "--yes")  # fmt: skip
        killed += done
        if done and tenant.status()["phase"] == "Quarantined":
            assert "run resume again" in ministry.run("onboard", "slow", "--yes", check=4).stderr
    assert killed >= 3
    tenant.resume()
    assert tenant.objects() == before
    assert tenant.status()["phase"] == "Ready"
    assert not tenant.saved.exists()
    assert ministry.onboard("slow", "--no-verify")["tenants"][0]["changes"]["unchanged"] == 23


def test_a_tenant_that_left_does_not_come_back_though_its_folder_is_written_anew(ministry: Ministry) -> None:
    tenant = Tenancy(ministry, "revenant", own=False)
    ministry.run("tenant", "offboard", "revenant", "--confirm", "revenant")
    assert ministry.labelled("revenant") == []
    (stone,) = ministry.live("leases", "gcloud-pk-system", "-l", "gcloud.gov.pk/offboarded=revenant")
    assert stone["metadata"]["name"] == "offboarded-revenant"
    shutil.rmtree(tenant.folder)
    ministry.write("revenant")
    for args in (("--yes",), ("--dry-run",)):
        refused = ministry.run("onboard", "revenant", *args, check=4)
        assert "saw tenant revenant offboarded at" in refused.stderr
    document = ministry.onboard("--all", "--no-verify", check=4)
    assert "revenant" in {skipped["name"] for skipped in document["skipped"]}
    assert ministry.labelled("revenant") == []


def test_a_tenant_whose_review_is_due_is_listed_and_warned_about_and_never_touched(ministry: Ministry) -> None:
    ministry.write("late", reviewAfter="2026-01-31")
    done = ministry.run("onboard", "late", "--yes", "--no-verify")
    assert "tenant late: its review was due on 2026-01-31" in done.stderr
    assert "2026-01-31 (overdue)" in ministry.run("tenant", "list").stdout
    rows = {
        row["name"]: row for row in json.loads(ministry.run("tenant", "list", "--format", "json").stdout)["tenants"]
    }
    assert rows["late"]["reviewOverdue"] is True
    assert ministry.onboard("late", "--no-verify")["tenants"][0]["changes"]["changed"] == 0
