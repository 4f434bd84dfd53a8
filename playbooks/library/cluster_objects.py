"""Ansible module: what the cluster's nodes and DNS need of its API, applied and waited for. Runs on a control plane."""

from __future__ import annotations

import ipaddress
import json
import time
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node
    from playbooks.module_utils.cluster_node import Failed
else:
    from ansible.module_utils import cluster_node
    from ansible.module_utils.cluster_node import Failed

DOCUMENTATION = r"""
module: cluster_objects
short_description: Applies objects by server-side apply; changed where the API server says so
options:
  objects: {description: The objects., type: list, elements: dict, required: true}
  manager: {description: The field manager., type: str, default: gcloud-pk-cluster}
  networks_of:
    description: Nodes whose ranges of pod addresses are waited for and returned, before anything is applied.
    type: list
    elements: str
    default: []
  networks_within:
    description: The range of all pods; a node whose range is not of it, or is another's too, is refused.
    type: str
  seconds: {description: The longest wait for them., type: int, default: 90}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Applies with C(--dry-run=server).}
"""

EXAMPLES = r"""
- name: Labels of a node
  cluster_objects:
    objects:
      - {apiVersion: v1, kind: Node, metadata: {name: w1, labels: {topology.kubernetes.io/zone: rack-1}}}
"""

RETURN = r"""
paths:
  description: Objects that changed.
  type: list
  elements: str
  returned: success
networks:
  description: Node to its range of pod addresses.
  type: dict
  returned: success
"""


_OTHERS = ("resourceVersion", "managedFields", "generation")
"""Of metadata: what changes when others write, such as the kubelet, which says every few seconds that it lives."""


def states(listed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each object of kubectl's answer, one or a List, without what is not wished but observed."""
    found = {}
    for one in listed.get("items", [listed] if "metadata" in listed else []):
        metadata = {name: value for name, value in one["metadata"].items() if name not in _OTHERS}
        name = f"{one['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"
        found[name] = {**{key: value for key, value in one.items() if key != "status"}, "metadata": metadata}
    return found


def networks(nodes: list[str], seconds: float) -> dict[str, str]:
    """Return each node's range once all have one. Raises `Failed`."""
    end = time.monotonic() + seconds
    while True:
        try:
            items = cluster_node.objects("nodes")
        except Failed:  # an API server that is busy or has just moved is asked again
            items = []
        found = {one["metadata"]["name"]: one["spec"].get("podCIDR", "") for one in items}
        missing = [node for node in nodes if not found.get(node)]
        if not missing:
            return {node: found[node] for node in nodes}
        if time.monotonic() > end:
            raise Failed(f"no range of pod addresses after {seconds:.0f} s for: {', '.join(missing)}")
        time.sleep(0.5)


def strange(ranges: dict[str, str], within: str) -> str:
    """Return why nodes must not be routed to by their ranges; empty where they may: a kubelet can say any."""
    pods = ipaddress.ip_network(within)
    seen: dict[str, ipaddress.IPv4Network | ipaddress.IPv6Network] = {}
    for node, text in ranges.items():
        found = ipaddress.ip_network(text)
        if found.version != pods.version or not found.subnet_of(pods):  # type: ignore[arg-type] # of one version by now
            return f"{node} says {text}, which is not within {within}"
        other = next((name for name, one in seen.items() if one.overlaps(found)), None)
        if other:
            return f"{node} says {text}, which {other} has"
        seen[node] = found
    return ""


def applied(objects: list[dict[str, Any]], manager: str, *, check: bool) -> list[str]:
    """Apply the objects; return those that changed. Raises `Failed`."""
    if not objects:
        return []
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    before = cluster_node.kubectl("get", "--filename=-", "--ignore-not-found", "--output=json", given=text).stdout
    words = ["apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "--filename=-"]
    words += ["--output=json", *(["--dry-run=server"] if check else [])]
    after = cluster_node.kubectl(*words, given=text).stdout
    known = states(json.loads(before)) if before.strip() else {}
    return sorted(name for name, state in states(json.loads(after)).items() if known.get(name) != state)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "objects": {"type": "list", "elements": "dict", "required": True},
            "manager": {"type": "str", "default": "gcloud-pk-cluster"},
            "networks_of": {"type": "list", "elements": "str", "default": []},
            "networks_within": {"type": "str"},
            "seconds": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    try:
        ranges = networks(given["networks_of"], given["seconds"]) if given["networks_of"] else {}
        why = strange(ranges, given["networks_within"]) if given["networks_within"] else ""
        if why:
            module.fail_json(msg=f"Ranges of pods: {why}. Nothing was changed; see that node, then delete its Node.")
        changed = applied(given["objects"], given["manager"], check=module.check_mode)
    except (Failed, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changed), paths=changed, networks=ranges)


if __name__ == "__main__":
    main()
