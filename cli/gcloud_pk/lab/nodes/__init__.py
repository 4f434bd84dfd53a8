"""Real Debian nodes on one machine: systemd-nspawn machines over racks, in network namespaces of their own."""

from __future__ import annotations

from pathlib import Path

from gcloud_pk.lab.nodes.layout import of_registry


def is_lab_registry(registry: Path) -> bool:
    """Whether a registry is a lab's own: it is written to without `--trust`, with a warning (architecture, Trust)."""
    return of_registry(registry) is not None


def ssh_config_for(registry: Path, site: str) -> Path | None:
    """Return the `ssh -F` file that reaches the hosts of `site`, where that is a lab's site in the lab's registry."""
    lab = of_registry(registry)
    return lab.ssh_config if lab is not None and site == lab.kind.site and lab.ssh_config.is_file() else None
