"""Keys and certificates: whom they trust, how long, and who may read them. OpenSSL is the judge."""

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from gcloud_pk.lab import pki

SERVICE_IP = "10.209.0.1"
NOW = datetime.now(UTC)
LEAVES = {leaf.name: leaf for leaf in pki.leaves(SERVICE_IP)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    pki.ensure(folder, SERVICE_IP)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pki.ensure(tmp_path / "pki", SERVICE_IP, NOW)
    return tmp_path / "pki"


def verify(folder: Path, authority: str, certificate: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / f"{authority}.crt"), *options, str(certificate)],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", LEAVES)
def test_openssl_verifies_each_certificate_for_its_use(made: Path, name: str) -> None:
    leaf = LEAVES[name]
    purposes = ["sslserver"] * bool(leaf.hosts) + ["sslclient"] * leaf.client
    assert purposes
    for purpose in purposes:
        assert verify(made, leaf.authority, made / f"{name}.crt", "-purpose", purpose).returncode == 0
    if leaf.hosts:
        assert verify(made, leaf.authority, made / f"{name}.crt", "-verify_ip", "127.0.0.1").returncode == 0
        assert verify(made, leaf.authority, made / f"{name}.crt", "-verify_ip", "192.0.2.1").returncode != 0


@pytest.mark.parametrize("name", LEAVES)
def test_no_other_authority_vouches_for_a_certificate(made: Path, name: str) -> None:
    for other in set(pki.AUTHORITIES) - {LEAVES[name].authority}:
        assert verify(made, other, made / f"{name}.crt").returncode != 0


def test_a_client_certificate_does_not_serve_and_the_servers_is_no_client(made: Path) -> None:
    assert verify(made, pki.CLUSTER_CA, made / "admin.crt", "-purpose", "sslserver").returncode != 0
    assert verify(made, pki.CLUSTER_CA, made / "apiserver.crt", "-purpose", "sslclient").returncode != 0


def test_keys_are_for_their_owner_alone(made: Path) -> None:
    keys = list(made.glob("*.key"))
    assert len(keys) == len(LEAVES) + len(pki.AUTHORITIES) + 1
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("context", "group"),
    [
        ("onboarder", "gcloud:platform"),
        ("verifier", "gcloud:verifiers"),
        ("auditor", "gcloud:auditors"),
        ("admin", "system:masters"),
    ],
)
def test_each_context_has_its_user_and_group(made: Path, context: str, group: str) -> None:
    subject = x509.load_pem_x509_certificate((made / f"{context}.crt").read_bytes()).subject
    assert subject.rfc4514_string() == f"CN=gcloud-pk:{context},O={group}"


def test_the_api_server_is_named_by_its_service_address(made: Path) -> None:
    for option in (("-verify_ip", SERVICE_IP), ("-verify_hostname", "kubernetes.default.svc")):
        assert verify(made, pki.CLUSTER_CA, made / "apiserver.crt", *option).returncode == 0


def test_a_second_run_makes_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert pki.ensure(folder, SERVICE_IP, NOW) == []
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(("part", "renewed"), [(0.5, False), (0.66, False), (0.67, True), (1.5, True)])
def test_leaves_are_renewed_past_two_thirds_of_their_life(folder: Path, part: float, renewed: bool) -> None:
    made = pki.ensure(folder, SERVICE_IP, NOW + pki.LEAF_LIFE * part)
    assert made == (list(LEAVES) if renewed else [])


def test_a_renewed_leaf_is_good_for_its_whole_life(folder: Path) -> None:
    later = NOW + pki.LEAF_LIFE * 0.8
    pki.ensure(folder, SERVICE_IP, later)
    assert abs(pki.expires(folder / "admin.crt") - later - pki.LEAF_LIFE) < timedelta(seconds=2)


def test_authorities_outlive_their_leaves(made: Path) -> None:
    assert all(pki.expires(made / f"{name}.crt") > NOW + 10 * pki.LEAF_LIFE for name in pki.AUTHORITIES)


@pytest.mark.parametrize("harm", ["no key", "no certificate", "half a key", "half a certificate", "another's key"])
def test_a_pair_that_a_kill_left_half_is_made_again(folder: Path, harm: str) -> None:
    key, certificate = folder / "admin.key", folder / "admin.crt"
    if harm.startswith("no "):
        (key if harm == "no key" else certificate).unlink()
    elif harm.startswith("half"):
        hurt = key if harm == "half a key" else certificate
        hurt.write_bytes(hurt.read_bytes()[:80])
    else:
        key.write_bytes((folder / "auditor.key").read_bytes())
    assert pki.ensure(folder, SERVICE_IP, NOW) == ["admin"]
    assert verify(folder, pki.CLUSTER_CA, certificate).returncode == 0


def test_a_lost_authority_takes_its_leaves_with_it(folder: Path) -> None:
    (folder / f"{pki.ETCD_CA}.key").unlink()
    assert pki.ensure(folder, SERVICE_IP, NOW) == [pki.ETCD_CA, "etcd", "etcd-peer", "apiserver-etcd"]
    assert verify(folder, pki.ETCD_CA, folder / "etcd.crt").returncode == 0


def test_the_key_of_service_accounts_is_kept_when_only_its_public_half_is_lost(folder: Path) -> None:
    public = (folder / "service-accounts.pub").read_bytes()
    (folder / "service-accounts.pub").unlink()
    assert pki.ensure(folder, SERVICE_IP, NOW) == []
    assert (folder / "service-accounts.pub").read_bytes() == public


def test_a_certificate_for_a_person_is_short_lived_and_carries_all_groups(made: Path) -> None:
    leaf = pki.Leaf("tenant", pki.CLUSTER_CA, "aisha", ("oidc:moitt-admins", "oidc:moitt-auditors"))
    certificate, _ = pki.issue(made, leaf, pki.SHORT_LIFE)
    parsed = x509.load_pem_x509_certificate(certificate)
    assert parsed.not_valid_after_utc - datetime.now(UTC) <= timedelta(hours=8)
    groups = parsed.subject.get_attributes_for_oid(x509.oid.NameOID.ORGANIZATION_NAME)
    assert [group.value for group in groups] == ["oidc:moitt-admins", "oidc:moitt-auditors"]
