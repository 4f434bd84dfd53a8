"""The modules of `playbooks/cluster.yml`, as tests import them."""

from __future__ import annotations

import sys

from tests.unit.node_modules import PLAYBOOKS  # first: it makes our shared code known as `ansible.module_utils.…`

# isort: split
from playbooks.library import (
    cluster_credentials,
    cluster_departure,
    cluster_images,
    cluster_invitation,
    cluster_member,
    cluster_objects,
    cluster_observation,
    cluster_programs,
    cluster_settled,
    cluster_shared_settings,
    cluster_standing,
    cluster_tokens,
)

cluster_node = sys.modules["ansible.module_utils.cluster_node"]
cluster_quorum = sys.modules["ansible.module_utils.cluster_quorum"]
cluster_etcd = sys.modules["ansible.module_utils.cluster_etcd"]
cluster_serving = sys.modules["ansible.module_utils.cluster_serving"]
cluster_store = sys.modules["ansible.module_utils.cluster_store"]

__all__ = [
    "PLAYBOOKS",
    "cluster_credentials",
    "cluster_departure",
    "cluster_etcd",
    "cluster_images",
    "cluster_invitation",
    "cluster_member",
    "cluster_node",
    "cluster_objects",
    "cluster_observation",
    "cluster_programs",
    "cluster_quorum",
    "cluster_serving",
    "cluster_settled",
    "cluster_shared_settings",
    "cluster_standing",
    "cluster_store",
    "cluster_tokens",
]
