"""The custom resources of `gcloudpk`, as a program of Pulumi declares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi


class _Resource(pulumi.CustomResource):
    """A resource of our provider. `outputs`: names of what the provider adds to the inputs."""

    outputs: tuple[str, ...] = ()

    def __init__(self, name: str, inputs: Mapping[str, Any], options: pulumi.ResourceOptions | None = None) -> None:
        known = {key: value for key, value in inputs.items() if value is not None}
        token = f"gcloudpk:index:{type(self).__name__}"
        super().__init__(token, name, {**known, **dict.fromkeys(self.outputs)}, options)


class Machine(_Resource):
    """A machine that is there, is the one meant, and lets us in."""


class HardenedNode(_Resource):
    """A machine at its baseline."""


class ControlPlane(_Resource):
    """The API of a cluster. Its credentials are secret."""

    outputs = ("ca", "uid", "kubeconfigs")
    ca: pulumi.Output[str]
    uid: pulumi.Output[str]
    kubeconfigs: pulumi.Output[dict[str, str]]


class Member(_Resource):
    """A node of a cluster."""


class Addons(_Resource):
    """What all nodes of a cluster share."""

    outputs = ("etcdMembers",)

    @property
    def etcd_members(self) -> pulumi.Output[list[str]]:
        """The members of etcd, once all that join have joined."""
        members: pulumi.Output[list[str]] = pulumi.Output.from_input(self.__dict__["etcdMembers"])
        return members
