"""What the engine would do, as a person thinks of it: machines by rack, clusters; made, changed, removed.

Pure. `Step.of` reads the metadata of an engine's event; the rest knows nothing of Pulumi.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Op = Literal["make", "change", "replace", "remove", "same"]
"""What becomes of a resource; `read` and `refresh` are looks and no steps."""

_OPS: dict[str, Op] = {
    "create": "make",
    "update": "change",
    "replace": "replace",
    "delete": "remove",
    "same": "same",
    "import": "make",
}
MARKS: dict[Op, str] = {"make": "+", "change": "~", "replace": "±", "remove": "-", "same": "="}
_WEIGHT: dict[Op, int] = {"same": 0, "change": 1, "make": 2, "remove": 3, "replace": 4}

HOST_KINDS = ("Machine", "HardenedNode", "Member")
CLUSTER_KINDS = ("ControlPlane", "Addons")

_DEEDS: dict[tuple[str, Op], str] = {
    ("Machine", "make"): "take in",
    ("Machine", "change"): "machine",
    ("Machine", "replace"): "another machine",
    ("Machine", "remove"): "let go",
    ("HardenedNode", "make"): "harden",
    ("HardenedNode", "change"): "harden again",
    ("HardenedNode", "replace"): "harden anew",
    ("HardenedNode", "remove"): "forget its hardening",
    ("Member", "make"): "join",
    ("Member", "change"): "configure",
    ("Member", "replace"): "leave and join again",
    ("Member", "remove"): "cordon, drain, leave etcd, reset",
    ("ControlPlane", "make"): "make the control plane",
    ("ControlPlane", "change"): "control plane",
    ("ControlPlane", "replace"): "make the control plane anew",
    ("ControlPlane", "remove"): "take the control plane down",
    ("Addons", "make"): "network, DNS and other add-ons",
    ("Addons", "change"): "add-ons",
    ("Addons", "replace"): "add-ons anew",
    ("Addons", "remove"): "remove the add-ons",
}

_UNKNOWN = re.compile(r"04da6b54-80e4-46f7-96ec-b56ff0331ba9|<computed>|output<")
_DIGEST = re.compile(r"[0-9a-f]{40,}")
_LONGEST = 60


@dataclass(frozen=True)
class Setting:
    """One setting that differs; values as texts for people, None where one side has none or it is a secret."""

    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None and self.new is None:
            return f"{self.name} changed"
        return f"{self.name}: {'nothing' if self.old is None else self.old} → {self.new or 'nothing'}"


@dataclass(frozen=True)
class Step:
    """What becomes of one resource. `parent` is a URN; `rack` and `cluster` as its inputs say, where they do."""

    urn: str
    kind: str
    name: str
    op: Op
    parent: str | None = None
    settings: tuple[Setting, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The step in words: `harden again (roles changed)`."""
        deed = _DEEDS.get((self.kind, self.op), f"{self.op} {self.kind}")
        return f"{deed} ({', '.join(str(one) for one in self.settings)})" if self.settings else deed

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `plan.steps[]` in JSON."""
        settings = [{"name": one.name, "old": one.old, "new": one.new} for one in self.settings]
        return {"kind": self.kind, "name": self.name, "op": self.op, "settings": settings}


@dataclass(frozen=True)
class Row:
    """One machine or cluster of the plan."""

    where: str
    subject: str
    op: Op
    words: str


@dataclass(frozen=True)
class Plan:
    """All steps of a run over one site, in the engine's order."""

    steps: tuple[Step, ...]
    racks: Mapping[str, str] = field(default_factory=dict)
    """Rack by host, as the site file has it."""
    entries: int = 0
    """Changes of the state alone: of what stands for no machine and no cluster."""

    @property
    def counts(self) -> dict[Op, int]:
        """How many machines and clusters are made, changed, replaced, removed or stay."""
        found: dict[Op, int] = dict.fromkeys(MARKS, 0)
        for row in self.rows():
            found[row.op] += 1
        return found

    @property
    def changed(self) -> bool:
        """Whether anything would be written."""
        return any(step.op != "same" for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `plan` in JSON; what stays as it is is counted only."""
        return {
            "changed": self.changed,
            "counts": dict(self.counts),
            "steps": [step.as_dict() for step in self.steps if step.op != "same"],
        }

    def rows(self) -> list[Row]:
        """Return a row for each machine, by rack, then one for each cluster."""
        machines: dict[str, list[Step]] = {}
        clusters: dict[str, list[Step]] = {}
        others: dict[str, list[Step]] = {}
        for step in self.steps:
            kind = machines if step.kind in HOST_KINDS else clusters if step.kind in CLUSTER_KINDS else others
            kind.setdefault(step.name, []).append(step)
        rows = [_row(self._rack(name, steps), name, steps) for name, steps in machines.items()]
        rows.sort(key=lambda row: (row.where == "", _natural(row.where), _natural(row.subject)))
        rows += [_row("cluster", name, steps) for name, steps in sorted(clusters.items())]
        return rows + [_row("other", name, steps) for name, steps in sorted(others.items())]

    def _rack(self, host: str, steps: Iterable[Step]) -> str:
        known = self.racks.get(host)
        if known:
            return known
        for step in steps:
            if step.facts.get("rack"):
                return step.facts["rack"]
            # A component Rack above it says so too; a machine that leaves is in no site file any more.
            if step.parent and "Rack::" in step.parent:
                return step.parent.rpartition("::")[2]
        return ""


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", text) if part)


def _row(where: str, subject: str, steps: list[Step]) -> Row:
    doing = [step for step in steps if step.op != "same"]
    if not doing:
        return Row(where, subject, "same", "")
    op = _op_of(steps)
    return Row(where, subject, op, "; ".join(_joined(step) for step in doing))


def _op_of(steps: list[Step]) -> Op:
    machine = next((step.op for step in steps if step.kind in {"Machine", "ControlPlane"}), None)
    worst = max((step.op for step in steps), key=lambda op: _WEIGHT[op])
    if machine in {"make", "remove", "replace"}:
        return machine
    # The machine stays: what happens to it is a change of it.
    return worst if machine is None else "change" if worst != "replace" else "replace"


def _joined(step: Step) -> str:
    if step.kind == "Member" and step.op == "make":
        role, cluster = step.facts.get("role"), step.facts.get("cluster")
        return f"join{f' {cluster}' if cluster else ''}{f' as {role}' if role else ''}"
    return step.words


def step_of(metadata: Any) -> Step | None:
    """Return the step of an engine event's metadata; None for components, providers and mere looks."""
    op = _OPS.get(str(getattr(metadata.op, "value", metadata.op)))
    kind = str(metadata.type).rpartition(":")[2]
    either = metadata.new or metadata.old
    if op is None or metadata.type.startswith("pulumi:") or either is None or not either.custom:
        return None
    old, new = _inputs(metadata.old), _inputs(metadata.new)
    settings = tuple(_settings(metadata.detailed_diff, old, new)) if op in {"change", "replace"} else ()
    facts = {key: value for key, value in (new or old).items() if isinstance(value, str)}
    return Step(metadata.urn, kind, metadata.urn.rpartition("::")[2], op, either.parent or None, settings, facts)


def is_entry(metadata: Any) -> bool:
    """Whether an engine event is of something that changes in the state alone: a component, a provider."""
    return _OPS.get(str(getattr(metadata.op, "value", metadata.op)), "same") != "same" and step_of(metadata) is None


def _inputs(state: Any) -> dict[str, Any]:
    return dict(state.inputs or {}) if state is not None else {}


def _settings(diff: Mapping[str, Any] | None, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Setting]:
    for path in sorted(diff or {}):
        either = (_at(old, path), _at(new, path))
        # Two digests side by side tell nobody more than that something in it is another.
        if any(isinstance(one, str) and _DIGEST.fullmatch(one) for one in either):
            either = (None, None)
        before, after = map(_text, either)
        yield Setting(path, before, after) if before != after else Setting(path, None, None)


def _at(value: Any, path: str) -> Any:
    """Return what stands at a property path such as `kubelet.maxPods` or `roles[0]`; None where nothing does."""
    for key, number in re.findall(r'([^.\[\]"]+)|\[(\d+)\]', path):
        if key and isinstance(value, Mapping):
            value = value.get(key)
        elif number and isinstance(value, list) and int(number) < len(value):
            value = value[int(number)]
        else:
            return None
    return value


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, Mapping):
        return None
    text = ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)
    if isinstance(value, float) and value.is_integer():
        text = str(int(value))  # numbers cross the wire as doubles
    if _UNKNOWN.search(text):
        return "known later"
    if text.startswith("[secret"):
        return None
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
