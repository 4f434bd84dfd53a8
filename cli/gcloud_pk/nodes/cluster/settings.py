"""What the settings of a cluster's programs come to: who is let in unnamed, what is recorded, what has drifted. Pure.

Texts of nodes and of the API are untrusted: what is no YAML, or has another form, counts as not understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gcloud_pk.errors import InvalidInputError
from gcloud_pk.registry import documents

MANIFESTS = "/etc/kubernetes/manifests/"
OURS = "/etc/kubernetes/gcloud-pk/"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
_FIELDS = {"kube-apiserver": "apiServer", "kube-controller-manager": "controllerManager", "kube-scheduler": "scheduler"}
_NO_SETTINGS = frozenset(
    {"bootstrap-kubeconfig", "cert-dir", "config", "container-runtime-endpoint", "hostname-override", "kubeconfig"}
    | {"node-ip", "node-labels", "pod-infra-container-image", "register-with-taints", "v"}
)
"""Arguments of a kubelet that its file has no field for, or none that a check reads."""
_DEFAULTS: Mapping[str, Any] = {
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {}},
    "authorization": {"mode": "Webhook"},
    "eventRecordQPS": 50,
    "makeIPTablesUtilChains": True,
    "podPidsLimit": -1,
    "protectKernelDefaults": False,
    "readOnlyPort": 0,
    "rotateCertificates": False,
    "seccompDefault": False,
    "serverTLSBootstrap": False,
    "streamingConnectionIdleTimeout": "4h0m0s",
}
"""What a kubelet takes where its file says nothing (kubelet Configuration v1beta1), of what checks read."""
EVERYBODY = "*"
"""Stands for all paths that there are."""


def parsed(text: Any) -> list[Any]:
    """Return the documents of a text; none of what is no YAML that two readers would read alike."""
    found = []
    for part in re.split(r"^---\s*$", text if isinstance(text, str) else "", flags=re.MULTILINE):
        if not re.sub(r"#.*", "", part).strip():
            continue
        try:
            found.append(documents.parse(part.encode(), "settings").value)
        except InvalidInputError:
            return []
    return found


def _one(texts: Mapping[str, Any], file: str, kind: str) -> Mapping[str, Any] | None:
    found = [one for one in parsed(texts.get(file)) if isinstance(one, Mapping) and one.get("kind") == kind]
    return found[0] if len(found) == 1 else None


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _of(value: Any, *steps: str) -> Any:
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def open_paths(flags: Mapping[str, Any], texts: Mapping[str, Any]) -> list[str]:
    """Return the paths that the API server answers to whom it does not know; EVERYBODY where that is all of them.

    By `--anonymous-auth`, or by the file of `--authentication-config` (Kubernetes: Authenticating, anonymous requests).
    """
    config = flags.get("authentication-config")
    if config is None:
        return [] if flags.get("anonymous-auth") == "false" else [EVERYBODY]
    anonymous = _of(_one(texts, str(config), "AuthenticationConfiguration"), "anonymous")
    if _of(anonymous, "enabled") is False:
        return []
    conditions = _of(anonymous, "conditions")
    paths = [_of(one, "path") for one in _list(conditions)]
    return sorted(str(path) for path in paths) if paths and all(isinstance(p, str) for p in paths) else [EVERYBODY]


def recorded(flags: Mapping[str, Any], texts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the audit policy records: `everything` at Metadata or more, `dropped`, and where it keeps bodies.

    None where the policy is not to be had. `bodies`: rules that record bodies of secrets, tokens or config maps.
    """
    policy = _one(texts, str(flags.get("audit-policy-file")), "Policy")
    if policy is None:
        return None
    rules = [rule for rule in _list(policy.get("rules")) if isinstance(rule, Mapping)]
    dropped = [_rule(rule) for rule in rules if rule.get("level") not in {"Metadata", "Request", "RequestResponse"}]
    last = rules[-1] if rules else {}
    return {
        "rules": len(rules),
        "dropped": dropped,
        "everything": set(last) <= {"level", "omitStages", "omitManagedFields"} and bool(last) and not dropped,
        "bodies": [_rule(rule) for rule in rules if rule.get("level") in {"Request", "RequestResponse"}],
        "stages": [str(one) for one in _list(policy.get("omitStages"))],
    }


def _rule(rule: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in sorted(rule.items()))[:200]


def admission(flags: Mapping[str, Any], texts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what Pod Security asks where a namespace says nothing, and who is exempt; None where that is not told."""
    found = _one(texts, str(flags.get("admission-control-config-file")), "AdmissionConfiguration")
    for plugin in _list(_of(found, "plugins")):
        if _of(plugin, "name") == "PodSecurity":
            defaults, exempt = _of(plugin, "configuration", "defaults"), _of(plugin, "configuration", "exemptions")
            return {
                "enforce": _of(defaults, "enforce"),
                "namespaces": _list(_of(exempt, "namespaces")),
                "usernames": _list(_of(exempt, "usernames")),
                "runtime_classes": _list(_of(exempt, "runtimeClasses")),
            }
    return None


def arguments(manifest: Any) -> dict[str, str] | None:
    """Return the flags of a static pod's one container; None where the manifest has another form."""
    containers = _list(_of(manifest, "spec", "containers"))
    if len(containers) != 1:
        return None
    words = [*_list(_of(containers[0], "command")), *_list(_of(containers[0], "args"))]
    if not words or not all(isinstance(one, str) for one in words):
        return None
    pairs = (word.lstrip("-").partition("=") for word in words if word.startswith("-"))
    return {name: value if equals else "true" for name, equals, value in pairs}


def extra_arguments(configuration: Any, component: str) -> dict[str, str]:
    """Return the `extraArgs` that a ClusterConfiguration (kubeadm v1beta4) gives a component."""
    part = (
        _of(configuration, "etcd", "local") if component == "etcd" else _of(configuration, _FIELDS.get(component, ""))
    )
    return {
        str(_of(one, "name")): str(_of(one, "value"))
        for one in _list(_of(part, "extraArgs"))
        if isinstance(one, Mapping)
    }


def _differences(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for flag, value in sorted(wanted.items()):
        if flag not in found:
            yield f"{name} lacks --{flag}={value}"
        elif found[flag] != value:
            yield f"{name} has --{flag}={found[flag]}, not {value}"


def out_of_manifests(programs: Mapping[str, Any], texts: Mapping[str, Any]) -> list[str]:
    """Return where a program of the control plane runs otherwise than its manifest says."""
    found: list[str] = []
    for name in COMPONENTS:
        running = _of(programs, name, "flags")
        manifests = parsed(texts.get(f"{MANIFESTS}{name}.yaml"))
        written = arguments(manifests[0]) if len(manifests) == 1 else None
        if running is None or written is None:
            found.append(f"{name}: {'it does not run' if running is None else 'its manifest is not understood'}")
            continue
        found += _differences(name, written, running)
        found += [f"{name} has --{flag}, its manifest does not" for flag in sorted(set(running) - set(written))]
    return found


def out_of_roles(programs: Mapping[str, Any], wanted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return where a program runs without what the roles give it; `wanted`: flags by program."""
    found: list[str] = []
    for name, each in wanted.items():
        found += _differences(name, each, _of(programs, name, "flags") or {})
    return found


def out_of_configuration(shared: Any, wanted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return where what kubeadm keeps for the next control plane is not what the roles give: ClusterConfiguration."""
    found: list[str] = []
    for name, each in wanted.items():
        kept = extra_arguments(shared, name)
        found += _differences(name, each, kept)
        found += [f"{name} has --{flag}={kept[flag]}, of which the roles know nothing" for flag in kept.keys() - each]
    return sorted(found)


def kubelet_of_file(said: Mapping[str, Any], api: str) -> Mapping[str, Any] | str:
    """Return a kubelet's settings by its file, where they are sure to be those in force; else why they are not known.

    A kubelet reads its file when it begins, and no more (Kubernetes: Set Kubelet Parameters Via A Configuration File):
    one that was not changed since is in force, where no argument overrides it. `api`: why the API is silent.
    """
    times, lists = said.get("kubelet_file"), _of(said, "programs", "kubelet", "lists")
    if not isinstance(times, Mapping) or not isinstance(lists, Mapping):
        return api
    file, changed, began = (times.get(name) for name in ("file", "changed", "began"))
    if not isinstance(changed, float) or not isinstance(began, float):
        return f"{api}; and the kubelet does not run as a unit of systemd"
    if lists.get("config") != [file]:
        return f"{api}; and it reads another file than {file}"
    if other := sorted(set(lists) - _NO_SETTINGS):
        return f"{api}; and arguments override {file}: --{', --'.join(other)}"
    if changed >= began:
        return f"{api}; and {file} was changed after the kubelet began"
    found = _one(_of(said, "texts") or {}, str(file), "KubeletConfiguration")
    return f"{api}; and {file} is not understood" if found is None else _filled(_DEFAULTS, found)


def _filled(defaults: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    made = {**defaults, **{name: value for name, value in found.items() if value is not None}}
    for name, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(made[name], Mapping):
            made[name] = _filled(value, made[name])
    if made.get("streamingConnectionIdleTimeout") == "0s":  # kubeadm writes it so, and it means the default
        made["streamingConnectionIdleTimeout"] = defaults["streamingConnectionIdleTimeout"]
    return made


def out_of_kubelet(wanted: Mapping[str, Any], found: Mapping[str, Any], above: str = "") -> list[str]:
    """Return where a kubelet's configuration in force is not what the roles give."""
    differences: list[str] = []
    for name, value in sorted(wanted.items()):
        here = f"{above}{name}"
        if isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
            differences += out_of_kubelet(value, found[name], f"{here}.")
        elif name not in found and value not in (False, 0, "", [], {}):
            differences.append(f"{here} is not set, not {value}")
        elif name in found and found[name] != value:
            differences.append(f"{here} is {found[name]}, not {value}")
    return differences
