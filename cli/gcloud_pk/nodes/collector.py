"""The collector: runs on the node as the auditor, prints one JSON document of effective facts.

It is sent over SSH to `python3 -I -` and imports nothing but the standard library of Python 3.9; nothing of it stays.
It writes nothing, never reads a secret (no password hash, no key), and never what the hardening kept for itself.
What needs root goes through `sudo -n` by the exact commands of `AUDIT_COMMANDS`, which the role sudo allows.
What the facts are called is in policies/controls/nodes/README.md.
"""

# Plain calls of os: a name on a node need not be one that pathlib keeps as it is.
# ruff: noqa: PTH110, PTH112, PTH116, PTH123, PTH207, PTH208

from __future__ import annotations

import glob
import grp
import hashlib
import json
import os
import pwd
import re
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import Any

MARK = "gcloud-pk facts "
"""What stands before the document: a login shell may have said something first."""

_GREP = ("/usr/bin/grep", "-rnHsI", ".")
_FOREIGN = ("/proc", "/sys", "/dev", "/run/user", "/run/containerd", "/run/docker", "/run/crio", "/run/netns")
_CONTAINERS = (
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet/pods",
    "/mnt",
    "/media",
)
_INACCESSIBLE = ("/run/systemd/inaccessible/", "/run/host/inaccessible/")
"""Where systemd keeps what it covers other files with: device files that nobody may open."""
_NETWORK = ("nfs", "nfs4", "cifs", "ceph", "fuse.glusterfs", "autofs")
_ROOT_SYSCTLS = (
    "fs.protected_fifos",
    "fs.protected_hardlinks",
    "fs.protected_regular",
    "fs.protected_symlinks",
    "net.core.bpf_jit_harden",
    "vm.mmap_rnd_bits",
    "vm.mmap_rnd_compat_bits",
)


def _walk() -> tuple[str, ...]:
    """Return the one walk over local file systems: mode/uid/gid/kind/size/path, ended by `//`, which no path holds."""
    words = ["/usr/bin/timeout", "20", "/usr/bin/find", "/", "-mindepth", "1"]
    for path in (*_FOREIGN, *_CONTAINERS):
        words += ["-path", path, "-prune", "-o"]
    for kind in _NETWORK:
        words += ["-fstype", kind, "-prune", "-o"]
    return (*words, "-printf", "%m/%U/%G/%y/%s%p//")


_DOOR_FILES = (
    "/etc/default/ssh",
    "/etc/environment",
    "/etc/default/locale",
    "/etc/security/pam_env.conf",
    "/etc/nsswitch.conf",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/sudo.conf",
)
"""Files that change who comes in or what a session loads, none of them secret. Root reads them, whatever their mode."""

_PLANNED = (
    "/etc/crontab",
    "/etc/cron.d",
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
)
_DIGESTS = ("/usr/bin/timeout", "10", "/usr/bin/find", *_PLANNED, "/usr/bin/sudo", "-type", "f")
"""Files that the auditor himself may not read."""

_KUBELET_KEYS = "/var/lib/kubelet/pki"
_LED = ("/usr/bin/timeout", "10", "/usr/bin/find", "-L", _KUBELET_KEYS)


def _sshd(user: str, address: str) -> tuple[str, ...]:
    return ("/usr/sbin/sshd", "-T", "-C", "user=" + user, "-C", "host=gcloud-pk-audit", "-C", "addr=" + address)


AUDIT_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "sshd": ("/usr/sbin/sshd", "-T"),
    "sshd_root": _sshd("root", "198.51.100.7"),
    "sshd_admin": _sshd("{admin}", "198.51.100.7"),
    "sshd_audit": _sshd("{audit}", "198.51.100.7"),
    "sshd_unknown": _sshd("gcloud-pk-nobody", "198.51.100.7"),
    "sshd_outside": _sshd("{admin}", "192.0.2.1"),
    "sshd_loopback": _sshd("{admin}", "127.0.0.1"),
    "sshd_files": (*_GREP, "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d"),
    "passwords": ("/usr/bin/passwd", "-S", "-a"),
    "keys_admin": ("/usr/bin/ssh-keygen", "-l", "-f", "/home/{admin}/.ssh/authorized_keys"),
    "keys_audit": ("/usr/bin/ssh-keygen", "-l", "-f", "/home/{audit}/.ssh/authorized_keys"),
    "key_lines_admin": (*_GREP, "/home/{admin}/.ssh/authorized_keys"),
    "key_lines_audit": (*_GREP, "/home/{audit}/.ssh/authorized_keys"),
    "sshd_running": ("/usr/bin/ps", "-C", "sshd", "-o", "ppid", "-o", "args"),
    "door_files": (*_GREP, *_DOOR_FILES),
    "sudoers": ("/usr/bin/cvtsudoers", "-e", "-f", "json", "/etc/sudoers"),
    "sysctl": ("/usr/sbin/sysctl", "-e", *_ROOT_SYSCTLS),
    "walk": _walk(),
    # What a link leads to, by its number: its text may hold anything.
    "kubelet_keys": (*_LED, "-maxdepth", "1", "-printf", "%D/%i%p//"),
    "digests": (*_DIGESTS, "-exec", "/usr/bin/md5sum", "{}", "+"),
    "capabilities": ("/usr/sbin/getcap", "-r", "/usr"),
    "nft": ("/usr/sbin/nft", "-s", "-y", "list", "ruleset"),
    "nft_files": (*_GREP, "/etc/nftables.conf", "/etc/nftables.d"),
    "sockets": ("/usr/bin/ss", "-Hlntup"),
    "processes": ("/usr/bin/ps", "-e", "-o", "uid", "-o", "comm"),
    "audit_status": ("/usr/sbin/auditctl", "-s"),
    "audit_rules": ("/usr/sbin/auditctl", "-l"),
    "audit_files": (*_GREP, "/etc/audit/auditd.conf", "/etc/audit/rules.d"),
    "apparmor": ("/usr/sbin/aa-status", "--json"),
    "aide": (*_GREP, "/etc/aide/aide.conf", "/etc/aide/aide.conf.d"),
    "chrony_sources": ("/usr/bin/chronyc", "-n", "-c", "sources"),
    "chrony_files": (*_GREP, "/etc/chrony/chrony.conf", "/etc/chrony/conf.d", "/etc/chrony/sources.d"),
    "rsyslog_files": (*_GREP, "/etc/rsyslog.conf", "/etc/rsyslog.d"),
    "cron_files": (*_GREP, "/etc/cron.allow", "/etc/cron.deny", "/etc/at.allow", "/etc/at.deny"),
    "grub_password": ("/usr/bin/grep", "-hosI", "^password_pbkdf2", "/boot/grub/grub.cfg"),
    "grub_entries": ("/usr/bin/grep", "-hsI", "vmlinuz", "/boot/grub/grub.cfg"),
}
"""What the auditor runs as root: exact, read-only, without wildcards. `{admin}` and `{audit}` are the site's users."""

_CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "LANGUAGE": "C", "HOME": "/nonexistent"}
_MOST = 400
_TIMED_OUT = 124
"""What timeout(1) ends with where the time was up."""
_LONGEST = 4000

Rows = list[dict[str, Any]]


class Refused(Exception):  # noqa: N818 - it is no defect: the auditor may not see this
    """The auditor may not see it; the text says why."""


class Missing(Exception):  # noqa: N818 - it is a fact about the node
    """The program or file is not on this node."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def read(path: str) -> str:
    """Return what a file holds. Raises Missing, Refused."""
    try:
        with open(path, "rb") as file:
            return _text(file.read(1 << 20))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise Missing(path) from None
    except PermissionError:
        raise Refused("the auditor may not read " + path) from None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None


def read_or_empty(path: str) -> str:
    """Return what a file holds; nothing where it is not there. Raises Refused."""
    try:
        return read(path)
    except Missing:
        return ""


def names(folder: str) -> list[str]:
    """Return the sorted names of a folder; none where it is not there. Raises Refused."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise Refused("the auditor may not list " + folder) from None


def merged(folders: Sequence[str], suffix: str) -> list[str]:
    """Return drop-ins in the order in which systemd reads them: by name, a name of an earlier folder hides later."""
    found: dict[str, str] = {}
    for folder in reversed(folders):
        found.update({name: folder + "/" + name for name in names(folder) if name.endswith(suffix)})
    return [found[name] for name in sorted(found)]


class Programs:
    """Runs programs beside each other, each once; what ends late is no answer."""

    def __init__(
        self, root: bool, users: Mapping[str, str], commands: Mapping[str, tuple[str, ...]] = AUDIT_COMMANDS
    ) -> None:
        self._pool = ThreadPoolExecutor(4)
        self._started: dict[tuple[str, ...], Future[tuple[int, str, str]]] = {}
        self._root = root
        self._users = users
        self._commands = commands

    def start(self, argv: Sequence[str], sudo: bool = False) -> None:
        """Start a program before its answer is asked for."""
        key = self._key(argv, sudo)
        if key not in self._started:
            self._started[key] = self._pool.submit(_run, key)

    def start_as_root(self) -> None:
        """Start all that runs as root; what is slow first."""
        for name in sorted(self._commands, key=lambda name: name != "walk"):
            if os.path.exists(self._commands[name][0]):
                self.start(self._commands[name], sudo=True)

    def output(self, *argv: str, codes: Sequence[int] = (0,)) -> str:
        """Return what a program says. Raises Missing, Refused."""
        return self._answer(argv, False, codes)

    def as_root(self, name: str, codes: Sequence[int] = (0,)) -> str:
        """Return what one of the commands says. Raises Missing where it is not there, Refused."""
        return self._answer(self._commands[name], True, codes)

    def has(self, name: str) -> bool:
        """Whether a command is one of those that this run may ask."""
        return name in self._commands

    def code(self, name: str) -> int:
        """Return with what a command ended that was asked before."""
        return self._started[self._key(self._commands[name], True)].result()[0]

    def _key(self, argv: Sequence[str], sudo: bool) -> tuple[str, ...]:
        words = tuple(self._named(word) for word in argv)
        return ("/usr/bin/sudo", "-n", *words) if sudo and not self._root else words

    def _named(self, word: str) -> str:
        for name, user in self._users.items():
            word = word.replace("{" + name + "}", user)
        return word

    def _answer(self, argv: Sequence[str], sudo: bool, codes: Sequence[int]) -> str:
        if not os.path.exists(argv[0]):
            raise Missing(argv[0])
        self.start(argv, sudo)
        code, out, err = self._started[self._key(argv, sudo)].result()
        if code in codes and not (code and _by_sudo(err)):
            return out
        said = (err.strip().splitlines() or [f"it ended with {code}"])[-1]
        raise Refused("{}: {}".format(" ".join(argv[:3]), said[:300]))


def _by_sudo(said: str) -> bool:
    return said.startswith(("sudo:", "Sorry,")) or "is not allowed to" in said


def _run(argv: tuple[str, ...]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=_CLEAN, cwd="/", timeout=40, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, "", f"{argv[0]}: {type(error).__name__}"
    return done.returncode, _text(done.stdout), _text(done.stderr)


def settled(lines: Iterable[str], separator: str | None = None) -> dict[str, str]:
    """Return the assignments of lines, of which the last counts; `#` and `;` begin a comment."""
    found: dict[str, str] = {}
    for line in lines:
        text = line.strip()
        if not text or text[0] in "#;[":
            continue
        if separator:
            key, _, value = text.partition(separator)
        else:
            key, value = (*text.split(None, 1), "")[:2]
        found[key.strip()] = value.split(" #")[0].strip().strip("\"'")
    return found


def grepped(output: str) -> list[tuple[str, int, str]]:
    """Return (file, line, text) of `grep -nH`, files in the order of their names, the main file first."""
    rows = []
    for line in output.splitlines():
        file, number, text = [*line.split(":", 2), "", ""][:3]
        if number.isdigit():
            rows.append((file, int(number), text))
    return sorted(rows, key=lambda row: (row[0].count("/"), row[0], row[1]))


# --- sections: each is a function of one argument and returns the facts of its name ---------------------------------


class Node:
    """What sections share: the request, the programs, and what the walk saw."""

    def __init__(self, request: Mapping[str, Any], commands: Mapping[str, tuple[str, ...]] = AUDIT_COMMANDS) -> None:
        self.request = request
        self.users = {"admin": str(request["admin"]), "audit": str(request["audit"])}
        self.programs = Programs(os.geteuid() == 0, self.users, commands)
        self.refused: dict[str, str] = {}
        self._walked: dict[str, tuple[int, int, int, str, int]] | None = None
        self.complete = True

    def asked(self, section: str) -> list[str]:
        """Return the names of a section that a check asks for."""
        return [str(name) for name in self.request.get("wanted", {}).get(section, ())]

    def tried(self, fact: str, source: Callable[..., Any], *arguments: Any) -> Any:
        """Return a part of a section; None where it is not there, or where it is refused, which is then noted."""
        try:
            return source(*arguments)
        except Missing:
            return None
        except Refused as error:
            self.refused[fact] = str(error)
            return None

    @property
    def walked(self) -> dict[str, tuple[int, int, int, str, int]]:
        """Mode, uid, gid, kind and size of every file of the local file systems by path. Raises Refused."""
        if self._walked is None:
            out = self.programs.as_root("walk", codes=(0, 1, 124))
            self.complete = self.programs.code("walk") != _TIMED_OUT
            found = {}
            for record in out.split("//"):
                parts = record.split("/", 5)
                if len(parts) == 6 and parts[0].isdigit():
                    mode, uid, gid, kind, size, path = parts
                    found["/" + path] = (int(mode, 8), int(uid), int(gid), kind, int(size))
            if "/etc/passwd" not in found:
                raise Refused("the walk over the file systems gave nothing")
            self._walked = found
        return self._walked


def _lines_of(node: Node, command: str) -> list[tuple[str, int, str]]:
    """Return the lines of files that only root reads. grep ends with 1 or 2 where one of them is not there."""
    return grepped(node.programs.as_root(command, codes=(0, 1, 2)))


_KINDS = {"f": "file", "d": "folder", "l": "link"}


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _described(seen: tuple[int, int, int, str, int]) -> dict[str, Any]:
    mode, uid, gid, kind, size = seen
    return {
        "exists": True,
        "mode": f"{mode:04o}",
        "owner": _owner(uid),
        "group": _group(gid),
        "kind": _KINDS.get(kind, "other"),
        "size": size,
    }


def _looked(path: str) -> tuple[int, int, int, str, int]:
    """Return what the auditor himself sees of a path. Raises Missing, Refused."""
    try:
        seen = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Missing(path) from None
    except PermissionError:
        raise Refused("the auditor may not look at " + path) from None
    kind = "d" if stat.S_ISDIR(seen.st_mode) else "l" if stat.S_ISLNK(seen.st_mode) else "f"
    if kind == "f" and not stat.S_ISREG(seen.st_mode):
        kind = "o"
    return stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, kind, seen.st_size


def paths(node: Node) -> dict[str, Any]:
    """Return mode, owner and kind of every path that a check names."""
    found: dict[str, Any] = {}
    for asked in node.asked("paths"):
        if any(c in asked for c in "*?"):
            found[asked] = node.tried(f"paths[{asked}]", _globbed, node, asked)
        else:
            found[asked] = node.tried(f"paths[{asked}]", _one, node, asked)
    return found


def _globbed(node: Node, asked: str) -> Rows:
    form = re.compile("[^/]*".join(re.escape(part) for part in asked.split("*")).replace("\\?", "[^/]"))
    begins = re.split("[*?]", asked, maxsplit=1)[0]  # tens of thousands of paths, tens of patterns
    hits = sorted(path for path in node.walked if path.startswith(begins) and form.fullmatch(path))
    rows = [{"path": path, **_described(node.walked[path])} for path in hits[:_MOST]]
    linked = begins.startswith(_KUBELET_KEYS + "/") and any(row["kind"] == "link" for row in rows)
    if linked and node.programs.has("kubelet_keys"):
        numbers = numbered(node.programs.as_root("kubelet_keys", codes=(0, 1)))
        return [row | {"leads": led(row["path"], rows, numbers)} if row["kind"] == "link" else row for row in rows]
    return rows


def numbered(output: str) -> dict[str, str]:
    """Return device and inode of each path that `find -L … -printf %D/%i%p//` says: of what a link leads to."""
    found = (re.fullmatch(r"\s*([0-9]+/[0-9]+)(/.*)", record, re.DOTALL) for record in output.split("//"))
    return {match[2]: match[1] for match in found if match}


def led(link: str, rows: Rows, numbers: Mapping[str, str]) -> str | None:
    """Return the file beside a link that it leads to; None where it leads elsewhere, or to nothing."""
    files = [str(row["path"]) for row in rows if row["kind"] == "file"]
    return next((file for file in files if numbers.get(link) and numbers.get(file) == numbers[link]), None)


def _one(node: Node, asked: str) -> dict[str, Any]:
    try:
        return _described(_looked(asked))
    except Missing:
        return {"exists": False}
    except Refused:
        seen = node.walked.get(asked)
        return _described(seen) if seen else {"exists": False}


def machine(node: Node) -> dict[str, Any]:
    """Return what kind of machine it is."""
    release = settled(read_or_empty("/etc/os-release").splitlines(), "=")
    try:
        container = node.programs.output("/usr/bin/systemd-detect-virt", "--container", codes=(0, 1)).strip()
        machine_ = node.programs.output("/usr/bin/systemd-detect-virt", "--vm", codes=(0, 1)).strip()
    except (Missing, Refused):
        container, machine_ = "unknown", "unknown"
    return {
        "os": {"id": release.get("ID"), "version_id": release.get("VERSION_ID"), "name": release.get("PRETTY_NAME")},
        "kernel": os.uname().release,
        "hostname": os.uname().nodename,
        "virtualization": container if container != "none" else machine_,
        "shared_kernel": container not in {"none", "unknown"},
        "reboot_required": os.path.exists("/run/reboot-required"),
        "efi": os.path.isdir("/sys/firmware/efi"),
        "secure_boot": _secure_boot(),
        "uid": os.geteuid(),
        "user": _owner(os.geteuid()),
    }


def _secure_boot() -> bool | None:
    for path in glob.glob("/sys/firmware/efi/efivars/SecureBoot-*"):
        try:
            with open(path, "rb") as file:
                return file.read(5)[4:5] == b"\x01"
        except OSError:
            return None
    return None


_LISTED = frozenset(
    [
        "ciphers",
        "macs",
        "kexalgorithms",
        "hostkeyalgorithms",
        "pubkeyacceptedalgorithms",
        "hostbasedacceptedalgorithms",
        "casignaturealgorithms",
        "authenticationmethods",
    ]
)
_REPEATED = frozenset(
    [
        "allowusers",
        "allowgroups",
        "denyusers",
        "denygroups",
        "acceptenv",
        "hostkey",
        "listenaddress",
        "port",
        "subsystem",
        "setenv",
    ]
)


def keywords(output: str) -> dict[str, Any]:
    """Return the keywords of `sshd -T` or `ssh -G`."""
    found: dict[str, Any] = {}
    for line in output.splitlines():
        key, _, value = line.strip().partition(" ")
        key = key.lower()
        if key in _LISTED:
            found[key] = [one for one in re.split("[ ,]", value) if one]
        elif key in _REPEATED:
            found.setdefault(key, []).extend([value] if key in {"subsystem", "setenv"} else value.split())
        elif key:
            found[key] = value
    return found


def match_blocks(rows: Iterable[tuple[str, int, str]]) -> tuple[Rows, list[str]]:
    """Return the Match blocks of sshd's files, and what Include lines name. A block ends with its file."""
    blocks: Rows = []
    includes: list[str] = []
    current: dict[str, Any] | None = None
    where = None
    for file, line, raw in rows:
        if file != where:
            current, where = None, file
        words = raw.split("#")[0].strip().replace("=", " ", 1).split(None, 1)
        if not words:
            continue
        key, value = words[0].lower(), (words[1] if len(words) > 1 else "").strip()
        if key == "include":
            includes += value.split()
        if key == "match":
            current = {"criteria": value, "file": file, "line": line, "settings": {}}
            blocks.append(current)
        elif current is not None:
            current["settings"].setdefault(key, value)
    return blocks, includes


def included(rows: Sequence[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    """Return the lines of the files that sshd reads: the main one, and what Include lines of those read name."""
    main = "/etc/ssh/sshd_config"
    known, waiting = {main}, [main]
    while waiting:
        file = waiting.pop()
        words = [text.replace("=", " ", 1).split() for where, _, text in rows if where == file]
        patterns = [one for line in words if line[:1] and line[0].lower() == "include" for one in line[1:]]
        for pattern in patterns:
            form = pattern.strip('"') if pattern.strip('"').startswith("/") else "/etc/ssh/" + pattern.strip('"')
            found = {where for where, _, _ in rows if fnmatchcase(where, form)} - known
            known |= found
            waiting += sorted(found)
    return [row for row in rows if row[0] in known]


def _keywords(node: Node, command: str) -> dict[str, Any]:
    return keywords(node.programs.as_root(command))


def sshd(node: Node) -> dict[str, Any]:
    """Return what sshd would do: for all, for some users and places, and where its files make exceptions."""
    found: dict[str, Any] = {"effective": node.tried("sshd.effective", _keywords, node, "sshd")}
    contexts = ("root", "admin", "audit", "unknown", "outside", "loopback")
    found["contexts"] = {name: node.tried("sshd.contexts", _keywords, node, "sshd_" + name) for name in contexts}
    files = node.tried("sshd.matches", _lines_of, node, "sshd_files")
    if files is None:
        node.refused.setdefault("sshd.includes", node.refused.get("sshd.matches", "sshd is not there"))
    else:
        found["matches"], found["includes"] = match_blocks(included(files))
    found["host_keys"] = node.tried("sshd.host_keys", _host_keys, node)
    for who in ("admin", "audit"):
        found["keys_" + who] = node.tried("sshd.keys_" + who, _fingerprints, node, "keys_" + who)
        found["options_" + who] = node.tried("sshd.options_" + who, _key_options, node, "key_lines_" + who)
    found["running"] = node.tried("sshd.running", _running, node)
    defaults = node.tried("sshd.defaults", door_lines, node, "/etc/default/ssh")
    found["defaults"] = None if defaults is None else [text for _, text in defaults]
    found["moduli_least"] = node.tried("sshd.moduli_least", _moduli_least)
    return found


def _fingerprints(node: Node, command: str) -> list[str]:
    """Return the fingerprints of the public keys with which somebody may log in."""
    return sorted({line.split()[1] for line in node.programs.as_root(command).splitlines() if len(line.split()) > 1})


_KEY_KIND = re.compile(r"(sk-)?(ssh|ecdsa)-\S+")


def key_options(line: str) -> str:
    """Return what stands before the kind of key in a line of authorized_keys; spaces may stand between quotes."""
    rest, found = line.strip(), []
    while rest and not _KEY_KIND.match(rest):
        match = re.match(r'(?:"(?:\\.|[^"\\])*"|[^\s"])+', rest)
        found.append(match[0] if match else rest)
        rest = rest[match.end() :].lstrip() if match else ""
    return " ".join(found)


def _key_options(node: Node, command: str) -> list[str]:
    """Return the options of each key with which somebody may log in; an empty text where it has none."""
    lines = [text.strip() for _, _, text in _lines_of(node, command)]
    return [key_options(line)[:_LONGEST] for line in lines if line and not line.startswith("#")][:_MOST]


def _running(node: Node) -> list[str]:
    """Return with what words the sshd runs that waits for connections: a child of the first process."""
    lines = [line.split(None, 1) for line in node.programs.as_root("sshd_running", codes=(0, 1)).splitlines()]
    mine = (words[1].strip() for words in lines if len(words) == 2 and words[0] == "1")
    return [words for words in mine if not words.endswith("<defunct>")]  # of a connection that has just ended


def door_lines(node: Node, path: str) -> list[tuple[str, str]]:
    """Return (file, line) of a file of _DOOR_FILES, or of those in a folder of them, without comments."""
    rows = ((file, text.strip()) for file, _, text in _lines_of(node, "door_files"))
    mine = (row for row in rows if row[0] == path or row[0].startswith(path + "/"))
    return [(file, text[:_LONGEST]) for file, text in mine if text and not text.startswith("#")]


def _moduli_least() -> int | None:
    """Return the bits of the smallest group of moduli(5), whose fifth column is one less."""
    rows = [line.split() for line in read("/etc/ssh/moduli").splitlines() if line[:1].isdigit()]
    return min((int(row[4]) + 1 for row in rows if len(row) > 4 and row[4].isdigit()), default=None)


def _host_keys(node: Node) -> Rows:
    found = []
    for path in sorted(glob.glob("/etc/ssh/ssh_host_*_key.pub")):
        bits, _, rest = node.programs.output("/usr/bin/ssh-keygen", "-l", "-f", path).partition(" ")
        kind = rest.strip().rpartition("(")[2].rstrip(")").lower()
        found.append({"path": path, "type": kind, "bits": int(bits) if bits.isdigit() else 0})
    return found


def ssh(node: Node) -> dict[str, Any]:
    """Return what the client would do."""
    return {"effective": keywords(node.programs.output("/usr/bin/ssh", "-G", "host.invalid"))}


_SYSCTL_FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")


def sysctl_key(written: str) -> str:
    """Return a key with dots, however its separators were written (sysctl.d(5))."""
    first = next((c for c in written if c in "./"), ".")
    return written if first == "." else written.translate(str.maketrans("./", "/."))


def sysctl_settings(texts: Iterable[tuple[str, str]]) -> dict[str, tuple[str | None, str]]:
    """Return key → (value, file) of (file, text) in order: what stands last counts. A value None: keep globs off."""
    found: dict[str, tuple[str | None, str]] = {}
    for file, text in texts:
        for line in text.splitlines():
            stripped = line.strip()
            if not stripped or stripped[0] in "#;":
                continue
            key, equals, value = stripped.partition("=")
            key = sysctl_key(key.strip().lstrip("-").strip())
            found.pop(key, None)
            found[key] = (" ".join(value.split()) if equals else None, file)
    return found


def sysctl_at_boot(settings: Mapping[str, tuple[str | None, str]], key: str) -> tuple[str, str] | None:
    """Return value and file that systemd-sysctl would set a key from: itself, else the last glob that it matches."""
    if key in settings:
        value, file = settings[key]
        return None if value is None else (value, file)
    for pattern, (value, file) in reversed(list(settings.items())):
        if value is not None and any(c in pattern for c in "*?[") and _dotted_match(key, pattern):
            return value, file
    return None


def _dotted_match(key: str, pattern: str) -> bool:
    mine, theirs = key.split("."), pattern.split(".")
    return len(mine) == len(theirs) and all(map(fnmatchcase, mine, theirs))


def laid_over(mountinfo: str) -> list[str]:
    """Return the places below /proc/sys where something else than the kernel's own is mounted (proc(5), mountinfo).

    What is read there is whatever somebody wrote, and says nothing of the kernel.
    """
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        where = _unescaped(left.split()[4])
        if where.startswith("/proc/sys/") and right.split()[0] != "proc":
            found.append(where)
    return found


def sysctl(node: Node) -> dict[str, Any]:
    """Return kernel parameters that a check names: now, and after the next boot."""
    files = merged(_SYSCTL_FOLDERS, ".conf")
    settings = sysctl_settings((path, read_or_empty(path)) for path in files)
    as_root: dict[str, str] | None = None
    found: dict[str, dict[str, Any]] = {"live": {}, "boot": {}, "boot_file": {}}
    covered = laid_over(read("/proc/self/mountinfo"))

    def live(key: str) -> str | None:
        nonlocal as_root
        path = "/proc/sys/" + key.replace(".", "/")
        if any(path == over or path.startswith(over + "/") for over in covered):
            raise Refused("not verifiable here: another file is laid over " + path)
        try:
            return " ".join(read(path).split())
        except Refused:
            if as_root is None:
                lines = node.programs.as_root("sysctl", codes=(0, 1, 255)).splitlines()
                as_root = {k: " ".join(v.split()) for k, v in settled(lines, "=").items()}
            if key not in as_root:
                raise
            return as_root[key]

    for asked in node.asked("sysctl"):
        several = "*" in asked
        keys = _sysctl_keys(asked) if several else [asked]
        now = {key: node.tried(f"sysctl.live[{asked}]", live, key) for key in keys}
        boot = {key: sysctl_at_boot(settings, key) for key in keys}
        values = {key: value[0] if value else None for key, value in boot.items()}
        origins = {key: value[1] if value else None for key, value in boot.items()}
        for part, content in (("live", now), ("boot", values), ("boot_file", origins)):
            found[part][asked] = content if several else content[asked]
    return found


def _sysctl_keys(asked: str) -> list[str]:
    hits = glob.glob("/proc/sys/" + asked.replace(".", "/"))
    return sorted(hit[len("/proc/sys/") :].replace("/", ".") for hit in hits)[:_MOST]


_UNIT = [
    "Id",
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "FragmentPath",
    "DropInPaths",
    "Result",
    "ConditionResult",
    "ExecStart",
    "Environment",
    "UMask",
]


def units(node: Node) -> dict[str, Any]:
    """Return the state of every unit that a check names."""
    asked = node.asked("units")
    if not asked:
        return {}
    argv = ["/usr/bin/systemctl", "show", "--no-pager", *("--property=" + name for name in _UNIT), "--", *asked]
    blocks = node.programs.output(*argv).strip("\n").split("\n\n")
    found = {}
    for name, block in zip(asked, blocks):  # noqa: B905 - zip(strict=) is not in Python 3.9
        said = {k: v for k, _, v in (line.partition("=") for line in block.splitlines())}
        load = said.get("LoadState") or "unknown"
        found[name] = {
            "load": load,
            "enabled": said.get("UnitFileState") or ("not-found" if load == "not-found" else load),
            "active": said.get("ActiveState"),
            "sub": said.get("SubState"),
            "fragment": said.get("FragmentPath") or None,
            "dropins": (said.get("DropInPaths") or "").split(),
            "result": said.get("Result"),
            "conditions": said.get("ConditionResult"),
            "exec": said.get("ExecStart") or None,
            "environment": (said.get("Environment") or "").split(),
            "umask": said.get("UMask"),
        }
    return found


_UNIT_FILES = ("/usr/bin/systemctl", "list-unit-files", "--no-legend", "--plain", "--no-pager")


def _unit_files(node: Node) -> list[list[str]]:
    """Return name and state of every unit file. systemd takes its time for this: it is asked once, and early."""
    rows = (line.split() for line in node.programs.output(*_UNIT_FILES).splitlines())
    return [row for row in rows if len(row) > 1]


def units_enabled(node: Node) -> list[str]:
    """Return all unit files that are enabled."""
    return sorted(row[0] for row in _unit_files(node) if row[1] == "enabled")


def default_target(node: Node) -> str:
    """Return the target that is booted into."""
    return node.programs.output("/usr/bin/systemctl", "get-default").strip()


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mounts(node: Node) -> dict[str, Any]:  # noqa: ARG001 - all sections have one form
    """Return what is mounted, the topmost at each place."""
    found = {}
    for line in read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        mine, theirs = left.split(), right.split()
        options = dict.fromkeys([*mine[5].split(","), *(theirs[2].split(",") if len(theirs) > 2 else ())])
        found[_unescaped(mine[4])] = {
            "source": _unescaped(theirs[1]),
            "fstype": theirs[0],
            "options": list(options),
            "bind": mine[3] != "/",
        }
    kept = {path: row for path, row in found.items() if not path.startswith(("/run/netns", "/var/lib/kubelet/pods"))}
    return dict(sorted(kept.items())[:_MOST])


def mounts_boot(node: Node) -> dict[str, Any]:
    """Return what the next boot mounts: fstab, and mount units that are enabled."""
    found: dict[str, Any] = {}
    counting = {"enabled", "static", "generated", "alias"}
    chosen = [row[0] for row in _unit_files(node) if row[0].endswith(".mount") and row[1] in counting]
    if chosen:
        wanted = "--property=Where,What,Type,Options,FragmentPath"
        for block in node.programs.output("/usr/bin/systemctl", "show", wanted, "--", *chosen).split("\n\n"):
            said = {k: v for k, _, v in (line.partition("=") for line in block.strip().splitlines())}
            if said.get("Where"):
                found[said["Where"]] = {
                    "source": said.get("What"),
                    "fstype": said.get("Type"),
                    "options": (said.get("Options") or "").split(","),
                    "from": said.get("FragmentPath"),
                }
    for line in read_or_empty("/etc/fstab").splitlines():
        words = line.split("#")[0].split()
        if len(words) >= 4:
            source, path, fstype, options = words[:4]
            row = {"source": source, "fstype": fstype, "options": options.split(","), "from": "/etc/fstab"}
            found[_unescaped(path)] = row
    return dict(sorted(found.items())[:_MOST])


def swaps(node: Node) -> list[str]:  # noqa: ARG001
    """Return the swap areas that are active."""
    return [line.split()[0] for line in read("/proc/swaps").splitlines()[1:] if line.split()]


def files(node: Node) -> dict[str, Any]:
    """Return the files that a right of everybody's hangs on, outside of containers' file systems."""
    uids, gids = {user.pw_uid for user in pwd.getpwall()}, {group.gr_gid for group in grp.getgrall()}
    found: dict[str, list[Any]] = {
        name: [] for name in ("suid", "sgid", "world_writable", "no_sticky", "unowned", "devices", "trusting", "keys")
    }
    for path, seen in sorted(node.walked.items()):
        mode, uid, gid, kind, _ = seen
        tail = path.rpartition("/")[2]
        if kind == "f":
            for name, bit in (("suid", 0o4000), ("sgid", 0o2000), ("world_writable", 0o2)):
                if mode & bit:
                    found[name].append(path)
        if kind == "d" and mode & 0o2 and not mode & 0o1000:
            found["no_sticky"].append(path)
        if kind in "bc" and not path.startswith(_INACCESSIBLE):
            found["devices"].append(path)
        if uid not in uids or gid not in gids:
            found["unowned"].append(path)
        if tail in {".rhosts", ".shosts", "hosts.equiv", "shosts.equiv", ".netrc", ".forward"}:
            found["trusting"].append(path)
        if tail in {"authorized_keys", "authorized_keys2"}:
            found["keys"].append({"path": path, **_described(seen)})
    capable = node.tried("files.capable", node.programs.as_root, "capabilities")
    result: dict[str, Any] = {name: rows[:_MOST] for name, rows in found.items()}
    result["capable"] = None if capable is None else [line.split(" ")[0] for line in capable.splitlines()][:_MOST]
    result["complete"] = node.complete
    return result


_STATES = {"P": "set", "L": "locked", "NP": "empty"}


def _ageing(node: Node) -> dict[str, dict[str, Any]]:
    found = {}
    for line in node.programs.as_root("passwords").splitlines():
        words = line.split()
        if len(words) >= 7:
            numbers = [int(word) if re.fullmatch("-?[0-9]+", word) else None for word in words[3:7]]
            found[words[0]] = {
                "password": _STATES.get(words[1], words[1]),
                "changed": words[2],
                **dict(zip(("min", "max", "warn", "inactive"), numbers)),  # noqa: B905 - Python 3.9
            }
    return found


def _open_dotfiles(node: Node) -> dict[str, list[str]]:
    """Return the start files that others than their owner may write, by the folder in which they lie."""
    found: dict[str, list[str]] = {}
    for path, (mode, _, _, kind, _) in sorted(node.walked.items()):
        folder, _, tail = path.rpartition("/")
        if tail.startswith(".") and kind in "fd" and mode & 0o022:
            found.setdefault(folder, []).append(path)
    return found


def users(node: Node) -> Rows:
    """Return the accounts, without any hash."""
    ageing = node.tried("users", _ageing, node) or {}
    defs = settled(read_or_empty("/etc/login.defs").splitlines())
    first = int(defs["UID_MIN"]) if defs.get("UID_MIN", "").isdigit() else 1000
    member: dict[str, list[str]] = {}
    for group in grp.getgrall():
        for name in group.gr_mem:
            member.setdefault(name, []).append(group.gr_name)
    open_files = node.tried("users", _open_dotfiles, node) or {}
    rows = []
    for user in pwd.getpwall()[:2000]:
        closed = user.pw_shell.rpartition("/")[2] in {"nologin", "false", "sync", "halt", "shutdown"}
        try:
            home: dict[str, Any] = _one(node, user.pw_dir) if user.pw_dir else {"exists": False}
        except Refused:
            home = {}
        unknown = dict.fromkeys(("password", "changed", "min", "max", "warn", "inactive"))
        rows.append(
            {
                "name": user.pw_name,
                "uid": user.pw_uid,
                "gid": user.pw_gid,
                "home": user.pw_dir,
                "shell": user.pw_shell,
                "login": not closed,
                "system": user.pw_uid < first or user.pw_uid == 65534,
                "groups": sorted({_group(user.pw_gid), *member.get(user.pw_name, ())}),
                "home_exists": home.get("exists"),
                "home_mode": home.get("mode"),
                "home_owner": home.get("owner"),
                "home_own": home.get("owner") == user.pw_name if home.get("exists") else None,
                "home_open": open_files.get(user.pw_dir, []),
                **(ageing.get(user.pw_name) or unknown),
            }
        )
    return rows


def groups(node: Node) -> Rows:  # noqa: ARG001
    """Return the groups."""
    return [{"name": g.gr_name, "gid": g.gr_gid, "members": list(g.gr_mem)} for g in grp.getgrall()[:2000]]


def accounts(node: Node) -> dict[str, list[str]]:  # noqa: ARG001
    """Return what is wrong with the files of accounts themselves."""
    twice: list[str] = []
    legacy: list[str] = []
    unshadowed: list[str] = []
    for path, columns in (("/etc/passwd", {"name": 0, "uid": 2}), ("/etc/group", {"name": 0, "gid": 2})):
        rows = [line.split(":") for line in read(path).splitlines() if line.strip()]
        for what, column in columns.items():
            seen = [row[column] for row in rows if len(row) > column]
            twice += sorted({f"{what} {one} of {path}" for one in seen if seen.count(one) > 1})
        legacy += [path + ": " + row[0] for row in rows if row[0].startswith(("+", "-"))]
        unshadowed += [row[0] for row in rows if path == "/etc/passwd" and len(row) > 1 and row[1] != "x"]
    return {"duplicates": twice, "legacy": legacy, "unshadowed": unshadowed}


_PAM = re.compile(r"-?(auth|account|password|session)\s+(\[[^\]]*\]|\S+)\s+(\S+)\s*(.*)", re.IGNORECASE)
_PAM_LEAPS = re.compile(r"sufficient|\[.*=\s*(done|reset|[0-9]+)\b.*")
"""What makes a rule end a stack well, or pass over the rules after it (pam.conf(5))."""


def pam_rows(service: str, text_of: Callable[[str], str], kind: str | None = None, depth: int = 0) -> Iterator[Any]:
    """Yield the rules of a PAM service in order, includes followed."""
    if depth > 8:
        return
    joined = text_of(service).replace("\\\n", " ")
    for line in joined.splitlines():
        text = line.split("#")[0].strip()
        if text.startswith("@include"):
            yield from pam_rows(text.split()[-1], text_of, kind, depth + 1)
            continue
        match = _PAM.fullmatch(text)
        if not match or (kind and match[1].lower() != kind):
            continue
        control, (folder, _, module) = " ".join(match[2].lower().split()), match[3].rpartition("/")
        if control in {"include", "substack"}:
            yield from pam_rows(match[3], text_of, match[1].lower(), depth + 1)
            continue
        module = module.removesuffix(".so")
        yield {
            "type": match[1].lower(),
            "control": control,
            "module": module,
            "folder": folder,
            "arguments": match[4].split(),
            "text": " ".join([control, module, *match[4].split()]),
        }


def pam_early(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the rules of one stack that can let somebody through before pam_faillock has been asked."""
    found = []
    for row in rows:
        if row["module"] == "pam_faillock":
            break
        if _PAM_LEAPS.fullmatch(row["control"]):
            found.append(row["text"])
    return found


def pam(node: Node) -> dict[str, Any]:  # noqa: ARG001
    """Return the stacks of the services through which sessions come."""
    found: dict[str, Any] = {}
    for service in names("/etc/pam.d"):
        if service.endswith(("~", ".pam-old")) or ".dpkg-" in service:
            continue  # copies that pam-auth-update and dpkg leave: no program asks for them
        rows = list(pam_rows(service, lambda name: read_or_empty("/etc/pam.d/" + name)))
        by_type = {kind: [r for r in rows if r["type"] == kind] for kind in ("auth", "account", "password", "session")}
        early = [text for kind in ("auth", "account") for text in pam_early(by_type[kind])]
        found[service] = {**by_type, "early": early}
    return found


def pam_services(node: Node) -> list[str]:  # noqa: ARG001
    """Return the services of PAM."""
    return names("/etc/pam.d")


def _pwquality() -> dict[str, str]:
    """Return what pam_pwquality goes by: the drop-ins come first, the file itself has the last word."""
    path = "/etc/security/pwquality.conf"
    texts = [read_or_empty(one) for one in [*merged([path + ".d"], ".conf"), path]]
    return settled((line for text in texts for line in text.splitlines()), "=")


def _catalogued(node: Node, name: str) -> dict[str, str]:
    output = node.programs.output("/usr/bin/systemd-analyze", "cat-config", "--no-pager", "systemd/" + name)
    return settled(output.splitlines(), "=")


def _file_of(path: str, separator: str | None) -> dict[str, str]:
    return settled(read(path).splitlines(), separator)


def session_variables(rows: Iterable[tuple[str, str]]) -> Rows:
    """Return the variables that PAM gives to sessions, of (file, line): NAME=value, and pam_env.conf(5)."""
    found: Rows = []
    for file, line in rows:
        if file.endswith("/pam_env.conf"):
            name, rest = (*line.split(None, 1), "")[:2]
            value = " ".join(re.findall(r"(?:DEFAULT|OVERRIDE)=(\S+)", rest))
        else:
            name, _, value = line.partition("=")
            name = name.strip().split()[-1] if name.split() else ""
        found.append({"name": name.strip(), "value": value.strip().strip("\"'"), "file": file})
    return found


def _session_variables(node: Node) -> Rows:
    files_ = ("/etc/environment", "/etc/default/locale", "/etc/security/pam_env.conf")
    return session_variables(row for path in files_ for row in door_lines(node, path))[:_MOST]


def _nsswitch(node: Node) -> Rows:
    """Return the sources of each database of nsswitch.conf(5), without what is done in [ ]."""
    lines = (re.sub(r"#.*|\[[^\]]*\]", " ", text) for _, text in door_lines(node, "/etc/nsswitch.conf"))
    parted = (line.partition(":") for line in lines)
    return [{"name": name.strip(), "sources": said.split()} for name, _, said in parted][:_MOST]


def _loader(node: Node) -> list[str]:
    """Return what ld.so.conf(5) and the files of its folder say."""
    rows = [*door_lines(node, "/etc/ld.so.conf"), *door_lines(node, "/etc/ld.so.conf.d")]
    return [text.split("#")[0].strip() for _, text in rows][:_MOST]


def _sudo_conf(node: Node) -> list[str]:
    return [text for _, text in door_lines(node, "/etc/sudo.conf")][:_MOST]


def config(node: Node) -> dict[str, Any]:
    """Return the settings of key/value files, in which the last assignment counts."""
    found: dict[str, Any] = {}
    for key, path, separator in (
        ("login_defs", "/etc/login.defs", None),
        ("useradd", "/etc/default/useradd", "="),
        ("adduser", "/etc/adduser.conf", "="),
        ("grub", "/etc/default/grub", "="),
        ("libuser", "/etc/libuser.conf", "="),
        ("faillock", "/etc/security/faillock.conf", "="),
        ("pwhistory", "/etc/security/pwhistory.conf", "="),
        ("access", "/etc/security/access.conf", ":"),
        ("environment", "/etc/environment", "="),
    ):
        found[key] = node.tried("config." + key, _file_of, path, separator)
    found["pwquality"] = node.tried("config.pwquality", _pwquality)
    for key, name in (
        ("logind", "logind.conf"),
        ("journald", "journald.conf"),
        ("coredump", "coredump.conf"),
        ("system", "system.conf"),
        ("timesyncd", "timesyncd.conf"),
    ):
        found[key] = node.tried("config." + key, _catalogued, node, name)
    found["session_variables"] = node.tried("config.session_variables", _session_variables, node)
    found["nsswitch"] = node.tried("config.nsswitch", _nsswitch, node)
    found["loader"] = node.tried("config.loader", _loader, node)
    found["sudo_conf"] = node.tried("config.sudo_conf", _sudo_conf, node)
    lines = node.tried("config.auditd", _lines_of, node, "audit_files")
    mine = [text for file, _, text in lines or () if file == "/etc/audit/auditd.conf"]
    found["auditd"] = settled(mine, "=") if mine else None
    return found


def shell(node: Node) -> dict[str, Any]:
    """Return what a login shell of the auditor sets."""
    script = 'umask; echo "t=$TMOUT"; readonly -p | grep -c "TMOUT"; echo "$PATH"'
    lines = node.programs.output("/bin/bash", "--login", "-c", script, codes=(0, 1)).splitlines()
    umask, tmout, fixed, path = (lines[-4:] + [""] * 4)[:4]
    started = ["/etc/profile.d/" + name for name in names("/etc/profile.d")]
    said = node.programs.output("/usr/bin/dpkg-query", "--search", "/etc/profile", *started, codes=(0, 1))
    packaged_ = {line.rpartition(": ")[2] for line in said.splitlines()}
    return {
        "strangers": sorted(set(started) - packaged_)[:_MOST],
        "umask": umask,
        "tmout": tmout[2:] or None,
        "tmout_readonly": fixed not in {"", "0"},
        "path": path.split(":"),
    }


def limits(node: Node) -> dict[str, Any]:  # noqa: ARG001
    """Return the limits of the auditor's session, and what pam_limits is told."""

    def said(limit: int) -> dict[str, str]:
        both = (("soft", limit), ("hard", limit))
        values = resource.getrlimit(limit)
        return {
            name: "unlimited" if values[i] == resource.RLIM_INFINITY else str(values[i])
            for i, (name, _) in enumerate(both)
        }

    rows: Rows = []
    for path in ["/etc/security/limits.conf", *merged(["/etc/security/limits.d"], ".conf")]:
        for line in read_or_empty(path).splitlines():
            words = line.split("#")[0].split()
            if len(words) == 4:
                rows.append(dict(zip(("domain", "type", "item", "value"), words), file=path))  # noqa: B905
    return {
        "core": said(resource.RLIMIT_CORE),
        "nproc": said(resource.RLIMIT_NPROC),
        "nofile": said(resource.RLIMIT_NOFILE),
        "configured": rows[:_MOST],
    }


def _names_of(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    signs = {"usergroup": "%", "netgroup": "+", "userid": "#", "usergid": "%#"}
    return [
        ("!" if entry.get("negated") else "") + signs.get(key, "") + str(value)
        for entry in entries
        for key, value in entry.items()
        if key != "negated"
    ]


def sudo_rules(document: Mapping[str, Any]) -> Rows:
    """Return the rules of `cvtsudoers -f json`, a row for each run of commands with one set of options."""
    rows: Rows = []
    for spec in document.get("User_Specs", ()):
        for entry in spec.get("Cmnd_Specs", ()):
            options = {k: v for option in entry.get("Options", ()) for k, v in option.items()}
            commands = _names_of(entry.get("Commands", ()))
            rows.append(
                {
                    "users": _names_of(spec.get("User_List", ())),
                    "hosts": _names_of(spec.get("Host_List", ())),
                    "runas": _names_of(entry.get("runasusers", ())) or ["root"],
                    "commands": commands,
                    "nopasswd": options.get("authenticate") is False,
                    "setenv": options.get("setenv") is True,
                    "noexec": options.get("noexec") is True,
                    "all": "ALL" in commands,
                }
            )
    return rows


def sudo(node: Node) -> dict[str, Any]:
    """Return who may do what by sudo, drop-ins included."""
    document = json.loads(node.programs.as_root("sudoers"))
    defaults = [
        {"name": name, "value": value, "binding": _names_of(entry.get("Binding", ()))}
        for entry in document.get("Defaults", ())
        for option in entry.get("Options", ())
        for name, value in option.items()
        if name != "operation"
    ]
    return {"rules": sudo_rules(document)[:_MOST], "defaults": defaults[:_MOST]}


_CHAIN = re.compile(r"type (\S+) hook (\S+)(?: device \S+)? priority (-?[0-9]+); (?:policy (\S+);)?")

_CHAIN_NAMED = re.compile(_CHAIN.pattern.replace("(-?[0-9]+)", r"([a-z0-9 +-]+)"))


def ruleset(text: str, named: bool = False) -> dict[str, Rows]:
    """Return tables, chains and rules of `nft -s -y list ruleset`. `named`: priorities may have names, as in files."""
    form = _CHAIN_NAMED if named else _CHAIN
    tables: Rows = []
    chains: Rows = []
    rules: Rows = []
    table: dict[str, Any] = {}
    chain: dict[str, Any] | None = None
    aside = 0
    for raw in text.splitlines():
        line = raw.strip()
        words = line.split()
        if raw.startswith("table "):
            table = {"family": words[1], "name": words[2]}
            tables.append(table)
        elif aside or (chain is None and line.endswith("{") and not line.startswith("chain ")):
            aside += line.count("{") - line.count("}")
        elif line.startswith("chain ") and chain is None:
            base = dict.fromkeys(("type", "hook", "priority", "policy"))
            chain = {"family": table["family"], "table": table["name"], "name": words[1], **base, "rules": 0}
            chains.append(chain)
        elif line == "}":
            chain = None
        elif chain is not None and (match := form.match(line)):
            priority = None if named else int(match[3])
            chain.update(type=match[1], hook=match[2], priority=priority, policy=match[4] or "accept")
        elif chain is not None and line:
            chain["rules"] += 1
            where = {"family": table["family"], "table": table["name"], "chain": chain["name"]}
            row = {"text": line[:_LONGEST], "verdict": _verdict(line), "shape": shape(line[:_LONGEST])}
            rules.append({**where, **row, "sources": _sources(line)})
    return {"tables": tables[:_MOST], "chains": chains[:_MOST], "rules": rules[:2000]}


def _verdict(rule: str) -> str | None:
    match = re.search(r"\b(accept|drop|reject|return|queue|(?:jump|goto) \S+)\b(?: with .*)?(?: comment .*)?$", rule)
    return match[1] if match else None


_SADDR = re.compile(r"\bsaddr (?:\{ ([^}]*) \}|(\S+))")
_ONE = re.compile(r"\{ ?([^,{}]*?) ?\}")
_SET = re.compile(r"\{ ?([^{}]*?) ?\}")
_PROTOCOLS = {
    "meta l4proto 4 ": "meta l4proto ipencap ",
    "meta l4proto 41 ": "meta l4proto ipv6 ",
    "meta l4proto 112 ": "meta l4proto vrrp ",
}


def _sources(rule: str) -> list[str]:
    return [one.strip() for several, single in _SADDR.findall(rule) for one in (several or single).split(",")]


def plain_rule(rule: str) -> str:
    """Return a rule without its comment, in the words in which the kernel gives it back; sets sorted."""
    text = re.sub(r' comment "[^"]*"$', "", " ".join(rule.split()))
    text = _ONE.sub(lambda match: match[1], text)
    text = _SET.sub(lambda match: "{ " + ", ".join(sorted(re.split(", *", match[1]))) + " }", text)
    for written, shown in _PROTOCOLS.items():
        text = text.replace(written, shown)
    return text.replace("meta l4proto ipv6-icmp icmpv6 ", "icmpv6 ")


def shape(rule: str) -> str:
    """Return what a rule matches, and what it does: networks that it lets in as `S`, without its comment."""
    return re.sub(r"\bsaddr (?:\{[^}]*\}|(?!fe80::/10|127\.0\.0\.0/8|::1)\S+)", "saddr S", plain_rule(rule))


def drift(lines: Sequence[str], now: Mapping[str, Rows], table: str = "inet gcloud_pk") -> list[str]:
    """Return where the file that is loaded at boot differs from the table in force. `lines`: of that file, stripped."""
    family, name = table.split()
    found: list[str] = []
    body: list[str] = []
    inside = False
    for line in lines:
        if not line or line.startswith("#"):
            continue
        if line == f"table {table} {{" and not inside:
            inside = True
        elif not inside and (body or line not in {f"table {table}", f"delete table {table}"}):
            found.append("beside the table: " + line[:_LONGEST])
        if inside:
            body.append(line)
            inside = sum(one.count("{") - one.count("}") for one in body) > 0
    later = ruleset("\n".join(line if line.startswith("table ") else "\t" + line for line in body), named=True)

    def seen(part: Mapping[str, Rows]) -> dict[str, set[str]]:
        chains = [c for c in part["chains"] if (c["family"], c["table"]) == (family, name)]
        rules = [r for r in part["rules"] if (r["family"], r["table"]) == (family, name)]
        return {
            "chain": {f"{c['name']} {c['hook']} {c['policy']} rules: {c['rules']}" for c in chains},
            "rule": {f"{r['chain']}: {plain_rule(r['text'])}" for r in rules if r["verdict"] not in {"drop", "reject"}},
        }

    before, after = seen(now), seen(later)
    for what in ("chain", "rule"):
        found += [f"{what} in force only: {one}" for one in sorted(before[what] - after[what])]
        found += [f"{what} at boot only: {one}" for one in sorted(after[what] - before[what])]
    return found


def nft(node: Node) -> dict[str, Any]:
    """Return the packet filter as the kernel has it, and what comes back at boot."""
    found: dict[str, Any] = dict(ruleset(node.programs.as_root("nft")))
    rows = node.tried("nft.boot", _lines_of, node, "nft_files")
    lines = [text.strip() for _, _, text in rows or ()]
    named = [line.split()[1:3] for line in lines if line.startswith("table ")]
    found["boot"] = None if rows is None else {
        "tables": sorted({" ".join(words) for words in named}),
        "flushes_all": any(line.startswith("flush ruleset") for line in lines),
        "drift": drift([text.strip() for file, _, text in rows if file == "/etc/nftables.conf"], found)[:_MOST],
    }  # fmt: skip
    return found


def listening(node: Node) -> Rows:
    """Return the sockets on which something waits."""
    rows = {}
    for line in node.programs.as_root("sockets").splitlines():
        words = line.split()
        if len(words) < 5:
            continue
        address, _, port = words[4].rpartition(":")
        address = address.strip("[]").split("%")[0]
        process = re.search(r'users:\(\("([^"]*)"', line)
        row = {
            "protocol": words[0],
            "address": address,
            "port": int(port) if port.isdigit() else 0,
            "process": process[1] if process else None,
            "loopback": address.startswith(("127.", "::ffff:127.")) or address == "::1",
        }
        rows[tuple(str(value) for value in row.values())] = row
    return [rows[key] for key in sorted(rows)][:_MOST]


def processes(node: Node) -> Rows:
    """Return who runs what, each once."""
    lines = [line.split(None, 1) for line in node.programs.as_root("processes").splitlines()[1:]]
    pairs = sorted({(words[0], words[1].strip()) for words in lines if len(words) == 2})
    return [{"user": _owner(int(uid)), "command": command} for uid, command in pairs if uid.isdigit()][:_MOST]


_REFUSERS = ("/bin/false", "/bin/true", "/usr/bin/false", "/usr/bin/true")


def _loaded() -> list[str]:
    return sorted(line.split()[0] for line in read("/proc/modules").splitlines())


def modules(node: Node) -> dict[str, Any]:
    """Return which kernel modules are loaded, which cannot be, and which a boot loads."""
    loaded = node.tried("modules.loaded", _loaded)
    program = next((p for p in ("/usr/sbin/modprobe", "/sbin/modprobe") if os.path.exists(p)), "/usr/sbin/modprobe")
    shown = node.tried("modules.blocked", node.programs.output, program, "--showconfig")
    installs: dict[str, str] = {}
    for line in (shown or "").splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[0] == "install":
            installs.setdefault(words[1].replace("-", "_"), words[2])  # the first one counts (modprobe)
    blocked = {}
    for name in node.asked("modules"):
        command = installs.get(name.replace("-", "_"), "").strip()
        blocked[name] = command in _REFUSERS if shown is not None else None
    folders = ("/etc/modules-load.d", "/run/modules-load.d", "/usr/local/lib/modules-load.d", "/usr/lib/modules-load.d")
    texts = [read_or_empty(path) for path in merged(folders, ".conf")]
    lines = (line.strip() for text in texts for line in text.splitlines())
    return {"loaded": loaded, "blocked": blocked, "at_boot": sorted({l for l in lines if l and l[0] not in "#;"})}  # noqa: E741


def boot(node: Node) -> dict[str, Any]:
    """Return the kernel's command line and the boot loader's."""
    found: dict[str, Any] = {"cmdline": read("/proc/cmdline").split()}
    there = any(os.path.lexists(path) for path in ("/usr/sbin/update-grub", "/usr/sbin/grub-mkconfig"))
    found["loader"] = "grub" if there else "none"
    if there:
        entries = node.tried("boot.configured", node.programs.as_root, "grub_entries", (0, 1, 2))
        first = next((line.split() for line in (entries or "").splitlines() if line.split()[:1] == ["linux"]), [])
        found["configured"] = first[2:] or None
        said = node.tried("boot.superuser", node.programs.as_root, "grub_password", (0, 1, 2))
        found["superuser"] = None if said is None else bool(said.strip())
    return found


def _installed(node: Node) -> dict[str, str]:
    form = "--showformat=${Package} ${Version} ${db:Status-Abbrev}\n"
    lines = node.programs.output("/usr/bin/dpkg-query", "--show", form).splitlines()
    rows = [line.split() for line in lines]
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "ii"}


def packages(node: Node) -> dict[str, str]:
    """Return versions of what is installed."""
    return _installed(node)


def package_names(node: Node) -> list[str]:
    """Return the names of what is installed."""
    return sorted(_installed(node))


def package_states(node: Node) -> list[str]:
    """Return the packages that are neither installed nor gone: `name state`, states as dpkg-query(1) has them."""
    form = "--showformat=${Package} ${db:Status-Abbrev}\n"
    rows = [line.split() for line in node.programs.output("/usr/bin/dpkg-query", "--show", form).splitlines()]
    return sorted(" ".join(row) for row in rows if len(row) == 2 and row[1] not in {"ii", "hi"})[:_MOST]


_STARTED = (
    *_PLANNED,
    "/etc/anacrontab",
    "/var/spool/cron/crontabs",
    "/var/spool/cron/atjobs",
    "/etc/systemd",
    "/run/systemd/system",
    "/run/systemd/user",
    "/run/systemd/system-generators",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/usr/local/lib/systemd",
    "/usr/local/share/systemd",
    "/usr/lib/systemd",
    "/etc/init.d",
    "/etc/rc.local",
    "/etc/rc[0-6S].d",
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/etc/tmpfiles.d",
    "/run/tmpfiles.d",
    "/usr/lib/tmpfiles.d",
    "/usr/local/lib/tmpfiles.d",
    "/etc/apt/preferences",
    "/etc/apt/preferences.d",
    "/etc/apt/trusted.gpg",
    "/etc/apt/trusted.gpg.d",
    "/etc/dpkg",
    "/etc/kernel",
    "/etc/network/if-[a-z-]+.d",
    "/etc/dhcp/dhclient-[a-z]+-hooks.d",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf.d",
    "/etc/logrotate.d",
    "/etc/environment.d",
    "/etc/xdg/autostart",
    "/root/.config/systemd",
    "/home/[^/]+/.config/systemd",
    "/usr/lib/[^/]+/security",
    "/usr/local/lib/python3[^/]*",
)
"""Patterns of files and folders from which root's programs start by themselves, or which those programs obey."""

_BELIEVED = (
    *sorted({argv[0] for argv in AUDIT_COMMANDS.values()}),
    "/usr/bin/apt-config",
    "/usr/bin/apt-get",
    "/usr/bin/bash",
    "/usr/bin/dash",
    "/usr/bin/dpkg",
    "/usr/bin/dpkg-query",
    "/usr/bin/login",
    "/usr/bin/md5sum",
    "/usr/bin/python3",
    "/usr/bin/ssh",
    "/usr/bin/su",
    "/usr/bin/sudo",
    "/usr/bin/systemctl",
    "/usr/bin/systemd-analyze",
    "/usr/bin/systemd-detect-virt",
    "/usr/lib/openssh/sftp-server",
    "/usr/lib/systemd/systemd",
    "/usr/sbin/agetty",
    "/usr/sbin/auditd",
    "/usr/sbin/chronyd",
    "/usr/sbin/cron",
    "/usr/sbin/modprobe",
    "/usr/sbin/rsyslogd",
    "/usr/sbin/sulogin",
    "/usr/bin/aide",
)
"""Programs whose word the collector takes, and those that let people in or keep records of it."""

_INFO = "/var/lib/dpkg/info"


def _merged_usr(path: str) -> str:
    """Return a path as it is where /bin, /sbin and /lib are links into /usr."""
    return "/usr" + path if path.startswith(("/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/")) else path


def packaged(lists: Iterable[str], sums: Iterable[str], status: str) -> tuple[set[str], dict[str, str]]:
    """Return the paths that packages brought, and the MD5 digests of their files.

    `lists`, `sums`: texts of dpkg's `.list` and `.md5sums`; `status`: its own file, which has those of conffiles.
    """
    owned = {_merged_usr(line) for text in lists for line in text.splitlines()}
    digests = {}
    for text in sums:
        for line in text.splitlines():
            digest, _, path = line.partition("  ")
            digests[_merged_usr("/" + path)] = digest
    for path, digest in re.findall(r"^ (/\S+) ([0-9a-f]{32})\b", status, re.MULTILINE):
        digests[_merged_usr(path)] = digest
    return owned | set(digests), digests


def _md5(path: str) -> str:
    """Return the digest of a file. Raises Missing, Refused."""
    try:
        with open(path, "rb") as file:
            return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    except PermissionError:
        raise Refused("the auditor may not read " + path) from None
    except OSError:
        raise Missing(path) from None


def _from_package(path: str, owned: set[str]) -> bool:
    """Whether a package brought a path, or what it leads to. A link to nothing masks, and starts nothing."""
    return any(one in owned or one == "/dev/null" for one in (path, os.path.realpath(path)))


def _whole(pattern: str) -> list[str]:
    """Return the texts of dpkg's own files, which can be large."""
    found = []
    for path in glob.glob(pattern):
        with open(path, "rb") as file:
            found.append(_text(file.read()))
    return found


def origin(node: Node) -> dict[str, Any]:
    """Return what starts by itself and came with no package, and what differs from what its package brought."""
    lists, status = _whole(_INFO + "/*.list"), "".join(_whole("/var/lib/dpkg/status"))
    owned, digests = packaged(lists, _whole(_INFO + "/*.md5sums"), status)
    started = re.compile("(?:" + "|".join(_STARTED) + ")(?:/.*)?")
    here = [path for path, seen in node.walked.items() if seen[3] != "d" and started.fullmatch(path)]
    said = node.tried("origin.altered", node.programs.as_root, "digests", (0, 1)) or ""
    by_root = {path: digest for digest, _, path in (line.partition("  ") for line in said.splitlines())}

    def differs(path: str) -> bool:
        wanted = digests.get(path)
        try:
            return wanted is None or (by_root.get(path) or _md5(path)) != wanted
        except (Refused, Missing):
            return True

    strangers = sorted(path for path in here if not _from_package(path, owned))
    believed = {os.path.realpath(path) for path in _BELIEVED if os.path.lexists(path)}
    compared = {path for path in here if node.walked[path][3] == "f" and path in digests}
    return {
        "strangers": strangers[:_MOST],
        "runs": [line for path in strangers if "/systemd/" in path for line in started_by(path)][:_MOST],
        "altered": sorted(path for path in believed | compared if differs(path))[:_MOST],
        "diverted": _diverted(read_or_empty("/var/lib/dpkg/diversions")),
    }


def started_by(path: str) -> list[str]:
    """Return `path: assignment` of what a unit or drop-in starts, and what it gives to it."""
    try:
        text = read(path)
    except (Missing, Refused):
        return [path + ": cannot be read"]
    # A backslash at its end goes on with the next line, past comments (systemd.syntax(7)).
    whole = re.sub(r"[ \t]*\\\n(?:[ \t]*[#;].*\n)*[ \t]*", " ", text)
    lines = re.findall(r"^\s*((?:Exec|(?:Manager|Default)?Environment)\w*\s*=.*)$", whole, re.MULTILINE)
    return [f"{path}: {line[:_LONGEST]}" for line in lines if line.partition("=")[2].strip()]


def _diverted(text: str) -> list[str]:
    """Return `path package` of dpkg's diversions, three lines each; where somebody made it by hand it is `:`."""
    lines = text.splitlines()
    return sorted(f"{lines[i]} {lines[i + 2]}" for i in range(0, len(lines) - 2, 3))[:_MOST]


_UPGRADE = ("/usr/bin/apt-get", "-s", "-qq", "-o", "Debug::NoLocking=1", "dist-upgrade")


def updates(node: Node) -> dict[str, Any]:
    """Return what waits to be installed, as far as apt's lists know."""
    every, security = [], []
    for line in node.programs.output(*_UPGRADE).splitlines():
        if line.startswith("Inst "):
            name = line.split()[1]
            every.append(name)
            if "security" in line.lower().partition("(")[2]:
                security.append(name)
    lists = glob.glob("/var/lib/apt/lists/*Release")
    newest = max((os.stat(path).st_mtime for path in lists), default=None)
    return {
        "all": every[:_MOST],
        "security": security[:_MOST],
        "lists_days": None if newest is None else int((time.time() - newest) / 86400),
    }


def apt_sources(texts: Iterable[tuple[str, str]]) -> Rows:
    """Return the sources of (file, text): one-line style by `.list`, deb822 by `.sources` (sources.list(5))."""
    rows: Rows = []
    for file, text in texts:
        if file.endswith(".sources"):
            for block in re.split(r"\n\s*\n", text):
                lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
                said = settled([line for line in lines if not line[0].isspace()], ":")
                said = {key.lower(): value for key, value in said.items()}
                if not said or said.get("enabled", "yes").lower() == "no":
                    continue
                signed = said.get("signed-by") if "signed-by" not in said or said["signed-by"] else "embedded"
                for uri in said.get("uris", "").split():
                    row = {"file": file, "type": said.get("types", ""), "uri": uri, "suite": said.get("suites", "")}
                    trusted = said.get("trusted", "no").lower() == "yes"
                    rows.append({**row, "options": sorted(said), "signed_by": signed, "trusted": trusted})
            continue
        for line in text.splitlines():
            match = re.match(r"(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)", line.strip())
            if match:
                options = dict(word.partition("=")[::2] for word in (match[2] or "").split())
                rows.append(
                    {
                        "file": file,
                        "type": match[1],
                        "uri": match[3],
                        "suite": match[4],
                        "options": sorted(options),
                        "signed_by": options.get("signed-by"),
                        "trusted": options.get("trusted", "no").lower() == "yes",
                    }
                )
    return rows


_STARTS = re.compile(
    r"(?!commandline::)(?:dir::bin::.*|.*(?:invoke|install-pkgs|proxy-?auto-?detect|command)[a-z-]*(?:::.*)?)"
)


def apt_programs(lines: Iterable[str]) -> list[str]:
    """Return `option command` of what apt and dpkg start, options in lower case."""
    found = (re.fullmatch(r'(\S+) "(.+)";', line) for line in lines)
    named = ((match[1].lower(), match[2]) for match in found if match)
    return sorted({f"{name} {command}" for name, command in named if _STARTS.fullmatch(name)})


def apt(node: Node) -> dict[str, Any]:
    """Return apt's options as they are in force, and where packages come from."""
    options: dict[str, Any] = {}
    lines = node.programs.output("/usr/bin/apt-config", "dump").splitlines()
    for line in lines:
        match = re.fullmatch(r'(\S+) "(.*)";', line)
        if not match:
            continue
        key = match[1].lower()
        if key.endswith("::"):
            options.setdefault(key, []).append(match[2])
        else:
            options[key] = match[2]
    kept = {key: value for key, value in options.items() if not key.startswith(("apt::compressor", "apt::never"))}
    listed = [path for suffix in (".list", ".sources") for path in merged(["/etc/apt/sources.list.d"], suffix)]
    texts = [(path, read_or_empty(path)) for path in ["/etc/apt/sources.list", *sorted(listed)]]
    return {"options": kept, "sources": apt_sources(texts)[:_MOST], "programs": apt_programs(lines)[:_MOST]}


def cron(node: Node) -> dict[str, Any]:
    """Return who has tables, who may, and what lies in cron's folders."""
    found: dict[str, Any] = {}
    rows = node.tried("cron.allow", _lines_of, node, "cron_files")
    for program in ("cron", "at"):
        for what in ("allow", "deny"):
            path = f"/etc/{program}.{what}"
            there = node.tried("cron." + what, _one, node, path) or {}
            listed = [text.strip() for file, _, text in rows or () if file == path]
            section = found if program == "cron" else found.setdefault("at", {})
            section[what] = listed if there.get("exists") else None
    tables = [path for path in node.walked if path.startswith(("/var/spool/cron/crontabs/", "/var/spool/cron/atjobs/"))]
    found["tables"] = [{"path": path, "user": _owner(node.walked[path][1])} for path in sorted(tables)][:_MOST]
    in_folders = [path for path in node.walked if re.fullmatch(r"/etc/cron\.[a-z]+/[^/]+", path)]
    found["files"] = [{"path": path, **_described(node.walked[path])} for path in sorted(in_folders)][:_MOST]
    return found


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names as `ls -v` does, numbers by their value."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split("([0-9]+)", text) if part]


def audit_order(rows: Iterable[tuple[str, int, str]]) -> list[str]:
    """Return the rules of rules.d as augenrules merges them: `-D`, `-b`, `-f` first, the last `-e` at the end."""
    lines = [
        " ".join(text.split())
        for file, _, text in sorted(rows, key=lambda row: (natural(row[0]), row[1]))
        if file.endswith(".rules") and text.strip() and not text.strip().startswith("#")
    ]
    heads = [line for flag in ("-D", "-b", "-f") for line in lines if line.split()[0] == flag]
    body = [line for line in lines if line.split()[0] not in {"-D", "-b", "-f", "-e"}]
    ends = [line for line in lines if line.split()[0] == "-e"]
    return [*heads, *body, *ends[-1:]]


def audit(node: Node) -> dict[str, Any]:
    """Return what the kernel's audit system does, and what it is configured to."""
    found: dict[str, Any] = {"status": None, "loaded": None, "configured": None}
    files_ = node.tried("audit.configured", _lines_of, node, "audit_files")
    if files_ is not None:
        found["configured"] = audit_order(row for row in files_ if row[0] != "/etc/audit/auditd.conf")[:2000]
        found["last_rule"] = found["configured"][-1] if found["configured"] else None
    said = node.tried("audit.status", node.programs.as_root, "audit_status")
    if said is not None:
        found["status"] = settled(said.splitlines())
    rules = node.tried("audit.loaded", node.programs.as_root, "audit_rules")
    if rules is not None:
        found["loaded"] = [line for line in rules.splitlines() if line and line != "No rules"][:2000]
    return found


def apparmor(node: Node) -> dict[str, Any]:
    """Return what mandatory access control confines."""
    enabled = read_or_empty("/sys/module/apparmor/parameters/enabled").strip() == "Y"
    found: dict[str, Any] = {"enabled": enabled}
    if enabled:
        said = node.tried("apparmor.profiles", node.programs.as_root, "apparmor", (0, 1, 2, 3))
        document = json.loads(said) if said and said.lstrip().startswith("{") else {}
        modes: dict[str, list[str]] = {"enforce": [], "complain": [], "unconfined": []}
        for name, mode in sorted(document.get("profiles", {}).items()):
            modes.setdefault(mode, []).append(name)
        found["profiles"] = {mode: rows[:_MOST] for mode, rows in modes.items()}
        running = [(name, each) for name, rows in document.get("processes", {}).items() for each in rows]
        found["unconfined"] = sorted({name for name, each in running if each.get("status") == "unconfined"})
    return found


def aide_rules(lines: Iterable[str]) -> dict[str, Any]:
    """Return rules, exclusions, groups and the database of AIDE's configuration, in order."""
    found: dict[str, Any] = {"rules": [], "excluded": [], "groups": {}, "database": None}
    macros: dict[str, str] = {}
    for raw in lines:
        line = re.sub(r"@@\{([^}]*)\}", lambda match: macros.get(match[1], match[0]), raw.strip())
        if line.startswith("@@define "):
            name, _, value = line[len("@@define ") :].strip().partition(" ")
            macros[name] = value.strip()
            continue
        if line.startswith("!"):
            found["excluded"].append(line[1:].strip())
        elif line.startswith(("/", "=")):
            path, _, attributes = line.partition(" ")
            found["rules"].append({"path": path, "attributes": attributes.strip()})
        elif match := re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", line):
            if match[1] in {"database_in", "database"}:
                found["database"] = match[2].partition(":")[2]
            elif not match[1].startswith(("database", "report", "gzip", "verbose", "log_", "config", "num_")):
                found["groups"][match[1]] = match[2]
    return found


_AIDE_OWN = {
    "R": "p+ftype+i+l+n+u+g+s+m+c+md5+X",
    "L": "p+ftype+i+l+n+u+g+X",
    "X": "acl+selinux+xattrs+e2fsattrs+caps",
}
"""What AIDE's own groups stand for (aide.conf(5))."""


def aide_attributes(written: str, groups: Mapping[str, str], depth: int = 0) -> list[str]:
    """Return the single attributes of an expression of AIDE's, sorted, groups resolved."""
    found: set[str] = set()
    for sign, name in re.findall(r"([+-]?)\s*([A-Za-z0-9_>]+)", written if depth < 8 else ""):
        meaning = groups.get(name) or _AIDE_OWN.get(name)
        members = set(aide_attributes(meaning, groups, depth + 1)) if meaning else {name}
        found = found - members if sign == "-" else found | members
    return sorted(found)


_WATCHED = (
    "/boot/x",
    "/etc/cron.d/x",
    "/etc/ld.so.preload",
    "/etc/pam.d/x",
    "/etc/passwd",
    "/etc/ssh/x",
    "/etc/sudoers.d/x",
    "/etc/systemd/system/x",
    "/etc/x",
    "/root/.ssh/authorized_keys",
    "/root/x",
    "/usr/bin/x",
    "/usr/lib/systemd/system/x",
    "/usr/lib/x",
    "/usr/local/bin/x",
    "/usr/sbin/x",
)
"""Samples of what an exclusion must not leave out."""


def aide_blind(excluded: Iterable[str]) -> list[str]:
    """Return the samples that an exclusion leaves out: a pattern from the start of the path on (aide.conf(5))."""
    found: set[str] = set()
    for line in excluded:
        pattern = (line.split() or [""])[0]
        try:
            found |= {path for path in _WATCHED if re.match(pattern, path)}
        except re.error:
            found.add(pattern)
    return sorted(found)


def aide(node: Node) -> dict[str, Any]:
    """Return what the integrity check watches, and whether it has something to compare with."""
    rows = _lines_of(node, "aide")
    found = aide_rules(text for _, _, text in rows)
    path = found["database"] or "/var/lib/aide/aide.db"
    found["database"] = {"path": path, **(node.tried("aide.database", _one, node, path) or {"exists": False})}
    found["installed"] = os.path.exists("/usr/bin/aide")
    found["blind"] = aide_blind(found["excluded"])
    found["rules"], found["excluded"] = found["rules"][:2000], found["excluded"][:_MOST]
    for rule in found["rules"]:
        rule["compared"] = aide_attributes(rule["attributes"], found["groups"])
    return found


def chrony_lines(rows: Iterable[tuple[str, int, str]]) -> list[str]:
    """Return the lines of chrony's files that it reads: drop-ins only of a folder that its main file names."""
    kept = [(file, text.strip()) for file, _, text in rows if text.strip() and text.strip()[0] not in "#!;%"]
    main = [text for file, text in kept if file == "/etc/chrony/chrony.conf"]
    named = {line.split()[1].rstrip("/"): line.split()[0].lower() for line in main if len(line.split()) > 1}
    read_ = []
    for file, text in kept:
        suffix = {"confdir": ".conf", "sourcedir": ".sources"}.get(named.get(file.rpartition("/")[0], ""))
        if suffix and file.endswith(suffix):
            read_.append(text)
    return [*main, *read_]


def time_(node: Node) -> dict[str, Any]:
    """Return whose time the node takes."""
    found: dict[str, Any] = {"sources": None, "configured": None}
    said = node.tried("time.sources", node.programs.as_root, "chrony_sources")
    if said is not None:
        rows = [line.split(",") for line in said.splitlines()]
        found["sources"] = [{"mode": r[0], "state": r[1], "address": r[2]} for r in rows if len(r) > 3][:_MOST]
    files_ = node.tried("time.configured", _lines_of, node, "chrony_files")
    if files_ is not None:
        words = [text.split() for text in chrony_lines(files_)]
        found["configured"] = [{"directive": w[0].lower(), "arguments": w[1:]} for w in words][:_MOST]
    found["zone"] = os.path.realpath("/etc/localtime").rpartition("zoneinfo/")[2]
    return found


def rsyslog(node: Node) -> dict[str, Any]:
    """Return the effective lines of rsyslog's files."""
    rows = _lines_of(node, "rsyslog_files")
    lines = [
        text.strip()
        for file, _, text in rows
        if file.endswith(".conf") and text.strip() and not text.strip().startswith("#")
    ]
    return {"lines": [line[:_LONGEST] for line in lines][:_MOST]}


def logrotate(node: Node) -> dict[str, str]:  # noqa: ARG001
    """Return the global settings of logrotate."""
    return settled(line for line in read("/etc/logrotate.conf").splitlines() if "{" not in line and "}" not in line)


def _start_of(path: str) -> str:
    return read(path)[:_LONGEST]


def banners(node: Node) -> dict[str, Any]:
    """Return what is shown before and after a login."""
    found: dict[str, Any] = {}
    for key, path in (("issue", "/etc/issue"), ("issue_net", "/etc/issue.net"), ("motd", "/etc/motd")):
        found[key] = node.tried("banners." + key, _start_of, path)
    folder = "/etc/update-motd.d"
    found["motd_scripts"] = [name for name in names(folder) if os.access(folder + "/" + name, os.X_OK)]
    return found


_SECTIONS: Mapping[str, Callable[[Node], Any]] = {
    "node": machine,
    "sshd": sshd,
    "ssh": ssh,
    "sysctl": sysctl,
    "units": units,
    "units_enabled": units_enabled,
    "default_target": default_target,
    "mounts": mounts,
    "mounts_boot": mounts_boot,
    "swaps": swaps,
    "pam": pam,
    "pam_services": pam_services,
    "config": config,
    "shell": shell,
    "limits": limits,
    "sudo": sudo,
    "nft": nft,
    "listening": listening,
    "processes": processes,
    "modules": modules,
    "boot": boot,
    "packages": packages,
    "origin": origin,
    "package_names": package_names,
    "package_states": package_states,
    "apt": apt,
    "audit": audit,
    "apparmor": apparmor,
    "aide": aide,
    "time": time_,
    "rsyslog": rsyslog,
    "logrotate": logrotate,
    "banners": banners,
    "groups": groups,
    "accounts": accounts,
    "paths": paths,
    "files": files,
    "users": users,
    "cron": cron,
    "updates": updates,
}


def collect(
    request: Mapping[str, Any],
    sections: Mapping[str, Callable[[Node], Any]] = _SECTIONS,
    commands: Mapping[str, tuple[str, ...]] = AUDIT_COMMANDS,
    early: Sequence[Sequence[str]] = (_UPGRADE, _UNIT_FILES),
) -> dict[str, Any]:
    """Return the facts of all sections. `request`: {admin, audit, nonce, wanted: {section: [names]}}.

    `refused`: facts that could not be seen, with the reason; `broken`: facts on which this program failed.
    """
    started = time.monotonic()
    node = Node(request, commands)
    # What is slow first, whoever it is that waits for it.
    for argv in early:
        node.programs.start(argv)
    node.programs.start_as_root()
    facts: dict[str, Any] = {}
    broken: dict[str, str] = {}
    for name, section in sections.items():
        try:
            facts[name] = section(node)
        except Missing as missing:
            facts[name] = None
            facts.setdefault("missing", {})[name] = str(missing)
        except Refused as refused:
            node.refused[name] = str(refused)
        except Exception as error:  # noqa: BLE001 - one section must not hide the others
            broken[name] = f"{type(error).__name__}: {error}"[:300]
    return {
        "version": 1,
        "nonce": request.get("nonce"),
        "seconds": round(time.monotonic() - started, 3),
        "refused": node.refused,
        "broken": broken,
        "facts": facts,
    }


def main(request: Mapping[str, Any], collected: Callable[[Mapping[str, Any]], dict[str, Any]] = collect) -> None:
    """Print the facts as one line after MARK."""
    sys.stdout.write("\n" + MARK + json.dumps(collected(request)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # a program that hangs must not keep the session open
