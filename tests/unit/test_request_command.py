"""`gcloud-pk request`, `registry` and `schema` as people and CI use them: output, exit codes, nothing half done."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk import paths
from gcloud_pk.main import main
from gcloud_pk.registry import files

DATA = Path(__file__).parent / "data"
ALICE, BOB = "alice@ntc.example", "bob@ntc.example"


class Run:
    """Runs one command line in this process; keeps its exit code and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], registry: Path) -> None:
        self._capsys = capsys
        self._registry = registry
        self.out = self.err = ""

    def __call__(self, *arguments: object, registry: bool = True) -> int:
        words = ["--registry", str(self._registry)] if registry else []
        code = main([*words, *map(str, arguments)])
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        assert "defect" not in self.err
        return code

    def json(self, *arguments: object, expected: int = 0) -> Any:
        assert self(*arguments, "--format", "json") == expected, self.err
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry_folder: Path) -> Run:
    return Run(capsys, registry_folder)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_request_goes_from_file_to_approved(run: Run, request_file: Path, keys: Path, registry_folder: Path) -> None:
    assert run("request", "validate", request_file) == 0
    assert run("request", "submit", request_file) == 0
    assert (registry_folder / "tenants/moitt/request.yaml").read_bytes() == request_file.read_bytes()
    assert run("request", "list") == 0
    assert "pending (0 of 1 approvals)" in run.out
    assert run("request", "approve", "moitt", "--key", keys / "alice", "--yes") == 0
    assert "1 of 1 approvals" in run.out
    assert run("request", "show", "moitt") == 0
    assert "approved" in run.out.splitlines()[0]
    assert run("registry", "check") == 0
    assert "1 approved" in run.out


def test_approve_signs_as_ssh_keygen_does(run: Run, request_file: Path, keys: Path, registry_folder: Path) -> None:
    run("request", "submit", request_file)
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    tenant = registry_folder / "tenants/moitt"
    options = ["-f", str(registry_folder / "approvers"), "-I", ALICE, "-n", "gcloud-pk-approval"]
    command = ["ssh-keygen", "-Y", "verify", *options, "-s", str(tenant / f"approvals/{ALICE}.sig")]
    done = subprocess.run(command, input=(tenant / "request.yaml").read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr


def test_list_prints_the_documented_document(run: Run, request_file: Path, keys: Path) -> None:
    run("request", "submit", request_file)
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    (listed,) = run.json("request", "list")["requests"]
    assert {k: listed[k] for k in ("tenant", "revision", "classification", "organisation", "state", "problems")} == {
        "tenant": "moitt",
        "revision": 3,
        "classification": "restricted",
        "organisation": "MOITT",
        "state": "approved",
        "problems": [],
    }
    assert len(listed["digest"]) == 64
    assert (listed["approvals"]["have"], listed["approvals"]["need"]) == ([ALICE], 1)
    assert run.json("request", "list", "--state", "rejected") == {"requests": []}


def test_what_is_approved_is_shown_first_with_its_digest_and_what_changed(
    run: Run, request_file: Path, keys: Path
) -> None:
    run("request", "submit", request_file)
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    text = request_file.read_text().replace("revision: 3", "revision: 4").replace('cpu: "16"', "cpu: 15")
    request_file.write_text(text.replace("[10.8.0.0/16]", "[10.9.0.0/16]"))
    run("request", "submit", request_file)
    digest = subprocess.run(["sha256sum", request_file], capture_output=True, text=True, check=True).stdout.split()[0]
    assert run("request", "approve", "moitt", "--key", keys / "bob", "--yes") == 0
    assert f"SHA-256 {digest}" in run.out
    assert "changed since revision 3" in run.out
    assert "-size       cpu 16 → 15 in eoffice-prod" in run.out
    assert "+exposure   10.9.0.0/16 may reach eoffice-prod" in run.out
    assert "-exposure   10.8.0.0/16 may no longer reach eoffice-prod" in run.out


def test_without_an_answer_nothing_is_approved(run: Run, request_file: Path, keys: Path, registry_folder: Path) -> None:
    run("request", "submit", request_file)
    before = everything(registry_folder)
    assert run("request", "approve", "moitt", "--key", keys / "alice") == 4
    assert "confirmation is missing" in run.err
    assert everything(registry_folder) == before


@pytest.mark.parametrize(
    ("key", "options", "words"),
    [
        ("stranger", [], "is not in"),
        ("alice", ["--as", BOB], "is alice@ntc.example's, not bob@ntc.example's"),
        ("rsa2048", [], "2048 bits"),
    ],
)
def test_a_key_that_may_not_approve_is_refused(
    run: Run, request_file: Path, keys: Path, registry_folder: Path, key: str, options: list[str], words: str
) -> None:
    run("request", "submit", request_file)
    before = everything(registry_folder)
    assert run("request", "approve", "moitt", "--key", keys / key, "--yes", *options) == 4
    assert words in run.err
    assert everything(registry_folder) == before


def test_approving_twice_changes_nothing(run: Run, request_file: Path, keys: Path, registry_folder: Path) -> None:
    run("request", "submit", request_file)
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    before = everything(registry_folder)
    assert run("request", "approve", "moitt", "--key", keys / "alice", "--yes") == 0
    assert "already" in run.err
    assert everything(registry_folder) == before


def test_a_requester_who_signs_cannot_approve(run: Run, request_file: Path, keys: Path) -> None:
    assert run("request", "submit", request_file, "--key", keys / "carol") == 0
    assert run("request", "approve", "moitt", "--key", keys / "carol", "--yes") == 4
    assert "signed the request itself" in run.err


def test_a_signature_by_hand_beside_the_file_is_taken_along(
    run: Run, request_file: Path, registry_folder: Path, sign: Callable[..., bytes]
) -> None:
    beside = request_file.with_name("moitt.yaml.sig")
    beside.write_bytes(sign(request_file.read_bytes() + b" ", "carol", "gcloud-pk-request"))
    assert run("request", "submit", request_file) == 4
    assert not (registry_folder / "tenants/moitt").exists()
    beside.write_bytes(sign(request_file.read_bytes(), "carol", "gcloud-pk-request"))
    assert run("request", "submit", request_file) == 0
    assert (registry_folder / "tenants/moitt/request.yaml.sig").read_bytes() == beside.read_bytes()


def test_a_new_revision_does_not_keep_the_old_signature_of_the_requester(
    run: Run, request_file: Path, keys: Path, registry_folder: Path
) -> None:
    run("request", "submit", request_file, "--key", keys / "carol")
    request_file.write_text(request_file.read_text().replace("revision: 3", "revision: 4"))
    assert run("request", "submit", request_file) == 0
    assert not (registry_folder / "tenants/moitt/request.yaml.sig").exists()


def test_a_rejection_carries_its_reason_and_its_signature(run: Run, request_file: Path, keys: Path) -> None:
    run("request", "submit", request_file)
    told = run.json("request", "reject", "moitt", "--reason", "too much storage", "--key", keys / "bob")
    assert (told["state"], told["by"], told["reason"]) == ("rejected", BOB, "too much storage")
    run("request", "show", "moitt")
    assert run.out.startswith("tenant moitt: rejected")
    assert "too much storage" in run.out


def test_validate_names_every_problem_of_every_file(run: Run, request_file: Path) -> None:
    cases = [DATA / "requests/invalid" / f"{name}.yaml" for name in ("tier-unknown", "not-utf-8", "yaml-bomb")]
    error = run.json("request", "validate", request_file, *cases, expected=3)["error"]
    assert error["code"] == 3
    assert {detail["file"] for detail in error["details"]} == {str(path) for path in cases}
    assert set(error["details"][0]) == {"file", "line", "field", "message", "expected"}
    assert run("request", "validate", cases[0]) == 3
    assert f"{cases[0]}:42: spec.environments[1].tier: cannot be 'prod'; expected production" in run.err


def test_validate_reads_standard_input(run: Run, request_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, request_file.read_text())
    assert run("request", "validate", "-") == 0
    assert "standard input: valid (tenant moitt, revision 3)" in run.out
    answer(monkeypatch, request_file.read_text().replace("tier: production", "tier: prod"))
    assert run("request", "validate", "-") == 3
    assert ": spec.environments[0].tier: cannot be 'prod'" in run.err


ODD = {
    "reviewed in the past": (("2999-06-30", "2020-06-30"), "spec.reviewAfter: 2020-06-30 is past already"),
    "group with the prefix": (("[moitt-admins]", '["oidc:moitt-admins"]'), "spec.access.admins[0]: group 'oidc:moitt-"),
    "internal and open": (("exposure: government", "exposure: internal"), "10.8.0.0/16 may reach it all the same"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_allowed_and_seldom_meant_gives_a_warning(run: Run, request_file: Path, keys: Path, case: str) -> None:
    request_file.write_text(request_file.read_text().replace("2027-06-30", "2999-06-30"))
    run("request", "validate", request_file)
    assert "warning" not in run.err
    change, words = ODD[case]
    request_file.write_text(request_file.read_text().replace(*change))
    assert len(run.json("request", "validate", request_file)["warnings"]) == 1
    for arguments in (
        ["validate", request_file],
        ["submit", request_file],
        ["approve", "moitt", "--key", keys / "alice"],
    ):
        run("request", *arguments)
        assert "warning: " in run.err
        assert words in run.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reason", ""], "--reason is empty; expected a text"),
        (["--reason", "fine\u202eenif"], "--reason holds U+202E"),
        (["--reason", "no", "--by", ""], "--by is empty"),
    ],
)
def test_a_rejection_that_cannot_be_written_names_the_option(
    run: Run, request_file: Path, registry_folder: Path, options: list[str], words: str
) -> None:
    run("request", "submit", request_file)
    assert run("request", "reject", "moitt", *options) == 2
    assert words in run.err
    assert not (registry_folder / "tenants/moitt/state.yaml").exists()


def test_rejecting_a_new_revision_says_that_the_accepted_one_stands(run: Run, request_file: Path, keys: Path) -> None:
    run("request", "submit", request_file)
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    assert run("request", "reject", "moitt", "--reason", "second thoughts") == 4
    assert "submit revision 4" in run.err
    request_file.write_text(request_file.read_text().replace("revision: 3", "revision: 4"))
    run("request", "submit", request_file)
    assert run("request", "reject", "moitt", "--reason", "not this year") == 0
    assert "revision 3, which was accepted, stands as it did" in run.out


def test_validate_compares_the_files_with_each_other(run: Run, request_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    text = request_file.read_text().replace("name: moitt\n", "name: rival\n").replace("pk/moitt/", "pk/rival/")
    other.write_text(text)
    assert run("request", "validate", other) == 0
    assert run("request", "validate", request_file, other) == 3
    assert "belongs to tenant" in run.err


def test_validate_works_without_a_registry_and_says_what_it_left_out(
    run: Run, request_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry").rename(tmp_path / "elsewhere")
    assert run("request", "validate", request_file, registry=False) == 0
    assert "no registry at registry" in run.err


BAD: dict[str, tuple[Callable[[Path], object], int]] = {
    "missing": (lambda p: None, 3),
    "a folder": (lambda p: p.mkdir(), 3),
    "empty": (lambda p: p.write_bytes(b""), 3),
    "not UTF-8": (lambda p: p.write_bytes(b"\xff\xfe\0"), 3),
    "nul bytes": (lambda p: p.write_bytes(b"\0" * 100), 3),
    "two documents": (lambda p: p.write_bytes(b"a: 1\n---\nb: 1\n"), 3),
    "a list": (lambda p: p.write_bytes(b"- 1\n"), 3),
    "another kind": (lambda p: p.write_bytes(b"kind: Site\n"), 3),
    "huge": (lambda p: p.write_bytes(b"a: " + b"x" * 2_000_000), 3),
    "deep": (lambda p: p.write_bytes(b"[" * 100_000), 3),
}


@pytest.mark.parametrize("command", ["validate", "submit"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gives_words_and_a_code(
    run: Run, tmp_path: Path, registry_folder: Path, case: str, command: str
) -> None:
    make, code = BAD[case]
    make(tmp_path / "bad.yaml")
    before = everything(registry_folder)
    assert run("request", command, tmp_path / "bad.yaml") == code
    assert "bad.yaml" in run.err
    assert everything(registry_folder) == before


@pytest.mark.parametrize(
    "arguments", [["show", "none"], ["approve", "none", "--key", "k"], ["reject", "none", "--reason", "r"]]
)
def test_a_tenant_that_is_not_there_is_said_to_be_missing(run: Run, arguments: list[str]) -> None:
    assert run("request", *arguments) == 5
    assert "has no tenant 'none'" in run.err


@pytest.mark.parametrize("arguments", [["request", "list"], ["registry", "check"], ["request", "show", "x"]])
def test_a_registry_that_is_not_there_says_how_to_make_one(
    run: Run, registry_folder: Path, arguments: list[str]
) -> None:
    shutil.rmtree(registry_folder)
    assert run(*arguments) == 5
    assert "gcloud-pk registry init" in run.err


def test_a_full_disk_or_a_read_only_registry_loses_nothing(
    run: Run, request_file: Path, registry_folder: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("request", "submit", request_file)
    before = everything(registry_folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_fill", full)
    assert run("request", "approve", "moitt", "--key", keys / "alice", "--yes") == 5
    assert "the disk is full" in run.err
    assert run("request", "reject", "moitt", "--reason", "r") == 5
    assert run("registry", "sign", "--key", keys / "keeper") == 5
    assert everything(registry_folder) == before


def test_who_acts_on_a_signed_registry_without_trust_is_told(run: Run, request_file: Path, keys: Path) -> None:
    assert run("request", "submit", request_file) == 0
    assert "keepers" not in run.err
    assert run("registry", "sign", "--key", keys / "keeper") == 0
    assert run("request", "approve", "moitt", "--key", keys / "alice", "--yes") == 0
    assert "nobody looked whether its keepers signed this registry as it is; name them: --trust FILE" in run.err
    assert run("request", "list") == 0
    assert "keepers" not in run.err


def test_trust_is_demanded_of_every_command_that_acts(
    run: Run, request_file: Path, registry_folder: Path, keys: Path, tmp_path: Path, public: Callable[[str], str]
) -> None:
    trust = tmp_path / "trust"
    trust.write_text(f'keeper@ntc.example namespaces="gcloud-pk-registry" {public("keeper")}\n')
    assert run("registry", "sign", "--key", keys / "keeper", "--trust", trust) == 0
    assert "as keeper@ntc.example" in run.out
    assert run("request", "submit", request_file, "--trust", trust) == 0
    with (registry_folder / "approvers").open("a") as file:
        file.write("#\n")
    for arguments in (["approve", "moitt", "--key", keys / "alice", "--yes"], ["submit", request_file], ["list"]):
        assert run("request", *arguments, "--trust", trust) == 4
        assert f"{registry_folder}/approvers: was changed" in run.err
    assert run("registry", "check", "--trust", trust) == 4


def test_init_makes_a_registry_that_is_valid_and_leaves_others_alone(
    run: Run, tmp_path: Path, keys: Path, request_file: Path
) -> None:
    folder = tmp_path / "new"
    assert run("registry", "init", folder, "--approver", f"{ALICE}={keys / 'alice.pub'}", registry=False) == 0
    attributes = (folder / ".gitattributes").read_text()
    assert "\n* -text\n" in attributes
    assert "\ntenants/*/history.jsonl merge=union\n" in attributes
    assert run("registry", "check", "--registry", folder, registry=False) == 0
    before = everything(folder)
    assert run("registry", "init", folder, registry=False) == 4
    assert everything(folder) == before
    examples = paths.data("examples", "registry", "organisations.yaml")
    sites = paths.data("examples", "registry", "sites")
    second = tmp_path / "second"
    assert run("registry", "init", second, "--organisations", examples, "--sites", sites, registry=False) == 0
    copied = {p.name: p.read_bytes() for p in (second / "sites").glob("*.yaml")}
    assert copied == {p.name: p.read_bytes() for p in sites.glob("*.yaml")}
    assert run("registry", "check", "--registry", second, registry=False) == 0


def test_what_the_guide_says_to_type_works_as_it_is_written(
    run: Run, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "examples").symlink_to(paths.data("examples"))
    for name, key in (("secretary", "alice"), ("registrar", "keeper"), ("it", "bob")):
        for suffix in ("", ".pub"):
            shutil.copy(keys / (key + suffix), tmp_path / (name + suffix))
    shutil.rmtree(tmp_path / "registry")
    monkeypatch.chdir(tmp_path)
    typed = (root / "docs/registry.md").read_text().replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.partition("  # ")[0]) for line in typed if line.startswith("gcloud-pk ")]
    assert [words[1:3] for words in commands[:4]] == [
        ["registry", "init"], ["cluster", "register"], ["registry", "sign"], ["registry", "check"]
    ]  # fmt: skip
    shutil.copy(paths.data("examples", "requests", "moitt.yaml"), tmp_path)
    for words in commands:
        if words[1] == "cluster":
            assert (tmp_path / f"registry/sites/{words[3]}.yaml").exists()
            continue  # needs a cluster
        if words[2] in {"new", "reject"} or "--kubeconfig" in words:
            continue  # asks; undoes; needs a cluster
        arguments = [*words[1:], "--yes"] if "approve" in words else words[1:]
        assert run(*arguments, registry=False) == 0, (words, run.err)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--approver", "alice"], 2),
        (["--approver", "*={keys}/alice.pub"], 3),
        (["--approver", "a={keys}/alice.pub", "--approver", "b={keys}/alice.pub"], 3),
        (["--approver", "a={keys}/rsa2048.pub"], 3),
        (["--approver", "a={keys}/alice"], 3),
        (["--approver", "a={keys}/none.pub"], 3),
        (["--organisations", "{keys}/alice.pub"], 3),
        (["--sites", "{keys}"], 3),
        (["--sites", "{keys}/none"], 3),
    ],
)
def test_init_with_what_cannot_be_makes_nothing(
    run: Run, tmp_path: Path, keys: Path, options: list[str], code: int
) -> None:
    assert run("registry", "init", tmp_path / "new", *(o.format(keys=keys) for o in options), registry=False) == code
    assert not (tmp_path / "new").exists()


def test_init_copies_no_site_that_is_not_valid(run: Run, tmp_path: Path) -> None:
    sites = shutil.copytree(paths.data("examples", "registry", "sites"), tmp_path / "sites")
    path = sites / "isb-1.yaml"
    path.write_text(path.read_text().replace("operator: NTC", "operater: NTC"))
    assert run("registry", "init", tmp_path / "new", "--sites", sites, registry=False) == 3
    assert f"{path}:5: spec.operater: is not a field here; expected 'operator'" in run.err
    path.unlink()
    shutil.copy(sites / "lhe-1.yaml", sites / "khi-1.yaml")
    assert run("registry", "init", tmp_path / "new", "--sites", sites, registry=False) == 3
    assert "the site calls itself 'lhe-1'" in run.err
    assert not (tmp_path / "new").exists()


EXAMPLES = sorted(paths.data("examples", "requests").glob("*.yaml"))


def test_the_examples_work_as_they_are(run: Run, tmp_path: Path) -> None:
    assert len(EXAMPLES) >= 3
    assert run("request", "validate", *EXAMPLES, "--registry", paths.data("examples", "registry"), registry=False) == 0
    folder = tmp_path / "only-organisations"
    organisations = paths.data("examples", "registry", "organisations.yaml")
    run("registry", "init", folder, "--organisations", organisations, registry=False)
    for path in EXAMPLES:
        assert run("request", "submit", path, "--registry", folder, registry=False) == 0, run.err


ANSWERS = """MOITT
moitt
Director IT
Director
it@moitt.gov.pk
E-Office: all wings
ای آفس
restricted
y
Joint Secretary
js@moitt.gov.pk


moitt-admins
moitt-developers, moitt-testers


production



50
eoffice.moitt.gov.pk
government
staging
2
4Gi
20Gi
10

namespace



registry.gcloud.gov.pk/moitt/
"""


def test_new_asks_and_writes_a_commented_request_that_validates(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(ANSWERS.encode()), encoding="utf-8"))
    target = tmp_path / "new.yaml"
    assert run("request", "new", "-o", target) == 0, run.err
    text = target.read_text()
    assert "# open | public | restricted | confidential | secret" in text
    assert "E-Office: all wings" in text
    assert run("request", "validate", target) == 0
    before = target.read_bytes()
    assert run("request", "new", "-o", target, "--from", EXAMPLES[0]) == 4
    assert target.read_bytes() == before


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kube-one", "'kube-one' is reserved for the platform"),
        ("moitt-cloud", "could come to share a namespace"),
        ("nadra", "the name 'nadra' is taken (by NADRA)"),
        ("old", "was offboarded, and its name stays reserved"),
        ("MOITT", "cannot be 'MOITT'; expected a DNS label: lower-case letters"),
        ("m" * 31, "is 31 characters long; expected at most 30"),
        ("mo\u202eitt", "holds U+202E RIGHT-TO-LEFT OVERRIDE"),
    ],
)
def test_new_asks_again_where_the_registry_cannot_have_the_tenants_name(
    run: Run, registry_folder: Path, request_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    others = DATA / "registries/three-tenants/tenants"
    shutil.copytree(others / "nadra", registry_folder / "tenants/nadra")
    run("request", "submit", request_file)
    shutil.copytree(registry_folder / "tenants/moitt", registry_folder / "tenants/old")
    (registry_folder / "tenants/old/state.yaml").write_text(
        "state: offboarded\nby: me\nreason: gone\ntime: 2026-01-01T00:00:00Z\n"
    )
    answer(monkeypatch, f"MOITT\n{name}\nmoitt\nDirector IT\n")  # its own name is a new revision, and asks on
    assert run("request", "new") == 2
    assert words in run.err
    assert run.err.count("tenant's name [moitt]") == 2
    assert "requester's designation" in run.err


def test_answers_that_break_a_rule_are_kept_as_a_draft_that_says_what_to_mend(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ANSWERS.replace("eoffice.moitt.gov.pk", "eoffice.nadra.gov.pk")
    answer(monkeypatch, wrong)
    target = tmp_path / "new.yaml"
    assert run("request", "new", "-o", target) == 3
    assert f"{target} holds them" in run.err
    text = target.read_text()
    assert "#   spec.environments[0].domains[0]: domain 'eoffice.nadra.gov.pk' is not MOITT's; expected" in text
    line = next(i for i, line in enumerate(text.splitlines(), 1) if "domains: " in line)
    assert f"{target}:{line}: spec.environments[0].domains[0]: domain" in run.err
    target.write_text(text.replace("eoffice.nadra.gov.pk]", "eoffice.moitt.gov.pk]"))
    assert run("request", "validate", target) == 0, run.err
    answer(monkeypatch, wrong)
    assert run("request", "new") == 3
    assert run.out == text.replace("new.yaml", "")


def test_answers_are_shown_where_they_cannot_be_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, ANSWERS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_fill", full)
    assert run("request", "new", "-o", tmp_path / "new.yaml") == 5
    assert "kind: TenantRequest" in run.out
    assert "the disk is full" in run.err


def test_new_names_a_folder_that_is_not_there_before_it_asks(run: Run, tmp_path: Path) -> None:
    assert run("request", "new", "-o", tmp_path / "none" / "new.yaml") == 5
    assert "organisation" not in run.err


def test_new_without_a_person_says_to_give_a_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"MOITT\n"), encoding="utf-8"))
    assert run("request", "new") == 2
    assert "--from FILE" in run.err


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_new_from_a_request_writes_the_same_request(run: Run, tmp_path: Path, path: Path) -> None:
    from gcloud_pk.registry.documents import parse

    target = tmp_path / "new.yaml"
    assert run("request", "new", "-o", target, "--from", path) == 0, run.err
    assert parse(target.read_bytes(), "new").value == parse(path.read_bytes(), "old").value


def test_new_from_an_invalid_request_writes_nothing(run: Run, tmp_path: Path) -> None:
    bad = DATA / "requests/invalid/tier-unknown.yaml"
    assert run("request", "new", "-o", tmp_path / "new.yaml", "--from", bad) == 3
    assert not (tmp_path / "new.yaml").exists()


def test_schema_prints_one_and_writes_all(run: Run, tmp_path: Path) -> None:
    assert run("schema", "Site", registry=False) == 0
    assert json.loads(run.out)["title"] == "Site"
    assert run("schema", "--output-dir", tmp_path / "schemas", registry=False) == 0
    written = {p.name: p.read_bytes() for p in (tmp_path / "schemas").iterdir()}
    assert written == {p.name: p.read_bytes() for p in paths.data("schemas").glob("*.schema.json")}
    assert run("schema", registry=False) == 2


def test_text_of_a_request_cannot_write_to_the_terminal(run: Run, request_file: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.yaml"
    evil.write_text(request_file.read_text().replace("tier: development", 'tier: "\\e[2Jgone"'))
    assert run("request", "validate", evil) == 3
    assert "\x1b" not in run.err + run.out
