"""Attacks on a signed registry: by who may edit the folder, by a requester, by an approver, by last year's papers.

Each is a change of the folder, the command that must refuse, its exit code, and words that its answer must hold.
Nothing may be written: neither in the registry nor in the folder that GitOps reads, nor outside.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from tests.unit.registry_world import (
    World,
    approver_line,
    make_keys,
    make_world,
    public,
    request_of,
    tree,
    waiver,
)

from gcloud_pk.main import main
from gcloud_pk.registry.approvers import APPROVAL, REQUEST, STATE

Change = Callable[[World], object]
Words = tuple[str, ...]

ONBOARD = "onboard moitt --output-dir {root}/manifests"
ONBOARD_ALL = "onboard --all --output-dir {root}/manifests"
CHECK = "registry check"
SIGN = "registry sign --key {keys}/keeper"
SUBMIT = "request submit {root}/outside/new.yaml"
APPROVE = "request approve nadra --yes --key {keys}/bob"


@dataclass(frozen=True)
class Attack:
    change: Change
    command: str
    code: int
    words: Words


ATTACKS: dict[str, Attack] = {}


def attacks(command: str, code: int, cases: dict[str, tuple[Change, Words]]) -> None:
    for name, (change, words) in cases.items():
        assert name not in ATTACKS, name
        ATTACKS[name] = Attack(change, command, code, words)


def appended(name: str, text: str) -> Change:
    return lambda w: w.put(name, (w.path / name).read_bytes() + text.encode())


def edited(name: str, before: str, after: str) -> Change:
    return lambda w: w.edit(name, before, after)


def removed(name: str) -> Change:
    def change(w: World) -> None:
        path = w.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def put(name: str, data: bytes | str) -> Change:
    return lambda w: w.put(name, data)


def in_turn(*changes: Change) -> Change:
    def change(w: World) -> None:
        for one in changes:
            one(w)

    return change


def linked_out(name: str, *, dangling: bool = False) -> Change:
    """Move a file or folder out of the registry, and leave a link to it in its place."""

    def change(w: World) -> None:
        target = w.outside / Path(name).name
        (w.path / name).rename(target)
        (w.path / name).symlink_to(w.outside / "gone" if dangling else target)

    return change


def with_crlf(name: str) -> Change:
    return lambda w: w.put(name, (w.path / name).read_bytes().replace(b"\n", b"\r\n"))


def cut(name: str, share: float = 0.5) -> Change:
    def change(w: World) -> None:
        data = (w.path / name).read_bytes()
        w.put(name, data[: int(len(data) * share)])

    return change


def a_pipe(name: str) -> Change:
    def change(w: World) -> None:
        (w.path / name).unlink()
        os.mkfifo(w.path / name)

    return change


def a_folder(name: str) -> Change:
    def change(w: World) -> None:
        (w.path / name).unlink(missing_ok=True)
        (w.path / name).mkdir()

    return change


def handed_in(tenant: str, *changes: tuple[str, str]) -> Change:
    return lambda w: (w.outside / "new.yaml").write_bytes(request_of(tenant, *changes))


# --- what decides for all, edited by somebody who cannot sign -------------------------------------------------------

REFUSED = "is not what its keepers signed"


def last_year(*names: str) -> Change:
    def change(w: World) -> None:
        for name in names:
            shutil.copy(w.outside / f"last-year-{name}", w.path / name)

    return change


def listing(change_of_text: Callable[[str], str]) -> Change:
    """Let the keeper sign another registry.sha256."""

    def change(w: World) -> None:
        w.put("registry.sha256", change_of_text((w.path / "registry.sha256").read_text()))
        w.resign()

    return change


def an_approver_of_my_own(w: World) -> None:
    w.put("approvers", (w.path / "approvers").read_text() + approver_line(w.keys, "stranger"))
    (w.tenant("nadra") / "approvals/alice@ntc.example.sig").unlink()
    w.approve_by_hand("stranger", "nadra")


def without(name: str) -> Callable[[str], str]:
    return lambda text: "".join(line for line in text.splitlines(keepends=True) if name not in line)


attacks(ONBOARD, 4, {
    "settings edited": (appended("settings.yaml", "\n"), (REFUSED, "settings.yaml: was changed")),
    "settings removed after signing": (removed("settings.yaml"), (REFUSED, "settings.yaml: is missing since")),
    "organisations edited": (
        edited("organisations.yaml", "[moitt.gov.pk, moitt.pk]", "[gov.pk]"), ("organisations.yaml: was changed",)
    ),
    "approvers with a line of the attacker's": (an_approver_of_my_own, ("approvers: was changed",)),
    "approvers with an expired key made valid": (
        edited("approvers", ',valid-before="20260101"', ""), ("approvers: was changed",)
    ),
    "approvers with other line ends": (with_crlf("approvers"), ("approvers: was changed",)),
    "a site edited": (
        edited("sites/isb-1.yaml", "dns:", "uid: 00000000-0000-0000-0000-000000000001\n      dns:"),
        ("sites/isb-1.yaml: was changed",),
    ),
    "a site removed": (removed("sites/isb-2.yaml"), ("sites/isb-2.yaml: is missing since",)),
    "a site added after signing": (
        lambda w: w.put("sites/khi-1.yaml", (w.path / "sites/isb-1.yaml").read_text().replace("isb-1", "khi-1")),
        ("sites/khi-1.yaml: was added since",),
    ),
    "digests written anew under the old signature": (
        in_turn(appended("settings.yaml", "\n"), World.list_anew), ("registry.sha256.sig", "over other bytes")
    ),
    "digests signed by a stranger": (lambda w: w.resign("stranger"), ("registry.sha256.sig", "key that is not in")),
    "digests signed by an approver": (lambda w: w.resign("alice"), ("registry.sha256.sig", "key that is not in")),
    "digests signed by the keeper for another purpose": (
        lambda w: w.resign(namespace=APPROVAL), ("made for namespace 'gcloud-pk-approval'",)
    ),
    "last year's digests, properly signed, over the approvers of today": (
        last_year("registry.sha256", "registry.sha256.sig"), ("approvers: was changed",)
    ),
    "last year's approvers under the digests of today": (last_year("approvers"), ("approvers: was changed",)),
    "digests that list fewer files": (listing(without("settings.yaml")), ("settings.yaml: was added since",)),
    "digests that list a file outside": (
        listing(lambda text: text + f"{'0' * 64}  ../outside/moitt.yaml\n"), ("outside/moitt.yaml: is missing since",)
    ),
    "digests that list an absolute path": (
        listing(lambda text: text + f"{'0' * 64}  /etc/passwd\n"), ("/etc/passwd: is missing since",)
    ),
    "digests that list a file twice": (listing(lambda text: text * 2), ("a second one",)),
    "digests of another serial under the old signature": (
        edited("registry.sha256", "# serial 2,", "# serial 9,"), ("registry.sha256.sig", "over other bytes")
    ),
    "digests without their serial, under the old signature": (
        lambda w: w.put("registry.sha256", (w.path / "registry.sha256").read_bytes().partition(b"\n")[2]),
        ("registry.sha256.sig", "over other bytes"),
    ),
    "digests that count twice": (
        listing(lambda text: f"# serial 9, 2026-11-20T12:00:00Z\n{text}"), ("registry.sha256:2", "a comment")
    ),
    "digests that count from elsewhere": (
        listing(lambda text: "".join([*text.splitlines(keepends=True)[1:], "# serial 9, 2026-11-20T12:00:00Z\n"])),
        ("a comment that no keeper makes",),
    ),
    "digests with other line ends": (with_crlf("registry.sha256"), ("over other bytes",)),
    "digests truncated": (cut("registry.sha256"), ("over other bytes",)),
    "digests without their signature": (removed("registry.sha256.sig"), ("registry.sha256.sig: is missing",)),
    "no digests at all": (
        in_turn(removed("registry.sha256"), removed("registry.sha256.sig")), ("registry.sha256: is missing",)
    ),
    "a signature that is an approval's": (
        lambda w: shutil.copy(
            w.tenant() / "approvals/alice@ntc.example.sig", w.path / "registry.sha256.sig"
        ), ("made for namespace",)
    ),
})  # fmt: skip


def trusting(change: Callable[[World], Path]) -> Change:
    """Name another trust file: `{root}/trust` becomes a link, which the command line follows by its text."""

    def changed(w: World) -> None:
        (w.root / "named").write_text(str(change(w)))

    return changed


def trust_file(w: World, text: str) -> Path:
    w.trust.write_text(text.format(keeper=public(w.keys, "keeper")))
    return w.trust


def linked(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


KEEPERS = 'keeper@ntc.example namespaces="gcloud-pk-registry" {keeper}\n'

attacks(ONBOARD, 4, {
    "a trust file inside the registry": (
        trusting(lambda w: Path(shutil.copy(w.trust, w.path / "trust"))), ("lies inside the registry",)
    ),
    "a trust file reached through a link inside the registry": (
        trusting(lambda w: linked(w.path / "trust", w.trust)), ("is reached through it",)
    ),
    "a trust file that is a link into the registry": (
        trusting(lambda w: linked(w.root / "t", Path(shutil.copy(w.trust, w.path / "trust")))),
        ("is reached through it",),
    ),
    "a trust file with a wildcard": (
        trusting(lambda w: trust_file(w, KEEPERS.replace("keeper@", "*@"))), ("trust file", "a wildcard")
    ),
    "a trust file that lets the keeper sign anything": (
        trusting(lambda w: trust_file(w, "keeper@ntc.example {keeper}\n")), ("trust file", "no namespaces=")
    ),
    "a trust file whose keeper's time is over": (
        trusting(lambda w: trust_file(w, KEEPERS.replace('" {', '",valid-before="20260101" {'))), ("expired on",)
    ),
    "a trust file of a keeper for another purpose": (
        trusting(lambda w: trust_file(w, KEEPERS.replace("registry", "approval"))), ("may not sign in namespace",)
    ),
})  # fmt: skip


# --- what decides for all, brought before a keeper who signs what lies there ----------------------------------------

ALIAS = "approvals: &a {secret: 2}\nsignedRequests: *b\n"


def approvers_with(line: str) -> Change:
    def change(w: World) -> None:
        known = {name: public(w.keys, name) for name in ("alice", "bob", "stranger", "rsa2048", "rsa3072")}
        known["cert"] = " ".join((w.keys / "alice-cert.pub").read_text().split()[:2])
        known |= {"dsa": dsa_key(), "padded": padded_rsa(known["rsa3072"]), "sk": as_security_key(known["alice"])}
        text = "".join(approver_line(w.keys, name) for name in ("alice", "bob", "rsa3072"))
        w.put("approvers", text + line.format(**known) + "\n")

    return change


def packed(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def unpacked(line: str) -> list[bytes]:
    data, parts = base64.b64decode(line.split()[1]), []
    while data:
        size = struct.unpack(">I", data[:4])[0]
        parts.append(data[4 : 4 + size])
        data = data[4 + size :]
    return parts


def as_line(*parts: bytes) -> str:
    return f"{parts[0].decode()} {base64.b64encode(packed(*parts)).decode()}"


def dsa_key() -> str:
    return as_line(b"ssh-dss", *(b"\x01" * 128,) * 4)


def padded_rsa(line: str) -> str:
    """Return the same key, written with a zero in front of its modulus: ssh-keygen takes it for the same."""
    kind, exponent, modulus = unpacked(line)
    return as_line(kind, exponent, b"\0" + modulus)


def as_security_key(line: str) -> str:
    """Return the same Ed25519 key under the type of a security key."""
    return as_line(b"sk-ssh-ed25519@openssh.com", unpacked(line)[1], b"ssh:")


SPACES = f'namespaces="{APPROVAL}"'

attacks(SIGN, 3, {
    "settings with an alias": (put("settings.yaml", ALIAS), ("settings.yaml:2", "an alias (*b)")),
    "settings with an anchor": (put("settings.yaml", "approvals: &a {secret: 2}\n"), ("an anchor (&a)",)),
    "settings with a tag": (put("settings.yaml", "groupsPrefix: !!python/name:os.system x\n"), ("a tag",)),
    "settings with a merge key": (put("settings.yaml", "approvals: {<<: {secret: 2}}\n"), ("a merge key",)),
    "settings with a field twice": (
        put("settings.yaml", "approvals: {secret: 3}\napprovals: {secret: 2}\n"), ("settings.yaml:2", "stands twice")
    ),
    "settings with a second document": (
        put("settings.yaml", "approvals: {secret: 3}\n---\napprovals: {secret: 2}\n"), ("a second YAML document",)
    ),
    "settings with a NUL": (put("settings.yaml", b"groupsPrefix: 'a\0b'\n"), ("U+0000",)),
    "settings with a comment that reads backwards": (
        put("settings.yaml", "approvals: {secret: 2} # \u202e3 :terces\n"), ("U+202E",)
    ),
    "settings with an escape that hides": (
        put("settings.yaml", 'groupsPrefix: "oidc:\\u202e"\n'), ("groupsPrefix: cannot be",)
    ),
    "settings with a byte order mark inside": (
        put("settings.yaml", "approvals: {secret: 2}\n\ufeffgroupsPrefix: x\n"), ("U+FEFF",)
    ),
    "settings that are not UTF-8": (put("settings.yaml", b"groupsPrefix: \xff\n"), ("not UTF-8",)),
    "settings of UTF-16": (put("settings.yaml", "approvals: {}".encode("utf-16")), ("not UTF-8",)),
    "settings larger than anybody writes": (put("settings.yaml", b"#" * (1 << 20) + b"\n"), ("larger than 1 MiB",)),
    "settings nested without end": (put("settings.yaml", "a: " + "[" * 60_000), ("settings.yaml",)),
    "settings below the federal floor": (put("settings.yaml", "approvals: {secret: 1}\n"), ("loosen the federal",)),
    "settings that are a folder": (a_folder("settings.yaml"), ("is a folder",)),
    "organisations that are a pipe": (a_pipe("organisations.yaml"), ("not a regular file",)),
    "an organisation twice": (
        lambda w: w.put("organisations.yaml", (w.path / "organisations.yaml").read_bytes() * 2), ("is used twice",)
    ),
    "a site that calls itself another": (
        lambda w: w.put("sites/khi-1.yaml", (w.path / "sites/isb-1.yaml").read_bytes()), ("calls itself",)
    ),
    "a site under another ending": (
        lambda w: shutil.copy(w.path / "sites/isb-1.yaml", w.path / "sites/isb-3.yml"), ("is not a site",)
    ),
    "an approver by wildcard": (approvers_with(f"*@ntc.example {SPACES} {{stranger}}"), ("a wildcard",)),
    "an approver by negation": (approvers_with(f"!mallory {SPACES} {{stranger}}"), ("a wildcard",)),
    "a list of approvers with one key": (approvers_with(f"mallory,eve {SPACES} {{stranger}}"), ("a list of",)),
    "an approver who may certify others": (
        approvers_with(f"mallory cert-authority,{SPACES} {{stranger}}"), ("cert-authority",)
    ),
    "an approver who may sign anything": (approvers_with("mallory {stranger}"), ("no namespaces=",)),
    "an approver for every namespace": (approvers_with('mallory namespaces="*" {stranger}'), ("without wildcard",)),
    "an approver's key of 2048 bits": (approvers_with(f"mallory {SPACES} {{rsa2048}}"), ("2048 bits",)),
    "an approver's DSA key": (approvers_with(f"mallory {SPACES} {{dsa}}"), ("'ssh-dss' is not admitted",)),
    "an approver's certificate": (approvers_with(f"mallory {SPACES} {{cert}}"), ("certificate",)),
    "one key under two names": (approvers_with(f"mallory {SPACES} {{alice}}"), ("that of 'alice@ntc.example'",)),
    "one key under two names, once as a security key": (
        approvers_with(f"mallory {SPACES} {{sk}}"), ("that of 'alice@ntc.example'",)
    ),
    "one key under two names, once with a zero in front": (
        approvers_with(f"mallory {SPACES} {{padded}}"), ("not written as ssh-keygen writes it",)
    ),
    "two keys of one name": (approvers_with(f"alice@ntc.example {SPACES} {{stranger}}"), ("stands in line 1",)),
    "an approver named like another by capitals": (
        approvers_with(f"Alice@ntc.example {SPACES} {{stranger}}"), ("is not a principal",)
    ),
    "an approver whose name is a path": (approvers_with(f"../../x {SPACES} {{stranger}}"), ("not a principal",)),
    "an approver whose file would be hidden": (approvers_with(f".x {SPACES} {{stranger}}"), ("not a principal",)),
    "an approver whose name looks like another's": (
        approvers_with(f"\u0430lice@ntc.example {SPACES} {{stranger}}"), ("not a principal",)
    ),
    "a revoked key under another name": (
        approvers_with(
            f"# revoked 2026-01-31T09:00:00Z by keeper, left: eve {SPACES} {{stranger}}\nmallory {SPACES} {{stranger}}"
        ),
        ("was revoked (line 4) and never comes back",),
    ),
    "a revocation that cannot be read": (approvers_with("# revoked eve, left"), ("is not a revoked line",)),
    "approvers with a comment that reads backwards": (
        approvers_with(f"mallory {SPACES} {{stranger}} \u202eecila"), ("U+202E",)
    ),
    "approvers with line ends of another system": (with_crlf("approvers"), ("carriage return",)),
    "approvers that are not UTF-8": (put("approvers", b"\xff\xfe\n"), ("is not UTF-8",)),
})  # fmt: skip


# --- links out of the folder ----------------------------------------------------------------------------------------

OUT = "leads out of"

attacks(ONBOARD, 4, {
    f"{name} linked out of the folder": (linked_out(name), (OUT,))
    for name in (
        "settings.yaml", "approvers", "organisations.yaml", "registry.sha256", "registry.sha256.sig", "sites",
        "sites/isb-1.yaml", "tenants", "tenants/moitt", "tenants/moitt/request.yaml", "tenants/moitt/approvals",
        "tenants/moitt/approvals/alice@ntc.example.sig", "tenants/moitt/history",
    )
})  # fmt: skip
attacks(ONBOARD, 4, {
    f"{name} linked to nothing outside": (linked_out(name, dangling=True), (OUT,))
    for name in ("settings.yaml", "sites/isb-1.yaml", "tenants/moitt/request.yaml", "tenants/moitt/history")
})  # fmt: skip
attacks(CHECK, 4, {
    "a tenant's folder linked to nothing outside": (linked_out("tenants/itd", dangling=True), (OUT,)),
    "a state linked out of the folder": (linked_out("tenants/itd/state.yaml"), (OUT,)),
    "a state's signature linked out of the folder": (linked_out("tenants/itd/state.yaml.sig"), (OUT,)),
    "a template that is a link out": (
        in_turn(put("templates/x.yaml", request_of("moitt")), linked_out("templates/x.yaml")), (OUT,)
    ),
    "a tenant's folder added as a link out": (
        lambda w: (w.path / "tenants/rival").symlink_to(w.outside), (OUT,)
    ),
})  # fmt: skip
attacks(CHECK, 3, {
    "a tenant's folder that is a link to itself": (
        lambda w: (w.path / "tenants/loop").symlink_to("loop"), ("loop",)
    ),
    "a request that is a link to itself": (
        in_turn(removed("tenants/nadra/request.yaml"),
                lambda w: (w.tenant("nadra") / "request.yaml").symlink_to("request.yaml")),
        ("request.yaml", "cannot be read"),
    ),
})  # fmt: skip


# --- a tenant's own files -------------------------------------------------------------------------------------------

REQUEST_YAML = "tenants/moitt/request.yaml"
APPROVED = "tenants/moitt/approvals/alice@ntc.example.sig"
NONE = "0 of 1 approvals"
BEHIND, OTHER = "goes back behind one that was accepted", "revision 3 was accepted with other bytes"


def swapped(name: str, other: str) -> Change:
    def change(w: World) -> None:
        one, two = (w.path / name).read_bytes(), (w.path / other).read_bytes()
        w.put(name, two)
        w.put(other, one)

    return change


def swapped_folders(w: World) -> None:
    w.tenant().rename(w.path / "tenants/x")
    w.tenant("itd").rename(w.tenant())
    (w.path / "tenants/x").rename(w.tenant("itd"))


def last_revision(w: World) -> None:
    """Bring back revision 2 with the approval it had; the kept one of revision 3 stays."""
    old = next(p for p in (w.tenant() / "history").iterdir() if b"revision: 2" in (p / "request.yaml").read_bytes())
    shutil.copytree(old, w.tenant(), dirs_exist_ok=True)


def approved_by(key: str, principal: str | None = None, namespace: str = APPROVAL) -> Change:
    """Put a signature by another key in the place of alice's."""

    def change(w: World) -> None:
        (w.path / APPROVED).unlink()
        data = (w.path / REQUEST_YAML).read_bytes()
        name = principal or f"{key}@ntc.example"
        w.put(f"tenants/moitt/approvals/{name}.sig", w.sign(data, key, namespace))

    return change


def approval_over(data: bytes) -> Change:
    return lambda w: w.put(APPROVED, w.sign(data, "alice"))


def rsa_approval(w: World, algorithm: str = "ssh-rsa") -> None:
    """Sign with RSA, by default as ssh-keygen refuses to: with SHA-1 (algorithm ssh-rsa)."""
    from hashlib import sha512

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = serialization.load_ssh_private_key((w.keys / "rsa3072").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    hash_of = {"ssh-rsa": hashes.SHA1(), "rsa-sha2-512": hashes.SHA512()}
    data = (w.path / REQUEST_YAML).read_bytes()
    head = [APPROVAL.encode(), b"", b"sha512"]
    made = key.sign(b"SSHSIG" + packed(*head, sha512(data).digest()), padding.PKCS1v15(), hash_of[algorithm])
    blob = base64.b64decode(public(w.keys, "rsa3072").split()[1])
    body = b"SSHSIG\0\0\0\1" + packed(blob, *head, packed(algorithm.encode(), made))
    text = base64.encodebytes(body).decode()
    (w.path / APPROVED).unlink()
    w.put(
        "tenants/moitt/approvals/rsa3072@ntc.example.sig",
        f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n",
    )


def certificate_approval(w: World) -> None:
    """Sign with alice's key as the keeper's certificate names it."""
    for end in ("", ".pub"):
        shutil.copy(w.keys / f"alice{end}", w.outside / f"certified{end}")
    shutil.copy(w.keys / "alice-cert.pub", w.outside / "certified-cert.pub")
    here = World(w.root, w.outside)
    w.put(APPROVED, here.sign((w.path / REQUEST_YAML).read_bytes(), "certified-cert.pub"))


def asked_and_approved_by(key: str) -> Change:
    def change(w: World) -> None:
        data = (w.path / REQUEST_YAML).read_bytes()
        w.put("tenants/moitt/request.yaml.sig", w.sign(data, key, REQUEST))
        approved_by(key)(w)

    return change


def asked_in_capitals(w: World) -> None:
    w.edit(REQUEST_YAML, "email: director.it@moitt.gov.pk}\n  purpose", "email: Alice@NTC.Example}\n  purpose")
    w.edit(REQUEST_YAML, "revision: 3", "revision: 4")
    w.approve_by_hand("alice")


attacks(ONBOARD, 4, {
    "a request widened after its approval": (edited(REQUEST_YAML, "pods: 50}", "pods: 5000}"), (BEHIND, OTHER)),
    "a space more in a request": (edited(REQUEST_YAML, "revision: 3", "revision: 3 "), (BEHIND, OTHER)),
    "a request with other line ends": (with_crlf(REQUEST_YAML), (BEHIND, OTHER)),
    "a request with a byte order mark": (
        lambda w: w.put(REQUEST_YAML, b"\xef\xbb\xbf" + (w.path / REQUEST_YAML).read_bytes()), (BEHIND, OTHER)
    ),
    "a request widened after its approval, of a revision of its own": (
        in_turn(edited(REQUEST_YAML, "pods: 50}", "pods: 5000}"), edited(REQUEST_YAML, "revision: 3", "revision: 4")),
        (NONE, "superseded"),
    ),
    "a request widened after its approval, with history gone": (
        in_turn(edited(REQUEST_YAML, "pods: 50}", "pods: 5000}"), removed("tenants/moitt/history")),
        (NONE, "superseded"),
    ),
    "last year's revision with the approval it had": (
        last_revision, (BEHIND, "revision 2 is older than revision 3")
    ),
    "an approval removed": (removed(APPROVED), (NONE,)),
    "an approval truncated": (cut(APPROVED), (NONE, "not an OpenSSH signature")),
    "an approval of nothing": (put(APPROVED, ""), (NONE, "not an OpenSSH signature")),
    "an approval with something behind it": (
        appended(APPROVED, "-----BEGIN SSH SIGNATURE-----\n"), (NONE, "not an OpenSSH signature")
    ),
    "two approvals in one file": (
        lambda w: w.put(APPROVED, (w.path / APPROVED).read_bytes() * 2), (NONE, "not an OpenSSH signature")
    ),
    "an approval of another tenant's request": (
        lambda w: shutil.copy(w.tenant("itd") / "approvals/alice@ntc.example.sig", w.path / APPROVED),
        (NONE, "over other bytes"),
    ),
    "an approval of the state": (approval_over(b"state: active\n"), (NONE, "over other bytes")),
    "the requester's signature as an approval": (
        approved_by("carol", namespace=REQUEST), (NONE, "made for namespace 'gcloud-pk-request'")
    ),
    "a state's signature as an approval": (
        approved_by("alice", namespace=STATE), (NONE, "made for namespace 'gcloud-pk-state'")
    ),
    "an approval by an unknown key": (approved_by("stranger"), (NONE, "key that is not in")),
    "an approval by a key that was removed": (approved_by("removed"), (NONE, "key that is not in")),
    "an approval by the keeper": (approved_by("keeper"), (NONE, "key that is not in")),
    "an approval by an expired key": (approved_by("expired"), (NONE, "expired on 2026-01-01")),
    "an approval by a key that is not valid yet": (approved_by("future"), (NONE, "is valid only from 2099-01-01")),
    "an approval by a certificate": (certificate_approval, (NONE, "key that is not in")),
    "an approval with SHA-1": (rsa_approval, (NONE, "rsa3072@ntc.example.sig")),
    "an approval under another's name": (
        approved_by("alice", "bob@ntc.example"), (NONE, "the file's name must be the signer's")
    ),
    "an approval under a name that is hidden": (approved_by("alice", ".alice@ntc.example"), (NONE,)),
    "a folder swapped with another tenant's": (swapped_folders, ("is of tenant 'itd'",)),
    "who signed the request approves it": (asked_and_approved_by("carol"), (NONE, "signed the request itself")),
    "who asks approves it, under an address in capitals": (asked_in_capitals, (NONE, "is who asks")),
})  # fmt: skip
attacks(ONBOARD, 3, {
    "an approval under a name in capitals": (approved_by("alice", "Alice@ntc.example"), ("is not an approval",)),
    "an approval in a folder": (
        in_turn(removed(APPROVED), a_folder(APPROVED)), ("is a folder",)
    ),
    "an approval that is a pipe": (a_pipe(APPROVED), ("not a regular file",)),
    "an approval larger than anybody writes": (put(APPROVED, b"-" * (1 << 21)), ("larger than 1 MiB",)),
    "approvals that are a file": (
        in_turn(removed("tenants/moitt/approvals"), put("tenants/moitt/approvals", "x")), ("cannot be listed",)
    ),
    "a request truncated": (cut(REQUEST_YAML), (REQUEST_YAML, "is not valid")),
    "a request of nothing": (put(REQUEST_YAML, ""), ("is empty",)),
    "a request that is a pipe": (a_pipe(REQUEST_YAML), ("not a regular file",)),
    "a request that is a folder": (a_folder(REQUEST_YAML), ("is a folder",)),
    "a request removed": (removed(REQUEST_YAML), ("does not exist",)),
    "a request larger than anybody writes": (put(REQUEST_YAML, b"#" * (1 << 21)), ("larger than 1 MiB",)),
    "a request swapped with another tenant's": (
        swapped(REQUEST_YAML, "tenants/itd/request.yaml"), ("the folder is 'moitt', the request is 'itd'",)
    ),
    "a request with a second document": (
        appended(REQUEST_YAML, "---\nkind: TenantRequest\n"), ("a second YAML document",)
    ),
    "a request with a field twice": (appended(REQUEST_YAML, "metadata: {name: moitt}\n"), ("stands twice",)),
    "a request with a NUL": (appended(REQUEST_YAML, "# \0\n"), ("U+0000",)),
    "a request with a comment that reads backwards": (appended(REQUEST_YAML, "# \u202exif\n"), ("U+202E",)),
    "a request that holds another's domain": (
        edited(REQUEST_YAML, "[eoffice.moitt.gov.pk]", "[eoffice.nadra.gov.pk]"), ("domains",)
    ),
})  # fmt: skip
attacks(CHECK, 3, {
    "a request widened after its approval, checked": (edited(REQUEST_YAML, "pods: 50}", "pods: 5000}"), (OTHER,)),
    "an older revision, checked": (last_revision, ("revision 2 is older than revision 3",)),
    "an approval of a request that waits, by a stranger": (
        lambda w: w.approve_by_hand("stranger", "nadra"), ("stranger@ntc.example.sig", "key that is not in")
    ),
    "a tenant's folder in capitals": (
        lambda w: shutil.copytree(w.tenant(), w.path / "tenants/MOITT"), ("MOITT", "is not a tenant's folder")
    ),
    "a tenant's folder with a dot": (
        lambda w: shutil.copytree(w.tenant(), w.path / "tenants/moitt.bak"), ("is not a tenant's folder",)
    ),
    "a tenant's folder twice": (
        lambda w: shutil.copytree(w.tenant(), w.path / "tenants/moitt-2"), ("the folder is 'moitt-2'",)
    ),
    "tenants that are a file": (
        in_turn(removed("tenants"), put("tenants", "x")), ("tenants", "cannot be listed")
    ),
    "a kept request edited": (
        lambda w: next((w.tenant() / "history").glob("*/request.yaml")).write_bytes(request_of("itd")),
        ("is not the request that was accepted",),
    ),
    "a kept request of another tenant": (
        lambda w: shutil.copytree(next((w.tenant("itd") / "history").iterdir()),
                                  w.tenant() / "history" / next((w.tenant("itd") / "history").iterdir()).name),
        ("is not this tenant's request",),
    ),
    "a kept request under a digest in capitals": (
        lambda w: (p := next((w.tenant() / "history").iterdir())).rename(p.with_name(p.name.upper())),
        ("is not the request that was accepted",),
    ),
    "a kept approval edited": (
        lambda w: next((w.tenant() / "history").glob("*/approvals/*")).write_bytes(w.sign(b"else", "alice")),
        ("history", "over other bytes"),
    ),
    "a kept approval that is none": (
        lambda w: next((w.tenant() / "history").glob("*/approvals/*")).write_bytes(b"approved, honestly"),
        ("history", "is not an OpenSSH signature"),
    ),
})  # fmt: skip


# --- states ---------------------------------------------------------------------------------------------------------

STATE_YAML, STATE_SIG = "tenants/itd/state.yaml", "tenants/itd/state.yaml.sig"
RESUME = "onboard itd --output-dir {root}/manifests"
UNBELIEVED = "so the tenant counts as closed"
LONG_AGO = "2026-01-31T09:00:00Z"


def resumed(key: str | None = "bob", namespace: str = STATE, **fields: str) -> Change:
    return lambda w: w.set_state(w.state("itd", **fields), key, "itd", namespace)


def resumed_and_changed(change: Change) -> Change:
    return in_turn(resumed(), change)


attacks(RESUME, 4, {
    "a suspension removed": (in_turn(removed(STATE_YAML), removed(STATE_SIG)), ("history", "suspend")),
    "a suspension edited to active": (edited(STATE_YAML, "suspended", "active"), (UNBELIEVED,)),
    "an active state without a signature": (resumed(None), (UNBELIEVED, "only when an approver has signed it")),
    "an active state signed by a stranger": (resumed("stranger"), (UNBELIEVED, "key that is not in")),
    "an active state signed by the keeper": (resumed("keeper"), (UNBELIEVED, "key that is not in")),
    "an active state signed as an approval": (resumed(namespace=APPROVAL), (UNBELIEVED, "made for namespace")),
    "an active state signed by an expired key": (resumed("expired"), (UNBELIEVED, "expired on")),
    "an active state of another tenant": (resumed(tenant="moitt"), (UNBELIEVED, "speaks of tenant 'moitt'")),
    "an active state of no request": (resumed(digest="0" * 64), (UNBELIEVED, "one of its requests")),
    "an active state from before the suspension": (resumed(time=LONG_AGO), ("history", "suspend")),
    "an active state signed for later": (resumed(time="2099-01-01T00:00:00Z"), (UNBELIEVED, "a time to come")),
    "an active state, backdated by an expired key": (
        resumed("expired", time="2025-12-01T00:00:00Z"), ("suspend",)
    ),
    "an active state edited after signing": (
        resumed_and_changed(edited(STATE_YAML, "reason: over", "reason: 0ver")), (UNBELIEVED, "over other bytes")
    ),
    "an active state with other line ends": (
        resumed_and_changed(with_crlf(STATE_YAML)), (UNBELIEVED, "over other bytes")
    ),
    "an active state truncated": (resumed_and_changed(cut(STATE_YAML)), (UNBELIEVED,)),
    "a state with a second document": (appended(STATE_YAML, "---\nstate: active\n"), (UNBELIEVED, "second YAML")),
    "a state with a field twice": (appended(STATE_YAML, "state: active\n"), (UNBELIEVED, "stands twice")),
    "a state of nothing": (put(STATE_YAML, ""), (UNBELIEVED, "is empty")),
    "a state that is a folder": (a_folder(STATE_YAML), (UNBELIEVED,)),
})  # fmt: skip


def resumed_in_history(tenant: str) -> Change:
    """Take the state away, and append a line of a resumption that names the one before it rightly."""

    def change(w: World) -> None:
        for name in ("state.yaml", "state.yaml.sig"):
            (w.tenant(tenant) / name).unlink(missing_ok=True)
        data = (w.tenant(tenant) / "history.jsonl").read_bytes()
        last = data.splitlines(keepends=True)[-1]
        said = {**json.loads(last), "act": "resume", "previous": sha256(last).hexdigest()}
        w.put(f"tenants/{tenant}/history.jsonl", data + json.dumps(said).encode() + b"\n")

    return change


def gone_by_hand(state: str, key: str | None = None) -> Change:
    """Close moitt, which lives, and hand in a request of another tenant for its domains."""

    def change(w: World) -> None:
        w.set_state(w.state(state=state), key)
        handed_in("moitt", ("name: moitt\n", "name: rival\n"), ("pk/moitt/", "pk/rival/"))(w)

    return change


attacks(RESUME, 4, {
    "a suspension removed, and a resumption written into the history": (
        resumed_in_history("itd"), ("history says suspended", "state.yaml is gone")
    ),
})  # fmt: skip
attacks(SUBMIT, 3, {
    "the domains of a living tenant, offboarded by hand": (gone_by_hand("offboarded"), ("moitt",)),
    "the domains of a living tenant, offboarded by a stranger": (gone_by_hand("offboarded", "stranger"), ("moitt",)),
    "the domains of a living tenant, rejected by hand": (gone_by_hand("rejected"), ("moitt",)),
})  # fmt: skip
attacks("onboard fbr-tax --output-dir {root}/manifests", 4, {
    "an offboarding removed, and a resumption written into the history": (
        resumed_in_history("fbr-tax"), ("history says offboarded",)
    ),
    "an offboarding removed": (removed("tenants/fbr-tax/state.yaml"), ("history", "offboard")),
    "an offboarding undone by an approver's signature": (
        lambda w: w.set_state(w.state("fbr-tax"), "bob", "fbr-tax"), ("offboard",)
    ),
})  # fmt: skip


# --- history --------------------------------------------------------------------------------------------------------

HISTORY = "tenants/moitt/history.jsonl"
BROKEN = "does not hold together"


def rewritten(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """Change the list of lines of moitt's history; each line keeps its newline."""
    return lambda w: w.put(HISTORY, b"".join(change((w.path / HISTORY).read_bytes().splitlines(keepends=True))))


def forged(**fields: object) -> Change:
    """Append a line that names the one before it rightly, and says something that it may not."""

    def change(w: World) -> None:
        data = (w.path / HISTORY).read_bytes()
        last = data.splitlines(keepends=True)[-1]
        said = {**json.loads(last), "previous": sha256(last).hexdigest(), **fields}
        w.put(HISTORY, data + json.dumps({key: said[key] for key in said if said[key] is not ...}).encode() + b"\n")

    return change


def another_tenants_line(w: World) -> None:
    line = (w.tenant("itd") / "history.jsonl").read_bytes().splitlines(keepends=True)[0]
    w.put(HISTORY, (w.path / HISTORY).read_bytes() + line)


attacks(ONBOARD, 4, {
    "a line of history changed": (
        rewritten(lambda lines: [lines[0], lines[1].replace(b"alice", b"bobby"), *lines[2:]]),
        (BROKEN, "history.jsonl:3", "the line before it was changed or is missing"),
    ),
    "a line of history removed": (
        rewritten(lambda lines: [lines[0], *lines[2:]]), (BROKEN, "history.jsonl:2", "changed or is missing")
    ),
    "the first line of history removed": (
        rewritten(lambda lines: lines[1:]), (BROKEN, "history.jsonl:1", "changed or is missing")
    ),
    "lines of history in another order": (
        rewritten(lambda lines: [lines[0], lines[2], lines[1], *lines[3:]]), (BROKEN, "stands above line 3")
    ),
    "a history that begins anew": (
        forged(previous="0" * 64), (BROKEN, "begins anew: the lines before it are not its own")
    ),
    "a line of another tenant's history": (another_tenants_line, (BROKEN, "is of tenant 'itd'")),
    "a line of another tenant, rightly chained": (forged(tenant="itd"), (BROKEN, "is of tenant 'itd'")),
    "another tenant's whole history": (
        swapped(HISTORY, "tenants/itd/history.jsonl"), (BROKEN, "is of tenant 'itd'")
    ),
    "a line that goes back in time": (forged(time="2020-01-01T00:00:00Z"), (BROKEN, "its time is before that of")),
    "a line of a time to come": (forged(time="2099-01-01T00:00:00Z"), (BROKEN, "its time is yet to come")),
    "a line of an act that is none": (forged(act="pardon"), (BROKEN, "act has not the form")),
    "a line that says more than lines say": (forged(note="trust me"), (BROKEN, "a key that no line has")),
    "a line that says less": (forged(actor=...), (BROKEN, "lacks actor")),
    "a line that joins what is not there": (forged(joins=["1" * 64]), (BROKEN, "a line that it joins was changed")),
    "a line with a key twice": (
        rewritten(lambda lines: [*lines[:-1], lines[-1].replace(b'{"time"', b'{"act": "submit", "time"')]),
        (BROKEN, "each key once"),
    ),
    "a history truncated in a line": (cut(HISTORY, 0.9), (BROKEN, "ends in the middle of a line")),
    "a history of nothing": (put(HISTORY, ""), (BROKEN, "is empty")),
    "a history with other line ends": (with_crlf(HISTORY), (BROKEN, "every line ends in CR LF")),
    "a history with a NUL": (appended(HISTORY, "\0\n"), (BROKEN, "is no JSON object")),
    "a history nested without end": (appended(HISTORY, "[" * 100_000 + "\n"), (BROKEN, "is no JSON object")),
    "a history linked out of the folder": (linked_out(HISTORY), (OUT,)),
})  # fmt: skip
attacks("request submit {root}/outside/new.yaml", 4, {
    "a history changed, and a new revision handed in": (
        in_turn(handed_in("moitt", ("revision: 3", "revision: 4")), rewritten(lambda lines: lines[1:])), (BROKEN,)
    ),
})  # fmt: skip
attacks(CHECK, 3, {
    "a history changed, checked": (
        rewritten(lambda lines: [lines[0], *lines[2:]]), ("history.jsonl:2", "changed or is missing")
    ),
    "a history that is a pipe": (a_pipe(HISTORY), ("history.jsonl", "not a regular file")),
    "a history that is a folder": (a_folder(HISTORY), ("history.jsonl", "is a folder")),
})  # fmt: skip


# --- waivers --------------------------------------------------------------------------------------------------------

PORTAL, BOBS = "waivers/portal.yaml", "waivers/portal.yaml.bob@ntc.example.sig"


def excepted(name: str = "portal", **fields: str) -> Change:
    """Let bob sign a waiver that says something else."""

    def change(w: World) -> None:
        w.put(f"waivers/{name}.yaml", waiver(name, **fields))
        w.approve_waiver(name, "bob")

    return change


attacks(CHECK, 3, {
    "a waiver for every workload": (
        excepted(subject="tenant/moitt/eoffice-prod/Deployment/*"), ("subject", "without wildcard")
    ),
    "a waiver for an environment": (excepted(subject="tenant/moitt/eoffice-prod"), ("wider than one workload",)),
    "a waiver for a path": (excepted(subject="tenant/moitt/../nadra/Deployment/x"), ("subject",)),
    "a waiver for another tenant's environment": (
        excepted(subject="tenant/moitt/itd-prod/Deployment/x"), ("has no environment",)
    ),
    "a waiver of a rule that protects others": (excepted(control="GPK-NET-01"), ("cannot be waived",)),
    "a waiver of every image": (excepted(allows='["*"]'), ("allows",)),
    "a waiver without an end": (excepted(expires="2999-12-31"), ("over 366 days ahead",)),
    "a waiver with a second document": (
        in_turn(appended(PORTAL, "---\ncontrol: GPK-IMG-01\n"), lambda w: w.approve_waiver("portal", "bob")),
        ("a second YAML document",),
    ),
    "a waiver approved by its author": (excepted(author="bob@ntc.example"), ("is who proposes it",)),
    "a waiver approved by a stranger": (
        lambda w: w.approve_waiver("queue", "stranger"), ("key that is not in",)
    ),
    "a waiver approved with a signature for requests": (
        lambda w: w.approve_waiver("queue", "alice", APPROVAL), ("made for namespace",)
    ),
    "a waiver approved in another's name": (
        lambda w: w.approve_waiver("queue", "alice", principal="bob@ntc.example"), ("the file's name must be",)
    ),
    "a waiver twice": (
        lambda w: w.put("waivers/portal-2.yaml", (w.path / PORTAL).read_bytes()), ("holds the same as",)
    ),
    "a waiver under a name in capitals": (
        lambda w: w.put("waivers/Portal.yaml", (w.path / PORTAL).read_bytes()), ("is no waiver",)
    ),
    "a waiver's signature under a name in capitals": (
        lambda w: w.put("waivers/queue.yaml.Alice@ntc.example.sig", (w.path / BOBS).read_bytes()), ("is no waiver",)
    ),
})  # fmt: skip
attacks(ONBOARD, 4, {
    "a waiver linked out of the folder": (linked_out(PORTAL), (OUT,)),
    "waivers linked out of the folder": (linked_out("waivers"), (OUT,)),
})  # fmt: skip

# What makes an approved waiver none. Onboarding goes on, and excepts nothing.
VOID: dict[str, Change] = {
    "its image edited": edited(PORTAL, "portal:4.2", "miner:1"),
    "its workload edited": edited(PORTAL, "Deployment/portal", "Deployment/miner"),
    "its day edited": edited(PORTAL, "reason", "reason "),
    "its signature removed": removed(BOBS),
    "its signature truncated": cut(BOBS),
    "another waiver under its name and signature": lambda w: w.put(PORTAL, waiver("queue")),
    "signed by a stranger": in_turn(removed(BOBS), lambda w: w.approve_waiver("portal", "stranger")),
    "signed by an expired key": in_turn(removed(BOBS), lambda w: w.approve_waiver("portal", "expired")),
    "signed by a key that is not valid yet": in_turn(removed(BOBS), lambda w: w.approve_waiver("portal", "future")),
    "signed as a request": in_turn(removed(BOBS), lambda w: w.approve_waiver("portal", "bob", APPROVAL)),
    "its day over": excepted(expires="2026-01-31"),
    "wider than a workload": excepted(subject="tenant/moitt/eoffice-prod"),
    "its author's own": excepted(author="bob@ntc.example"),
    "of another tenant": excepted(subject="tenant/itd/eoffice-prod/Deployment/portal"),
    "ended by words that cannot be read": put("waivers/portal.ended.yaml", "{"),
    "ended, and the ending removed": in_turn(
        lambda w: main(["--registry", str(w.path), "waiver", "expire", "portal", "--reason", "over"]),
        removed("waivers/portal.ended.yaml"),
    ),
    "ended, and copied to another name": in_turn(
        lambda w: main(["--registry", str(w.path), "waiver", "expire", "portal", "--reason", "over"]),
        lambda w: shutil.copy(w.path / PORTAL, w.path / "waivers/portal-2.yaml"),
        lambda w: shutil.copy(w.path / BOBS, w.path / "waivers/portal-2.yaml.bob@ntc.example.sig"),
    ),
}


# --- acts -----------------------------------------------------------------------------------------------------------


attacks(SUBMIT, 4, {
    "an older revision handed in": (handed_in("moitt", ("revision: 3", "revision: 1")), ("lower than",)),
    "another request of the same revision handed in": (handed_in("moitt", ("pods: 50", "pods: 51")), ("same as",)),
    "a request for an offboarded tenant": (
        handed_in("fbr-tax", ("revision: 3", "revision: 4")), ("name stays reserved",)
    ),
    "a request signed by somebody for another purpose": (
        in_turn(handed_in("moitt", ("revision: 3", "revision: 4")), lambda w: (w.outside / "new.yaml.sig").write_bytes(
            w.sign((w.outside / "new.yaml").read_bytes(), "carol", APPROVAL))),
        ("made for namespace",),
    ),
    "a request signed over other bytes": (
        in_turn(handed_in("moitt", ("revision: 3", "revision: 4")), lambda w: (w.outside / "new.yaml.sig").write_bytes(
            w.sign(b"else", "carol", REQUEST))),
        ("over other bytes",),
    ),
})  # fmt: skip
attacks(SUBMIT, 3, {
    "a request whose name is a path": (
        handed_in("moitt", ("name: moitt", "name: ../../outside/x")), ("metadata.name",)
    ),
    "a request whose name is in capitals": (handed_in("moitt", ("name: moitt", "name: MOITT")), ("metadata.name",)),
    "a request for another's groups": (
        handed_in("moitt", ("name: moitt", "name: rival"), ("pk/moitt/", "pk/rival/")), ("of tenant 'moitt'",)
    ),
})  # fmt: skip

for _name, (_command, _code, _words) in {
    "a tenant that is a path": ("request approve ../../outside --yes --key {keys}/bob", 5, ("has no tenant",)),
    "a tenant that is a path, onboarded": ("onboard ../outside --output-dir {root}/manifests", 5, ("has no tenant",)),
    "a tenant that is a path, rejected": ("request reject ../outside --reason no", 5, ("has no tenant",)),
    "approved by a stranger": ("request approve nadra --yes --key {keys}/stranger", 4, ("is not in",)),
    "approved by an expired key": ("request approve nadra --yes --key {keys}/expired", 4, ("expired on",)),
    "approved by a key that is not valid yet": ("request approve nadra --yes --key {keys}/future", 4, ("valid only",)),
    "approved in another's name": (
        "request approve nadra --yes --key {keys}/bob --as alice@ntc.example",
        4,
        ("is bob@ntc.example's",),
    ),
    "a suspended tenant approved": ("request approve itd --yes --key {keys}/bob", 4, ("is suspended",)),
    "an accepted request rejected": ("request reject moitt --reason no", 4, ("was accepted already",)),
    "a suspension turned into a rejection": ("request reject itd --reason no", 4, ("itd",)),
    "a tenant that waits, onboarded": ("onboard nadra --output-dir {root}/manifests", 4, ("1 of 2 approvals",)),
    "a registry made over another": ("registry init {root}/registry", 4, ("not empty",)),
    "a registry made with an approver whose name is a path": (
        "registry init {root}/new --approver ../../x={keys}/alice.pub",
        3,
        ("not a principal",),
    ),
}.items():
    attacks(_command, _code, {_name: (lambda _: None, _words)})


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return make_world(folder / "original", make_keys(folder / "keys", keys))


@pytest.fixture
def world(original: World, tmp_path: Path) -> World:
    return original.copied(tmp_path / "w")


def run(world: World, command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit code and everything that the answer says."""
    named = world.root / "named"
    trust = Path(named.read_text()) if named.exists() else world.trust
    words = command.format(root=world.root, keys=world.keys).split(" ")
    code = main(["--registry", str(world.path), "--trust", str(trust), "--format", "json", *words])
    said = capsys.readouterr().out
    error = json.loads(said).get("error")
    if error is None:
        return code, said
    details = [f"{one['file']}:{one['line']}: {one['field']}: {one['message']}" for one in error["details"]]
    details += [f"{one['file']}: {one['message']}; {one['expected']}" for one in error["details"]]
    return code, "\n".join([error["message"], *details, str(error["resolution"])])


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_in_words_and_nothing_is_written(
    world: World, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = ATTACKS[name]
    attack.change(world)
    before = tree(world.root)
    code, said = run(world, attack.command, capsys)
    assert (code, [word for word in attack.words if word not in said]) == (attack.code, []), said
    assert tree(world.root) == before


@pytest.mark.parametrize("command", [ONBOARD, CHECK, ONBOARD_ALL, APPROVE, SIGN])
def test_without_an_attack_the_same_commands_do_their_work(
    world: World, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(world, command, capsys)
    assert code == 0, said


@pytest.mark.parametrize("name", VOID)
def test_a_waiver_that_is_void_excepts_nothing(world: World, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "docker.io" in rendered(world, capsys)
    VOID[name](world)
    capsys.readouterr()
    assert "docker.io" not in rendered(world, capsys)


def rendered(world: World, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what GitOps would apply of tenant moitt."""
    shutil.rmtree(world.output)
    code, said = run(world, ONBOARD, capsys)
    assert code == 0, said
    return "".join(path.read_text() for path in world.output.rglob("*.yaml"))


def test_an_approval_with_rsa_and_a_hash_of_today_counts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    rsa_approval(world, "rsa-sha2-512")
    assert run(world, ONBOARD, capsys)[0] == 0


def test_a_hard_link_to_a_file_outside_is_replaced_and_the_file_outside_is_not_written(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = world.outside / "linked.yaml"
    outside.hardlink_to(world.path / REQUEST_YAML)
    handed_in("moitt", ("revision: 3", "revision: 4"))(world)
    before = outside.read_bytes()
    assert run(world, SUBMIT, capsys)[0] == 0
    assert outside.read_bytes() == before != (world.path / REQUEST_YAML).read_bytes()


def test_another_cluster_than_the_registrys_is_refused(world: World) -> None:
    from gcloud_pk.errors import RefusedError
    from gcloud_pk.onboarding.standing import recognise

    with pytest.raises(RefusedError, match="no site of the registry names this cluster"):
        recognise(world.registry(), "00000000-0000-0000-0000-000000000009", labs={}, trust=world.trust)
    with pytest.raises(RefusedError, match="is not trusted"):
        recognise(world.registry(), "00000000-0000-0000-0000-000000000009", labs={}, trust=None)


def test_last_years_rules_all_together_are_refused_by_a_cluster_that_was_given_a_newer_version(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    from gcloud_pk.onboarding.serials import Given, older

    today = world.registry().trust(world.trust)
    assert today.key
    before = Given({today.key: today.serial})
    assert older(before, today) is None
    last_year("approvers", "registry.sha256", "registry.sha256.sig")(world)
    assert run(world, CHECK, capsys)[0] == 0, "the folder alone cannot tell"
    error = older(before, world.registry().trust(world.trust))
    assert error is not None
    assert (error.code, "serial 2 of the registry (signed by keeper@ntc.example)" in error.message) == (4, True)


def test_there_are_as_many_attacks_as_were_asked_for() -> None:
    assert len(ATTACKS) + len(VOID) >= 40
