"""Where machines come from: providers by name, and what a machine says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stacks.engine import site

from gcloud_pk.errors import InvalidInputError, UnavailableError
from gcloud_pk.stack import machines
from gcloud_pk.stack.works import Facts

SITE = site()
HOST = SITE.spec.hosts[0]
SAID = b"6.1.0-25-amd64\nx86_64\nDebian GNU/Linux 12 (bookworm)\n16\n65841416\n"


def test_the_built_in_providers_are_there_by_their_names() -> None:
    assert {"ssh", "lab"} <= set(machines.names())
    assert isinstance(machines.provider("ssh"), machines.SshMachines)
    assert machines.provider("ssh").api_proxy(SITE) is None


def test_a_provider_that_is_not_installed_is_named_with_those_that_are() -> None:
    with pytest.raises(InvalidInputError, match="no provider of machines is called 'redfish'") as caught:
        machines.provider("redfish")

    assert "ssh" in (caught.value.details[0].expected or "")


def test_what_a_machine_says_becomes_facts() -> None:
    assert machines.read_facts(HOST, SAID) == Facts(
        "Debian GNU/Linux 12 (bookworm)", "6.1.0-25-amd64", "x86_64", 16, 64298
    )


@pytest.mark.parametrize("said", [b"", b"Welcome!\n" + SAID, b"a\nb\nc\nmany\n1\n", b"\xff\n"])
def test_an_answer_of_another_shape_is_no_machine_of_linux(said: bytes) -> None:
    with pytest.raises(UnavailableError, match="c1: it does not answer as a machine of Linux does"):
        machines.read_facts(HOST, said)


def test_a_machine_that_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text("Host *\n  ProxyCommand false\n")
    with pytest.raises(UnavailableError, match=r"^c1: ") as caught:
        machines.SshMachines().reach(SITE, HOST, config)

    assert caught.value.resolution
