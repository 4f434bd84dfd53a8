"""Runs a playbook of the tests by the function behind `gcloud-pk node harden`; its argument is a JSON object."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from gcloud_pk.commands.base import Invocation
from gcloud_pk.commands.node import run_harden
from gcloud_pk.errors import GcloudPkError
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes.inventory import select
from gcloud_pk.nodes.run import Order
from gcloud_pk.registry.folder import Registry


def _changed(site: Site, changes: dict[str, dict[str, Any]]) -> Site:
    hosts: list[Host] = [host.model_copy(update=changes.get(host.name, {})) for host in site.spec.hosts]
    return site.model_copy(update={"spec": site.spec.model_copy(update={"hosts": tuple(hosts)})})


def main(given: dict[str, Any]) -> int:
    """Run; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))  # as the CLI does
    registry = Registry.open(Path(given["registry"]))
    site = _changed(registry.sites["lab-nodes"], given.get("changes", {}))
    order = Order(
        site,
        select(site, given.get("limit", [])),
        Path(given["ssh_config"]),
        check=given.get("check", False),
        diff=given.get("diff", False),
        playbook=Path(given["playbook"]),
    )
    try:
        return run_harden(
            Invocation({"registry": given["registry"], "format": "json"}), order, Path(given["home"]), {}, 0
        )
    except GcloudPkError as error:
        sys.stdout.write(json.dumps({"error": error.as_dict()}))
        return int(error.code)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
