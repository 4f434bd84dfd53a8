"""A kubeconfig is made anew where it is another cluster's, near its end, or of another identity than is asked for."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.unit.cluster_modules import PLAYBOOKS, cluster_credentials

USER, GROUP = "gcloud-pk:admin", "kubeadm:cluster-admins"
KEY = ec.generate_private_key(ec.SECP256R1())
AUTHORITY = "-----BEGIN CERTIFICATE-----\nauthority\n-----END CERTIFICATE-----\n"


def kubeconfig(folder: Path, user: str, groups: list[str], hours: int = 2160, authority: str = AUTHORITY) -> Path:
    now = dt.datetime.now(dt.UTC)
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    made = (
        x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=hours))
        .sign(KEY, hashes.SHA256())
    )
    mine = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
    whose = base64.b64encode(authority.encode()).decode()
    file = folder / "admin.conf"
    file.write_text(f"    certificate-authority-data: {whose}\n    client-certificate-data: {mine}\n", encoding="utf-8")
    return file


def is_fresh(file: Path) -> bool:
    return bool(cluster_credentials.fresh(file, AUTHORITY, 2160, USER, GROUP))


def test_one_that_is_of_the_identity_stays(tmp_path: Path) -> None:
    assert is_fresh(kubeconfig(tmp_path, USER, [GROUP]))


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        (USER, ["system:masters"]),
        (USER, [GROUP, "system:masters"]),
        (USER, []),
        ("gcloud-pk:administrator", [GROUP]),
        (GROUP, [USER]),
        (f"{USER}\n    O={GROUP}", []),
    ],
)
def test_one_that_is_of_another_user_or_group_is_made_anew(user: str, groups: list[str], tmp_path: Path) -> None:
    assert not is_fresh(kubeconfig(tmp_path, user, groups))


def test_one_past_two_thirds_of_its_life_or_of_another_authority_is_made_anew(tmp_path: Path) -> None:
    assert not is_fresh(kubeconfig(tmp_path, USER, [GROUP], hours=700))
    assert not is_fresh(kubeconfig(tmp_path, USER, [GROUP], authority="another"))
    assert not is_fresh(tmp_path / "none.conf")


def test_no_identity_has_rights_that_nobody_can_take_away() -> None:
    file = PLAYBOOKS / "roles/cluster_credentials/defaults/main.yml"
    identities = yaml.safe_load(file.read_text(encoding="utf-8"))["cluster_credentials_identities"]
    groups = {one["name"]: one["group"] for one in identities}
    assert groups["admin"] == "kubeadm:cluster-admins"
    assert "system:masters" not in groups.values()
