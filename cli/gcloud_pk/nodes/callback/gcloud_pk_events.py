"""A callback plugin of Ansible: what happens, as one line of JSON for each event, to the file descriptor that we name.

It runs inside Ansible and knows nothing of gcloud-pk. What nodes send is cut to size here; what is hidden by no_log
stays hidden.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]

DOCUMENTATION = """
name: gcloud_pk_events
type: stdout
short_description: events as JSON lines on a file descriptor
description:
  - Writes one line of JSON for each play, task, result and recap to the file descriptor of GCLOUD_PK_EVENTS.
options: {}
"""

_TEXT = 4_000
_DIFF = 60_000
_ITEMS = 500


def _cut(value: object, most: int = _TEXT) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= most else text[:most] + f"… ({len(text) - most} more characters)"


def _texts(values: object) -> list[str]:
    return [_cut(one) for one in values[:_ITEMS]] if isinstance(values, list) else []


def _refused(values: object) -> list[dict[str, str]]:
    found = values[:_ITEMS] if isinstance(values, list) else []
    return [
        {str(key)[:100]: _cut(value) for key, value in list(one.items())[:20]}
        if isinstance(one, Mapping)
        else {"key": _cut(one)}
        for one in found
    ]


def _parts(result: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Yield a task's result, and those of its loop."""
    yield result
    loop = result.get("results")
    for one in loop if isinstance(loop, list) else ():
        if isinstance(one, Mapping):
            yield one


def _words(result: Mapping[str, Any]) -> str:
    """Return what a failure says: its message, and what the program printed."""
    said = [
        str(part[name])
        for part in _parts(result)
        for name in ("msg", "module_stderr", "stderr", "module_stdout")
        if part.get(name) and (part is result or part.get("failed") or part.get("unreachable"))
    ]
    return _cut("\n".join(dict.fromkeys(said)))


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible has no types
    """Ansible's side of `nodes.events`."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "gcloud_pk_events"

    def __init__(self) -> None:
        super().__init__()
        self._descriptor = int(os.environ["GCLOUD_PK_EVENTS"])

    def _send(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, "time": round(time.time(), 3), **fields}, default=str).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Name the play with its roles."""
        self._send("play", name=_cut(play.get_name()), roles=[_cut(role.get_name()) for role in play.get_roles()])

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002 - Ansible's signature
        """Name the task with its role and tags."""
        self._task(task, "arguments" if task.action.endswith("validate_argument_spec") else "task")

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Name the handler as a task."""
        self._task(task, "handler")

    def _task(self, task: Any, kind: str) -> None:
        role = task._role.get_name() if task._role else None  # noqa: SLF001 - there is no other way to the role
        self._send(
            "task",
            task=task._uuid,  # noqa: SLF001 - the one name that a result shares with its task
            name=_cut(task.name or task.action),
            role=role and _cut(role),
            tags=[_cut(tag) for tag in task.tags][:_ITEMS],
            kind=kind,
        )

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Tell that a host is asked: one that then says nothing hangs."""
        self._send("start", host=host.get_name(), task=task._uuid)  # noqa: SLF001 - as above

    def _result(self, status: str, result: Any) -> None:
        said = result.result
        changed = bool(result.is_changed())
        if status == "ok" and changed:
            status = "changed"
        fields: dict[str, Any] = {}
        if said.get("_ansible_no_log") or "censored" in said:
            fields["withheld"] = True
        else:
            parts = list(_parts(said))
            fields = {
                "message": _words(said) if status in {"failed", "unreachable", "ignored"} else "",
                "refused": [one for part in parts for one in _refused(part.get("refused"))][:_ITEMS],
                "paths": [one for part in parts for one in _texts(part.get("paths"))][:_ITEMS] if changed else [],
                "warnings": [_cut(one.event.msg) for one in result.warnings][:_ITEMS],
            }
            # Ansible gathers differences only when it is asked for them.
            found = [self._get_diff(part["diff"]) for part in parts if part.get("diff")]
            fields["diff"] = _cut("".join(one for one in found if one), _DIFF)
        self._send("result", host=result.host.get_name(), task=result.task._uuid, status=status, **fields)  # noqa: SLF001 - likewise

    def v2_runner_on_ok(self, result: Any) -> None:
        """Tell of a result."""
        self._result("ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Tell of a task that did not apply."""
        self._result("skipped", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Tell of a failure."""
        self._result("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Tell of a host that does not answer."""
        self._result("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Tell that the playbook came to its end."""
        self._send("end", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
