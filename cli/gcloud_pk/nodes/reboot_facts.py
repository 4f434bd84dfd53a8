"""Gathers on a node what it runs with and what it would start with. Reads only; one JSON document on standard output.

It runs on the node, as root, from standard input: the standard library of Python 3.9 and nothing of gcloud-pk. Who
compares is `reboot.py`, here it is only read.
"""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
import sys

MOST = 2000


def read(path: str) -> str | None:
    """Return a file's text, None where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123 - /proc by plain names
            return stream.read(1_000_000)
    except OSError:
        return None


def said(*command: str) -> str:
    """Return what a program prints; nothing where there is no such program."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def configured(*folders: str) -> list[str]:
    """Return files *.conf as systemd reads them: by name, the first folder's before the others' of the same name."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in glob.glob(folder + "/*.conf"):  # noqa: PTH207 - no pathlib needed on the node
            found.setdefault(os.path.basename(path), path)  # noqa: PTH119
    return [found[name] for name in sorted(found)]


def parameters() -> dict[str, dict[str, object]]:
    """Return kernel parameters that files set: wanted (the last file wins), where, what is live, writable."""
    found: dict[str, dict[str, object]] = {}
    for path in configured("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"):
        for line in (read(path) or "").splitlines():
            match = re.match(r"\s*-?([^#;=\s][^=]*?)\s*=\s*(.*?)\s*$", line)
            if match is None:
                continue
            # sysctl.d(5): where the first separator is a dot, dots and slashes change places.
            key = match[1]
            first = re.search(r"[./]", key)
            if first and first[0] == ".":
                key = key.translate(str.maketrans("./", "/."))
            for place in glob.glob("/proc/sys/" + key) or ["/proc/sys/" + key]:  # noqa: PTH207
                name = place[len("/proc/sys/") :].translate(str.maketrans("./", "/."))
                found[name] = {
                    "wanted": match[2],
                    "file": path,
                    "live": read(place),
                    "writable": os.access(place, os.W_OK),
                }
    return found


def modules() -> dict[str, object]:
    """Return modules that are blocked, those asked for at start, and those loaded."""
    blocked = re.findall(
        r"^(?:blacklist (\S+)|install (\S+) (?:/usr)?/bin/(?:true|false))", said("modprobe", "-c"), re.MULTILINE
    )
    wanted: dict[str, str] = {}
    for path in configured("/etc/modules-load.d", "/run/modules-load.d", "/usr/lib/modules-load.d"):
        for line in (read(path) or "").splitlines():
            if line.strip() and line.strip()[0] not in "#;":
                wanted[line.strip()] = path
    loaded = [line.split()[0] for line in (read("/proc/modules") or "").splitlines()]
    known = os.listdir("/sys/module") if os.path.isdir("/sys/module") else []  # noqa: PTH112, PTH208
    return {
        "blocked": sorted({one or two for one, two in blocked}),
        "wanted": wanted,
        "loaded": loaded,
        "present": known,
    }


UNIT = "Id,UnitFileState,ActiveState,SubState,Type,TriggeredBy,WantedBy,RequiredBy,BusName,LoadState,Job"


def conditions(name: str) -> str:
    """Return whether a unit's conditions hold by its files of this moment: yes, no, nothing where it is not said."""
    try:
        done = subprocess.run(
            ["systemd-analyze", "condition", "--unit=" + name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    if done.returncode == 0:
        return "yes"
    # Another error is an older systemd, or a unit that cannot be read.
    return "no" if re.search(rb"^(Conditions|Asserts) failed", done.stdout, re.MULTILINE) else ""


def units() -> list[dict[str, str]]:
    """Return what systemd knows of units that somebody enabled, disabled or masked.

    Of enabled ones that do not run, `Conditions` says whether a start would get past them.
    """
    listed = said(
        "systemctl", "list-unit-files", "--no-legend", "--plain", "--no-pager", "--type=service,socket,timer,path"
    )
    names = []
    for line in listed.splitlines():
        parts = line.split()
        if len(parts) > 1 and "@." not in parts[0] and parts[1] in ("enabled", "enabled-runtime", "disabled", "masked"):
            names.append(parts[0])
    text = said("systemctl", "show", "--no-pager", "--property=" + UNIT, "--", *names[:MOST]) if names else ""
    found = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    for unit in found:
        if unit.get("UnitFileState") == "enabled" and unit.get("ActiveState") in ("inactive", "failed"):
            unit["Conditions"] = conditions(unit.get("Id", ""))
    return found


def mounts() -> dict[str, object]:
    """Return mounts as fstab and units of /etc want them, and as they are."""
    wanted = []
    for line in (read("/etc/fstab") or "").splitlines():
        parts = line.split()
        if len(parts) >= 4 and not parts[0].startswith("#") and parts[1].startswith("/"):
            wanted.append({"target": parts[1].replace("\\040", " "), "options": parts[3], "from": "/etc/fstab"})
    for path in sorted(glob.glob("/etc/systemd/system/*.mount")):  # noqa: PTH207
        if os.path.realpath(path) == "/dev/null":
            continue
        fields: dict[str, str] = {}
        for part in [path, *sorted(glob.glob(path + ".d/*.conf"))]:  # noqa: PTH207
            fields.update(re.findall(r"^(Where|Options)\s*=\s*(.*?)\s*$", read(part) or "", re.MULTILINE))
        if "Where" in fields:
            wanted.append({"target": fields["Where"], "options": fields.get("Options", ""), "from": path})
    live: dict[str, str] = {}
    for line in (read("/proc/self/mountinfo") or "").splitlines():
        parts = line.split()
        dash = parts.index("-")
        live[parts[4].replace("\\040", " ")] = parts[5] + "," + parts[dash + 3]
    return {"wanted": wanted, "live": live}


def boot() -> dict[str, object]:
    """Return the kernels that are installed and the parameters that the boot loader gives."""
    grub = read("/boot/grub/grub.cfg")
    lines = re.findall(r"^\s*linux\S*\s+\S+\s*(.*)$", grub or "", re.MULTILINE)
    defaults: dict[str, str] = {}
    for path in ["/etc/default/grub", *sorted(glob.glob("/etc/default/grub.d/*.cfg"))]:  # noqa: PTH207
        for name, value in re.findall(r"^\s*(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)=(.*)$", read(path) or "", re.MULTILINE):
            text = value.strip().strip("\"'")
            for written in ("$" + name, "${" + name + "}"):
                text = text.replace(written, defaults.get(name, ""))
            defaults[name] = text
    installed = [one[len("/boot/vmlinuz-") :] for one in glob.glob("/boot/vmlinuz-*")]  # noqa: PTH207
    return {
        "running": os.uname().release,
        "installed": installed,
        "cmdline": read("/proc/cmdline"),
        "grub": lines[0] if lines else None,
        "defaults": " ".join(defaults.values()) if defaults else None,
    }


def processes() -> list[dict[str, object]]:
    """Return processes that run what is deleted or replaced on disk: program or libraries."""
    found: list[dict[str, object]] = []
    for pid in (one for one in os.listdir("/proc") if one.isdigit()):  # noqa: PTH208
        gone: set[str] = set()
        for line in (read("/proc/" + pid + "/maps") or "").splitlines():
            match = re.match(r"\S+ ..x. \S+ \S+ [1-9]\d*\s+(/(?:usr|lib|opt|bin|sbin)\S*) \(deleted\)$", line)
            if match:
                gone.add(match[1])
        if gone and len(found) < MOST:
            group = (read("/proc/" + pid + "/cgroup") or "").strip().splitlines()
            unit = re.search(r"([^/]+\.(?:service|scope))", " ".join(group))
            name = (read("/proc/" + pid + "/comm") or "").strip()
            found.append({"pid": int(pid), "name": name, "unit": unit[1] if unit else None, "files": sorted(gone)[:50]})
    return found


def main() -> None:
    """Print the document."""
    json.dump(
        {
            "version": 1,
            "virtualization": said("systemd-detect-virt").strip(),
            "container": said("systemd-detect-virt", "--container").strip(),
            "parameters": parameters(),
            "modules": modules(),
            "units": units(),
            "mounts": mounts(),
            "boot": boot(),
            "processes": processes(),
            "required": read("/run/reboot-required"),
            "packages": read("/run/reboot-required.pkgs"),
        },
        sys.stdout,
    )


main()
