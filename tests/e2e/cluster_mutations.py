"""Single weakenings of a real cluster: done on one of its nodes, audited, and undone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.conftest import CLI

Mutation = dict[str, Any]

KEPT = "/root/gcloud-pk-test"
"""Where files are kept while others stand in their place."""
PATIENCE = 150.0
"""Seconds that a program of the control plane gets to start anew."""
MANIFEST = "/etc/kubernetes/manifests/{}.yaml"
KUBELET = "/var/lib/kubelet/config.yaml"

_ARGUE = """
import json, os, sys
file, flags = sys.argv[1], json.loads(sys.argv[2])
lines = [l for l in open(file).read().splitlines() if not any(l.strip().startswith(f"- --{f}=") for f in flags)]
first = next(i for i, l in enumerate(lines) if l.strip().startswith("- --"))
indent = lines[first].partition("-")[0]
lines[first:first] = [f"{indent}- --{f}={v}" for f, v in flags.items() if v is not None]
# Put in its place at once, from another folder: the kubelet reads whatever lies in this one.
aside = "/etc/kubernetes/.of-a-test"
open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w").write("\\n".join(lines) + "\\n")
os.replace(aside, file)
"""
_SET = """
import json, sys
file, fields = sys.argv[1], json.loads(sys.argv[2])
import re
text = open(file).read()
for name, value in fields.items():
    *above, last = name.split(".")
    at = 0
    for depth, step in enumerate(above):
        at = re.compile(r"^" + "  " * depth + step + ":$", re.M).search(text, at).end()
    pad = "  " * len(above)
    # Below a list its items stand at the same depth as its name.
    found = re.compile(r"^" + pad + last + r":.*\\n(?:" + pad + r"- .*\\n|" + pad + r"  .*\\n)*", re.M).search(text, at)
    line = pad + last + ": " + json.dumps(value) + "\\n"
    text = text[: found.start()] + line + text[found.end() :] if found else text + line
open(file, "w").write(text)
"""


def mutations() -> list[Mutation]:
    """Return those that can be done to a real cluster."""
    file = Path(__file__).parent / "data/cluster-mutations.yaml"
    every: list[Mutation] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [one for one in every if "only" not in one]


@dataclass
class Bench:
    """A lab data centre whose cluster may be broken. `user`: who audits; `kubeconfig`: with a context admin.

    `env`: in which the command line finds the lab.
    """

    folder: Path
    kubeconfig: str
    user: str | None = None
    env: Mapping[str, str] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def root(self, host: str, script: str, seconds: float = 60) -> str:
        """Run a script on a host as root. Raises AssertionError where it fails."""
        words = ["ssh", "-F", str(self.folder / "ssh_config"), "-o", f"UserKnownHostsFile={self.folder}/known_hosts"]
        done = subprocess.run(
            [*words, "-o", "LogLevel=ERROR", host, "sudo -n env PATH=$PATH:/usr/local/bin sh -eu"],
            input=script,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def verdicts(self, context: str = "admin") -> dict[tuple[str, str], str]:
        """Audit; return the verdicts by subject and check."""
        words = [str(CLI), "--registry", str(self.folder / "registry"), "--trust", str(self.folder / "trust")]
        words += ["--kubeconfig", self.kubeconfig, "--context", context, "--format", "json"]
        words += ["audit", "cluster", "--site", "lab-dc", *(["--user", self.user] if self.user else [])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=180, env=self.env)
        results = json.loads(done.stdout)["results"]
        return {(one["subject"], one["id"]): one["verdict"] for one in results}

    def broken(self, mutation: Mutation, clean: Mapping[tuple[str, str], str]) -> dict[str, set[str]]:
        """Weaken the cluster, audit it, undo that; return the checks whose verdict is another, by verdict."""
        began = time.monotonic()
        try:
            self._do(mutation)
            now = self.verdicts()
        finally:
            self._undo(mutation)
            self.seconds[mutation["name"]] = round(time.monotonic() - began, 1)
        different: dict[str, set[str]] = {}
        for key, verdict in now.items():
            if clean.get(key) != verdict:
                different.setdefault(verdict, set()).add(key[1])
        return different

    def _files(self, mutation: Mutation) -> list[str]:
        named = [*mutation.get("text", ()), *(MANIFEST.format(program) for program in mutation.get("arguments", ()))]
        return [*named, *([KUBELET] if "kubelet" in mutation else [])]

    def _rights(self, mutation: Mutation) -> list[str]:
        return [*mutation.get("mode", ()), *mutation.get("owner", ())]

    def _do(self, mutation: Mutation) -> None:
        host = mutation.get("on", "c1")
        keep = [f"mkdir -p -m 700 {KEPT}; rm -rf {KEPT}/*"]
        keep += [f"cp -a {file} {KEPT}/{index}" for index, file in enumerate(self._files(mutation))]
        # Of a file or folder whose rights alone change, those are kept, and its content is left alone.
        keep += [f"stat -c '%u:%g %a' {path} > {KEPT}/{index}" for index, path in enumerate(self._rights(mutation))]
        self.root(host, "\n".join(keep))
        if "do" in mutation:
            self.root(host, mutation["do"])
        for file, mode in mutation.get("mode", {}).items():
            self.root(host, f"chmod {mode} {file}")
        for file, owner in mutation.get("owner", {}).items():
            self.root(host, f"chown {owner} {file}")
        for file, (old, new) in mutation.get("text", {}).items():
            code = f"import sys; p = {file!r}; t = open(p).read(); assert {old!r} in t; "
            self.root(host, _python(f"{code}open(p, 'w').write(t.replace({old!r}, {new!r}, 1))"))
        for program, flags in mutation.get("arguments", {}).items():
            self.root(host, _python(_ARGUE, MANIFEST.format(program), json.dumps(flags)))
            for flag, value in flags.items():
                self._until_running(host, program, flag, value)
        if "kubelet" in mutation:
            self.root(host, _python(_SET, KUBELET, json.dumps(mutation["kubelet"])))
            self._restart_kubelet(host)
        if "arguments" in mutation:
            self._until_ready(host)

    def _undo(self, mutation: Mutation) -> None:
        host = mutation.get("on", "c1")
        # A manifest goes back at once, as it came.
        back = [
            f"cp -a {KEPT}/{index} /etc/kubernetes/.of-a-test && mv /etc/kubernetes/.of-a-test {file}"
            if file.startswith("/etc/kubernetes/")
            else f"cp -a {KEPT}/{index} {file}"
            for index, file in enumerate(self._files(mutation))
        ]
        back += [
            f"read owner mode < {KEPT}/{index}; chown $owner {path}; chmod $mode {path}"
            for index, path in enumerate(self._rights(mutation))
        ]
        self.root(host, "\n".join([*back, f"rm -rf {KEPT}"]))
        for program, flags in mutation.get("arguments", {}).items():
            written = self.root(host, f"cat {MANIFEST.format(program)}")
            for flag in flags:
                lines = [line.strip() for line in written.splitlines() if line.strip().startswith(f"- --{flag}=")]
                self._until_running(host, program, flag, lines[0].partition("=")[2] if lines else None)
        if "kubelet" in mutation:
            self._restart_kubelet(host)
        if "undo" in mutation:
            self.root(host, mutation["undo"])

    def _restart_kubelet(self, host: str) -> None:
        began = self.root(host, "date -u +%FT%TZ").strip()
        script = "systemctl restart kubelet; for i in $(seq 60); do curl -sf http://127.0.0.1:10248/healthz && exit; "
        self.root(host, f"{script}sleep 1; done; exit 1", PATIENCE)
        # The API server asks it for its configuration by port 10250, which opens last.
        self.root(
            host, "for i in $(seq 60); do curl -sk https://127.0.0.1:10250/healthz && exit; sleep 1; done", PATIENCE
        )
        self._until_ready(host, since=began)

    def _until_ready(self, host: str, since: str = "") -> None:
        """Wait until every node is Ready, by the API; of `host` by what its kubelet said at `since` or later."""
        fields = "{range .items[*]}{.metadata.name}{range .status.conditions[?(@.type=='Ready')]}"
        fields += ' {.status} {.lastHeartbeatTime}{end}{"\\n"}{end}'
        asked = f"kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes -o jsonpath='{fields}' || true"
        end = time.monotonic() + PATIENCE
        while True:
            said = [line.split() for line in self.root(host, asked.replace("'Ready'", '"Ready"')).splitlines()]
            if said and all(words[1] == "True" and (words[0] != host or words[2] >= since) for words in said):
                return
            assert time.monotonic() < end, f"not every node is Ready: {said}"
            time.sleep(3)

    def _until_running(self, host: str, program: str, flag: str, value: str | None) -> None:
        """Wait until a program runs with an argument, or without it, and answers."""
        end = time.monotonic() + PATIENCE
        while True:
            words = self.root(host, f"ps -ww -C {program[:15]} -o args= || true").split()
            given = [word.partition("=")[2] for word in words if word.startswith(f"--{flag}=")]
            if words and given == ([] if value is None else [value]) and self._answers(host, program):
                return
            assert time.monotonic() < end, f"{program} does not run with --{flag}={value}: {words}"
            time.sleep(5)

    def _answers(self, host: str, program: str) -> bool:
        port = {"kube-apiserver": 6443, "kube-controller-manager": 10257, "kube-scheduler": 10259}.get(program)
        if port is None:
            said = "curl -sf http://127.0.0.1:2381/readyz || curl -sf http://127.0.0.1:2381/health"
            return "ok" in (found := self.root(host, f"({said}) || true")) or "true" in found
        path = "readyz" if port == 6443 else "healthz"
        return "ok" in self.root(host, f"curl -sk https://127.0.0.1:{port}/{path} || true")


def _python(code: str, *words: str) -> str:
    import shlex

    return f"python3 - {shlex.join(words)} <<'PYTHON'\n{code}\nPYTHON\n"
