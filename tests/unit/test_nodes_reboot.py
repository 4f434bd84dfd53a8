"""What a reboot would change, from facts; the facts are what `reboot_facts.py` prints on a node."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from gcloud_pk import paths
from gcloud_pk.nodes import reboot

PLAIN: dict[str, Any] = {
    "version": 1,
    "virtualization": "kvm",
    "container": "none",
    "parameters": {},
    "modules": {"blocked": [], "wanted": {}, "loaded": [], "present": []},
    "units": [],
    "mounts": {"wanted": [], "live": {}},
    "boot": {"running": "6.1.0-30-amd64", "installed": ["6.1.0-30-amd64"], "cmdline": None, "grub": None,
             "defaults": None},
    "processes": [],
    "required": None,
    "packages": None,
}  # fmt: skip


def told(**facts: Any) -> list[tuple[str, str, str, str]]:
    found = reboot.differences(reboot.read(json.dumps({**PLAIN, **facts}).encode()))
    return [(one.kind, one.subject, one.now, one.after) for one in found if one.seen]


def unit(**fields: str) -> dict[str, str]:
    return {
        "Id": "cron.service", "UnitFileState": "enabled", "ActiveState": "active", "Type": "simple",
        "WantedBy": "multi-user.target", "Conditions": "yes", **fields,
    }  # fmt: skip


def parameter(wanted: str, live: str | None, *, writable: bool = True) -> dict[str, Any]:
    return {"wanted": wanted, "file": "/etc/sysctl.d/9.conf", "live": live, "writable": writable}


def boot(**fields: Any) -> dict[str, Any]:
    return {**PLAIN["boot"], **fields}


GRUB = "root=/dev/sda1 ro audit=1 quiet"

CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str, str, str]]]] = {
    "nothing": ({}, []),
    "newer kernel": (
        {"boot": boot(installed=["6.1.0-9-amd64", "6.1.0-31-amd64", "6.1.0-30-amd64"])},
        [("kernel", "kernel", "6.1.0-30-amd64", "6.1.0-31-amd64")],
    ),
    "boot parameters": (
        {
            "boot": boot(cmdline="BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet debug\n", grub=GRUB, defaults="audit=1 x=2")
        },
        [
            ("boot", "audit=1", "not given", "given"),
            ("boot", "debug", "given", "not given"),
            ("boot", "x=2", "not given", "not given"),
        ],
    ),
    "no boot loader": ({"boot": boot(cmdline="quiet")}, []),
    "parameters": (
        {"parameters": {
            "a.same": parameter("1 2", "1\t2\n"), "b.other": parameter("1", "0\n"), "c.absent": parameter("1", None)}},
        [("parameter", "b.other", "0", "1"), ("parameter", "c.absent", "not there", "1")],
    ),
    "modules": (
        {"modules": {"blocked": ["usb-storage", "dccp"], "wanted": {"br_netfilter": "/etc/m", "overlay": "/etc/m"},
                     "loaded": ["usb_storage"], "present": ["overlay"]}},
        [("module", "usb_storage", "loaded", "not loaded"), ("module", "br_netfilter", "not loaded", "loaded")],
    ),
    "a unit runs that is enabled": ({"units": [unit()]}, []),
    "a unit is masked and runs": (
        {"units": [unit(UnitFileState="masked")]}, [("unit", "cron.service", "active", "not started")]),
    "a unit was started by hand": (
        {"units": [unit(UnitFileState="disabled", WantedBy="")]}, [("unit", "cron.service", "active", "not started")]),
    "a unit was started by a socket": (
        {"units": [unit(UnitFileState="disabled", WantedBy="", TriggeredBy="cron.socket")]}, []),
    "a unit is enabled and stopped": (
        {"units": [unit(ActiveState="inactive")]}, [("unit", "cron.service", "inactive", "started")]),
    "a unit is enabled and has failed": (
        {"units": [unit(ActiveState="failed", Type="oneshot")]}, [("unit", "cron.service", "failed", "started")]),
    "a unit has done its work": ({"units": [unit(ActiveState="inactive", Type="oneshot")]}, []),
    "a unit's condition does not hold": ({"units": [unit(ActiveState="inactive", Conditions="no")]}, []),
    "a unit has failed, and its condition holds no more": (
        {"units": [unit(ActiveState="failed", Conditions="no", ConditionResult="yes")]}, []),
    "a unit's condition cannot be asked for": (
        {"units": [unit(ActiveState="inactive", Conditions="")]},
        [("unit", "cron.service", "inactive", "started")],
    ),
    "a unit without a name": ({"units": [{}]}, []),
    "mounts": (
        {"mounts": {"wanted": [
            {"target": "/tmp", "options": "rw,nodev,nosuid,noexec", "from": "/etc/fstab"},
            {"target": "/srv", "options": "defaults", "from": "/etc/fstab"},
            {"target": "/mnt", "options": "noauto", "from": "/etc/fstab"},
            {"target": "/home", "options": "nodev", "from": "/etc/fstab"}],
            "live": {"/tmp": "rw,nosuid,nodev,relatime,rw", "/home": "rw,nodev,rw"}}},
        [
            ("mount", "/tmp", "nodev,nosuid", "nodev,noexec,nosuid"),
            ("mount", "/srv", "not mounted", "mounted (defaults)"),
        ],
    ),
    "mounts by other names": (
        {"mounts": {"wanted": [
            {"target": "/proc", "options": "hidepid=2,nosuid", "from": "/etc/fstab"},
            {"target": "/srv/proc", "options": "hidepid=0", "from": "/etc/fstab"},
            {"target": "/mnt/proc", "options": "hidepid=2", "from": "/etc/fstab"}],
            "live": {"/proc": "rw,nosuid,rw,hidepid=invisible", "/srv/proc": "rw",
                     "/mnt/proc": "rw,hidepid=noaccess"}}},
        [("mount", "/mnt/proc", "hidepid=noaccess", "hidepid=invisible")],
    ),
    "processes": (
        {"processes": [{"pid": 7, "name": "sshd", "unit": "ssh.service", "files": ["/usr/lib/libc.so.6"]},
                       {"pid": 9, "name": "sshd", "unit": "ssh.service", "files": ["/usr/lib/libz.so"]}]},
        [("process", "ssh.service", "runs what was replaced (process 7, 9)", "runs what is installed")],
    ),
    "the machine's own notice": (
        {"required": "*** System restart required ***\n", "packages": "linux-image-6.1\nlinux-image-6.1\nlibc6\n"},
        [("notice", "/run/reboot-required", "there", "gone")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "expected"), CASES.values(), ids=CASES)
def test_facts_become_differences(facts: dict[str, Any], expected: list[tuple[str, str, str, str]]) -> None:
    assert told(**facts) == expected


def test_what_a_shared_kernel_hides_is_not_checked_and_no_difference() -> None:
    facts = {
        **PLAIN,
        "container": "systemd-nspawn",
        "parameters": {
            "kernel.x": parameter("1", "0", writable=False),
            "net.x": parameter("1", "0"),
        },
        "modules": {"blocked": ["dccp"], "wanted": {}, "loaded": ["dccp"], "present": []},
        "boot": boot(installed=["9.9"]),
    }
    found = reboot.differences(reboot.read(json.dumps(facts).encode()))
    assert [(one.kind, one.seen) for one in found] == [
        ("kernel", False),
        ("boot", False),
        ("parameter", True),
        ("parameter", False),
        ("module", False),
    ]
    assert all("shares its host's kernel" in one.reason for one in found if not one.seen)


HOSTILE = {
    "no-json": b"<html>",
    "nothing": b"",
    "a-list": b"[]",
    "no-fields": b"{}",
    "deep": b"[" * 200_000,
    "no-utf-8": b'{"version": "\xff"}',
    "another-version": json.dumps({**PLAIN, "version": 2}).encode(),
    "number-for-text": json.dumps({**PLAIN, "container": 1}).encode(),
    "long-text": json.dumps({**PLAIN, "container": "x" * 30_000}).encode(),
    "too-many": json.dumps({**PLAIN, "units": [{}] * 6_000}).encode(),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_such_document_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        reboot.read(answer)


def test_what_the_program_prints_here_is_such_a_document() -> None:
    done = subprocess.run([sys.executable, "-I", paths.package("nodes", "reboot_facts.py")], capture_output=True)
    assert done.returncode == 0, done.stderr
    reboot.differences(reboot.read(done.stdout))
