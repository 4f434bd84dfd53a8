"""Ansible module: the states of many systemd units in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

DOCUMENTATION = r"""
module: node_units
short_description: Brings many systemd units into their states in one call
description:
  - Looks at all units at once and changes only what differs, in the order stopped, disabled, masked, enabled, started,
    reloaded, restarted.
  - Units that do not exist are passed over. Units that cannot start on this machine (an unmet condition, a container)
    are returned and shown in one warning; they are neither a failure nor a change. That they failed before their
    condition was there (their package started them) is forgotten, so that the node does not count as degraded.
options:
  enabled:
    description: Units that start with the node.
    type: list
    elements: str
    default: []
  started:
    description: Units that run.
    type: list
    elements: str
    default: []
  disabled:
    description: Units that do not start with the node.
    type: list
    elements: str
    default: []
  stopped:
    description: Units that do not run.
    type: list
    elements: str
    default: []
  masked:
    description: Units that nothing can start.
    type: list
    elements: str
    default: []
  reloaded:
    description: Units that read their configuration anew, if they run. Meant for handlers.
    type: list
    elements: str
    default: []
  restarted:
    description: Units that are started anew, if they run. Meant for handlers.
    type: list
    elements: str
    default: []
  made:
    description:
      - Those of the units above that an earlier task of the same run brings to the node, by a package or a file, and
        that do not come in their state by themselves. Where they are missing in check mode, the run will change them.
        Under C(reloaded) and C(restarted), those that their package starts.
    type: list
    elements: str
    default: []
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows the states of units.}
"""

EXAMPLES = r"""
- name: One time daemon
  node_units:
    enabled: [chrony.service]
    started: [chrony.service]
    masked: [systemd-timesyncd.service]
"""

RETURN = r"""
paths:
  description: Units that changed, with what was done to them.
  type: list
  elements: str
  returned: always
missing:
  description: Units that do not exist here.
  type: list
  elements: str
  returned: always
refused:
  description: Units that cannot be brought into their state here.
  type: list
  elements: dict
  returned: always
  contains:
    key: {description: The unit., type: str}
    wanted: {description: The state asked for., type: str}
    live: {description: The state that holds., type: str}
    why: {description: The reason., type: str}
"""

STATES = ("stopped", "disabled", "masked", "enabled", "started", "reloaded", "restarted")
_PROPERTIES = (
    "Id",
    "Names",
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "NeedDaemonReload",
    "Type",
    "RemainAfterExit",
)
_RUNS = {"active", "activating", "reloading"}
_STARTS = {"enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "linked", "transient"}
_VERB = {
    "stopped": "stop",
    "disabled": "disable",
    "masked": "mask",
    "enabled": "enable",
    "started": "start",
    "reloaded": "reload",
    "restarted": "restart",
}

Runner = Callable[[list[str]], tuple[int, str]]


class Unit(NamedTuple):
    """What systemd says of a unit; texts as systemctl(1) shows them."""

    load: str
    active: str
    file: str
    passing: bool  # a oneshot that does not stay: it is never found running
    stale: bool  # changed on disk since systemd read it

    @property
    def exists(self) -> bool:
        """Whether there is such a unit (a masked one counts)."""
        return self.load != "not-found"

    @property
    def masked(self) -> bool:
        """Whether nothing can start the unit."""
        return self.load == "masked" or self.file == "masked"


EXPECTED = Unit(load="loaded", active="inactive", file="disabled", passing=False, stale=False)


def full(name: str) -> str:
    """Return a unit's name with its suffix."""
    known = (".service", ".socket", ".target", ".timer", ".mount", ".automount", ".path", ".slice", ".swap", ".device")
    return name if name.endswith(known) else f"{name}.service"


def is_template(name: str) -> bool:
    """Whether a name is a template's (`foo@.service`), which has no state of its own."""
    return "@." in name


def parsed(text: str, names: list[str]) -> dict[str, Unit]:
    """Return the units of what `systemctl show` printed for `names`, in their order."""
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    if len(blocks) != len(names):
        raise ValueError(f"systemctl described {len(blocks)} units of {len(names)}")
    units = {}
    for name, block in zip(names, blocks):  # noqa: B905  (equal lengths were checked; strict= needs Python 3.10)
        found = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        units[name] = Unit(
            load=found.get("LoadState", "not-found"),
            active=found.get("ActiveState", "inactive"),
            file=found.get("UnitFileState", ""),
            passing=found.get("Type") == "oneshot" and found.get("RemainAfterExit") != "yes",
            stale=found.get("NeedDaemonReload") == "yes",
        )
    return units


def holds(state: str, unit: Unit) -> bool:
    """Whether a unit is in a state already. Reloading and restarting concern only what runs."""
    if state == "stopped":
        return unit.active not in _RUNS
    if state == "disabled":
        return unit.file not in {"enabled", "enabled-runtime", "linked"}
    if state == "masked":
        return unit.masked
    if state == "enabled":
        return unit.file in _STARTS and not unit.masked
    if state == "started":
        return unit.active in _RUNS or unit.passing
    return unit.active not in _RUNS


def survey(run: Runner, names: list[str]) -> dict[str, Unit]:
    """Ask systemd for all units at once. Raises ValueError when it does not answer."""
    plain = [name for name in names if not is_template(name)]
    units: dict[str, Unit] = {}
    if plain:
        code, text = run(["show", f"--property={','.join(_PROPERTIES)}", "--", *plain])
        if code:
            raise ValueError(f"systemctl show: {text.strip()[:500]}")
        units = parsed(text, plain)
    for name in names:
        if is_template(name):
            _, text = run(["list-unit-files", "--no-legend", "--plain", "--", name])
            words = text.split()
            units[name] = Unit("loaded" if words else "not-found", "inactive", words[1] if words else "", True, False)
    return units


class Result(NamedTuple):
    """What came of a call."""

    changed: list[tuple[str, str]]  # (state, unit)
    missing: list[str]
    refused: list[dict[str, Any]]
    failed: list[str]


def converge(
    wanted: dict[str, list[str]],
    run: Runner,
    *,
    check: bool,
    container: bool,
    condition: Callable[[str], str | None],
) -> Result:
    """Bring the units of `wanted` (state → names, and `made`) into their states; with `check` say what would be done.

    `run` calls systemctl and returns exit code and output; `condition` returns why a unit cannot start here, or None.
    """
    asked = {state: [full(name) for name in wanted.get(state, [])] for state in STATES}
    names = list(dict.fromkeys(name for state in STATES for name in asked[state]))
    units = survey(run, names)
    expected = {full(name) for name in wanted.get("made", [])} if check else set()
    made = {name for name in expected & set(names) if not units[name].exists}
    units.update(dict.fromkeys(made, EXPECTED))
    result = Result([], [name for name in names if not units[name].exists], [], [])
    if not check and any(unit.stale for unit in units.values()):
        run(["daemon-reload"])
    for state in STATES:
        for name in asked[state]:
            unit = units[name]
            if name in made and state in {"reloaded", "restarted"}:
                unit = unit._replace(active="active")
            if not unit.exists or holds(state, unit):
                continue
            if state == "started":
                unmet = condition(name)
                why = _unstartable(unit, unmet, check=check, container=container)
                if unmet is not None and unit.active == "failed" and not check:
                    run(["reset-failed", "--", name])
                if why is not None:
                    result.refused.append(_refusal(name, state, unit, why))
                    continue
            if check:
                result.changed.append((state, name))
                continue
            _bring(state, name, unit, run, container=container, result=result)
    return result


def _unstartable(unit: Unit, unmet: str | None, *, check: bool, container: bool) -> str | None:
    if unmet is not None:
        return unmet
    if check and container and unit.active == "failed":
        return "it failed to start in this container before"
    return None


def _bring(state: str, name: str, unit: Unit, run: Runner, *, container: bool, result: Result) -> None:
    if state == "enabled" and unit.masked:
        run(["unmask", "--", name])
    code, said = run([_VERB[state], "--", name])
    now = survey(run, [name])[name] if state == "started" and not code else None
    if code == 0 and (now is None or holds(state, now)):
        result.changed.append((state, name))
        return
    why = said.strip()[:500] or "it did not stay running"
    if state == "started" and not container:
        result.failed.append(f"{name}: {why}")
    elif state in {"started", "masked"}:
        result.refused.append(_refusal(name, state, unit, why))
    else:
        result.failed.append(f"{name}: {_VERB[state]}: {why}")


def _refusal(name: str, state: str, unit: Unit, why: str) -> dict[str, Any]:
    return {"key": name, "wanted": state, "live": f"{unit.active}, {unit.file or unit.load}", "why": why}


def main() -> None:
    module = AnsibleModule(
        argument_spec={name: {"type": "list", "elements": "str", "default": []} for name in (*STATES, "made")},
        supports_check_mode=True,
    )
    systemctl = module.get_bin_path("systemctl", required=True)
    analyze = module.get_bin_path("systemd-analyze")
    virtualization = module.get_bin_path("systemd-detect-virt")

    def run(words: list[str]) -> tuple[int, str]:
        code, output, errors = module.run_command([systemctl, "--no-pager", *words])
        return code, output + (errors if code else "")

    def condition(name: str) -> str | None:
        if analyze is None:
            return None
        code, output, errors = module.run_command([analyze, "condition", f"--unit={name}"])
        unmet = [line.strip() for line in (output + errors).splitlines() if line.strip().endswith("failed.")]
        return " ".join(unmet)[:500] if code and unmet else None

    container = bool(virtualization) and module.run_command([virtualization, "--container", "--quiet"])[0] == 0
    try:
        result = converge(
            module.params,
            run,
            check=module.check_mode,
            container=container,
            condition=condition,
        )
    except ValueError as error:
        module.fail_json(msg=str(error))
    paths = [f"{name}: {state}" for state, name in result.changed]
    if result.failed:
        module.fail_json(msg=" | ".join(result.failed), changed=bool(paths), paths=paths, missing=result.missing)
    if result.refused:
        said = [f"{one['key']} {one['wanted']}: {one['why']}" for one in result.refused]
        module.warn(f"Not possible here: {'; '.join(said)}")
    module.exit_json(
        changed=bool(paths),
        paths=paths,
        missing=result.missing,
        refused=result.refused,
        diff=[
            {"before": f"not {state}\n", "after": f"{state}\n", "before_header": name, "after_header": name}
            for state, name in result.changed
        ],
    )


if __name__ == "__main__":
    main()
