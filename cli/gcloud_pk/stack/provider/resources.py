"""What each kind of resource does when it is made, changed, looked at and given up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, ClassVar

from gcloud_pk.errors import GcloudPkError, PartialError, RefusedError, UnavailableError
from gcloud_pk.model.base import Model
from gcloud_pk.model.site import Cluster, Host
from gcloud_pk.stack.credentials import due
from gcloud_pk.stack.provider.ground import Ground, Work, as_values
from gcloud_pk.stack.provider.inputs import (
    AddonsInputs,
    ControlPlaneInputs,
    HardenedNodeInputs,
    MachineInputs,
    MemberInputs,
)
from gcloud_pk.stack.provider.values import Secret
from gcloud_pk.stack.works import Observation, Outcome

Values = dict[str, Any]


class HalfDoneError(PartialError):
    """Something was written before it failed: the resource is there, and is gone on with. `outputs`: what is known."""

    def __init__(self, error: GcloudPkError, outputs: Values) -> None:
        super().__init__(error.message, details=error.details, resolution=error.resolution)
        self.outputs = outputs


class Resource:
    """One kind of resource. `fixed`: inputs that cannot change while it lives; `identity`: those that make another.

    `told`: outputs that only the deed itself can tell.
    """

    inputs: ClassVar[type[Model]]
    identity: ClassVar[frozenset[str]] = frozenset({"site", "name"})
    fixed: ClassVar[Mapping[str, str]] = {}
    told: ClassVar[tuple[str, ...]] = ()

    def id(self, inputs: Values) -> str:
        """Return the id: it follows from names, so that what was made and forgotten is found again."""
        return f"{inputs['site']}/{inputs['name']}"

    def replaces(self, path: str, old: Values, new: Values) -> bool:  # noqa: ARG002 - some kinds look at the values
        """Whether a changed input means that the old one goes and a new one comes."""
        return path in self.identity

    def forbidden(self, old: Values, new: Values) -> Iterator[tuple[str, str]]:
        """Yield inputs that may not change so, and why."""
        for name, why in self.fixed.items():
            if name in old and old[name] != new.get(name):
                yield name, why

    def create(self, ground: Ground, urn: str, inputs: Values) -> Values:
        """Make it, or adopt what is there; return its outputs."""
        raise NotImplementedError

    def update(self, ground: Ground, urn: str, known: Values, inputs: Values) -> Values:
        """Bring it to its inputs; return its outputs. `known`: the outputs that it had."""
        raise NotImplementedError

    def read(self, ground: Ground, urn: str, inputs: Values, outputs: Values) -> tuple[Values, Values] | None:
        """Return inputs and outputs as they are; None where it is gone."""
        raise NotImplementedError

    def delete(self, ground: Ground, urn: str, outputs: Values) -> None:
        """Give it up."""


def _require(outcome: Outcome, outputs: Values) -> None:
    """Raise what an outcome says: HalfDoneError where something was written, UnavailableError where nothing was."""
    if outcome.done:
        return
    error = UnavailableError(outcome.words or "it was not done", resolution=outcome.remedy or None)
    if outcome.written:
        raise HalfDoneError(error, outputs)
    raise error


def _host_of(ground: Ground, outputs: Values) -> Host:
    """Return the host that a resource was made for: the state knows it when the site does not any more."""
    return Host.model_validate(outputs["host"]) if "host" in outputs else ground.host(outputs["name"])


_RESTORED = "the cluster was restored from a snapshot, as the site file says"


class Machine(Resource):
    """A machine that is there, is the one meant, and lets us in."""

    inputs = MachineInputs
    identity = frozenset({"site", "name", "address", "machines"})

    def replaces(self, path: str, old: Values, new: Values) -> bool:
        """Another machine, unless one of its host keys is still among those of the site: then keys were changed."""
        if path == "hostKeys":
            return not set(old.get("hostKeys", ())) & set(new.get("hostKeys", ()))
        return super().replaces(path, old, new)

    def create(self, ground: Ground, urn: str, inputs: Values) -> Values:  # noqa: ARG002 - nothing is told of it
        """Reach it."""
        host = ground.host(inputs["name"])
        facts = ground.works.reach(ground.site, host)
        return {**inputs, "host": as_values(host), "facts": asdict(facts)}

    def update(self, ground: Ground, urn: str, known: Values, inputs: Values) -> Values:  # noqa: ARG002 - as create
        """Reach it anew."""
        return self.create(ground, urn, inputs)

    def read(self, ground: Ground, urn: str, inputs: Values, outputs: Values) -> tuple[Values, Values] | None:
        """Reach it; one that does not answer is not taken for gone."""
        try:
            facts = ground.works.reach(ground.site, _host_of(ground, outputs))
        except UnavailableError as error:
            ground.log(urn, error.message, True)
            return inputs, outputs
        return inputs, {**outputs, "facts": asdict(facts)}

    def delete(self, ground: Ground, urn: str, outputs: Values) -> None:  # noqa: ARG002 - as create
        """Give it back to its provider."""
        ground.works.release(ground.site, _host_of(ground, outputs))


class HardenedNode(Resource):
    """A machine that is at its baseline. Giving it up leaves the machine as it is: hardening is not undone."""

    inputs = HardenedNodeInputs
    identity = frozenset({"site", "name", "machine"})

    def create(self, ground: Ground, urn: str, inputs: Values) -> Values:
        """Harden it, with whatever other machines come at the same time."""
        host = ground.host(inputs["name"])
        outputs = {**inputs, "host": as_values(host)}
        _require(ground.harden.submit(host.name, Work(host, urn)), outputs)
        return outputs

    def update(self, ground: Ground, urn: str, known: Values, inputs: Values) -> Values:  # noqa: ARG002 - all is gone over
        """Harden it again: what is so already stays."""
        return self.create(ground, urn, inputs)

    def read(self, ground: Ground, urn: str, inputs: Values, outputs: Values) -> tuple[Values, Values] | None:
        """See what hardening would change: then its baseline is another than that of the program."""
        host = _host_of(ground, outputs)
        found = ground.deviations.submit(host.name, Work(host, urn))
        if found is None:
            ground.log(urn, "it could not be looked at: what is recorded stays", True)
        elif found:
            ground.log(urn, f"it is not at its baseline any more: {'; '.join(found[:5])}", True)
            changed = {"baseline": f"deviates in {len(found)}"}
            return {**inputs, **changed}, {**outputs, **changed}
        return inputs, outputs


class ControlPlane(Resource):
    """The API of a cluster, its authority and its credentials."""

    inputs = ControlPlaneInputs
    told = ("ca", "uid", "kubeconfigs")
    fixed: ClassVar[Mapping[str, str]] = {
        "networks": "the networks of a cluster that lives cannot be changed",
        "endpoint": "the endpoint of a cluster that lives cannot be changed: its certificates and nodes hold it",
    }

    def id(self, inputs: Values) -> str:
        """Return the id."""
        return f"{inputs['site']}/{inputs['cluster']}"

    def replaces(self, path: str, old: Values, new: Values) -> bool:  # noqa: ARG002 - never
        """Return False: a cluster is never replaced, because all that lives in it would go."""
        return False

    def forbidden(self, old: Values, new: Values) -> Iterator[tuple[str, str]]:
        """Yield what is fixed, and versions that kubeadm cannot go to in one step."""
        yield from super().forbidden(old, new)
        before, after = old.get("controlPlanes", ()), new.get("controlPlanes", ())
        if before and not set(before) & set(after):
            # Those that come would ask nobody who knows the cluster, and begin another one.
            why = f"none of the control planes that it has would stay ({', '.join(before)}); exchange them one by one"
            yield "controlPlanes", why
        if words := step_refusal(old.get("version", ""), new.get("version", "")):
            yield "version", words

    def create(self, ground: Ground, urn: str, inputs: Values) -> Values:
        """Make the cluster on the first control plane."""
        return self._bring(ground, urn, inputs, inputs["controlPlanes"][:1], {})

    def update(self, ground: Ground, urn: str, known: Values, inputs: Values) -> Values:
        """Bring the control planes that it has to its settings; others join by themselves."""
        names: list[str] = []
        try:
            seen = ground.observe(_cluster_of(ground, inputs), anew=True)
            names = [name for name in inputs["controlPlanes"] if seen.node(name)]
        except UnavailableError as error:
            ground.log(urn, error.message, False)  # never finished, or down: it is begun, or mended, at the first
        return self._bring(ground, urn, inputs, names or inputs["controlPlanes"][:1], known)

    def _bring(self, ground: Ground, urn: str, inputs: Values, names: list[str], known: Values) -> Values:
        """Do it on the control planes `names`. `known`: outputs; a cluster that has a UID is never begun anew."""
        cluster = _cluster_of(ground, inputs)
        uid = cluster.uid or known.get("uid")
        hosts = [ground.host(name) for name in names]
        outputs = {**inputs, "document": as_values(cluster)}
        with ground.flow.turn:
            ground.flow.check()
            company = [
                host
                for host in ground.site.spec.hosts_of(cluster)
                if host.name in ground.hardened and host.name not in names
            ]
            meant = cluster.model_copy(update={"uid": uid})
            outcome = ground.works.bootstrap(ground.site, meant, hosts, ground.tell({}, urn), company)
        _require(outcome, outputs)
        try:
            access = ground.works.access(ground.site, cluster)
            seen = ground.observe(cluster, anew=True)
            if uid and seen.uid != uid:
                said = "the site says" if cluster.uid else "it had"
                raise RefusedError(
                    f"the cluster that answers has the UID {seen.uid}; {said} {uid}",
                    resolution="it is another cluster: see what the endpoint leads to, or mend uid in the site file",
                )
        except GcloudPkError as error:
            raise HalfDoneError(error, outputs) from error
        return {**outputs, "ca": access.ca, "uid": seen.uid, "kubeconfigs": Secret(dict(access.kubeconfigs))}

    def read(self, ground: Ground, urn: str, inputs: Values, outputs: Values) -> tuple[Values, Values] | None:
        """Look at it; one that does not answer is not taken for gone."""
        outputs = sealed(outputs)
        try:
            seen = ground.observe(_cluster_of(ground, outputs))
        except UnavailableError as error:
            ground.log(urn, error.message, True)
            return inputs, outputs
        if _is_restored(ground, outputs, seen):
            ground.log(urn, _RESTORED, True)
            changed = {"roles": _RESTORED}
            return {**inputs, **changed}, {**outputs, **changed, "uid": seen.uid}
        if outputs.get("uid") and seen.uid != outputs["uid"]:
            ground.log(urn, f"another cluster answers: {seen.uid} instead of {outputs['uid']}", True)
        now = dt.datetime.now(dt.UTC)
        kept = outputs.get("kubeconfigs")
        old = [name for name, text in (kept.value if isinstance(kept, Secret) else {}).items() if due(text, now)]
        if old:
            ground.log(urn, f"credentials are due to be made anew: {', '.join(sorted(old))}", True)
            changed = {"roles": "credentials are due"}
            return {**inputs, **changed}, {**outputs, **changed}
        return inputs, outputs


def sealed(outputs: Values) -> Values:
    """Return outputs as they were read, with credentials marked as secret again."""
    found = outputs.get("kubeconfigs")
    return outputs if found is None else {**outputs, "kubeconfigs": Secret(found)}


def step_refusal(old: str, new: str) -> str | None:
    """Return why kubeadm cannot go from one version to another; None where it can.

    Source: Kubernetes documentation, "Upgrading kubeadm clusters": one minor version at a time, and never back.
    """
    try:
        before, after = ([int(part) for part in version.split(".")] for version in (old, new))
    except ValueError:
        return None
    if after < before:
        return f"the cluster is at {old}: Kubernetes does not go back to {new}"
    if after[0] != before[0] or after[1] - before[1] > 1:
        following = f"{before[0]}.{before[1] + 1}"
        return f"the cluster is at {old}: kubeadm goes up one minor version at a time, to {following} first"
    return None


def _cluster_of(ground: Ground, values: Values) -> Cluster:
    """Return the cluster: as the site has it, else as the state knew it."""
    found = ground.cluster(values["cluster"])
    if found is None and "document" in values:
        return Cluster.model_validate(values["document"])
    if found is None:
        raise UnavailableError(f"the site has no cluster {values['cluster']}", resolution="mend the site file")
    return found


def _is_restored(ground: Ground, outputs: Values, seen: Observation) -> bool:
    """Whether another cluster answers than was made here, and it is the one that the site file registers."""
    known = outputs.get("uid")
    return bool(known) and known != seen.uid == _cluster_of(ground, outputs).uid


class Member(Resource):
    """A node of a cluster. Giving it up: cordoned, drained, out of etcd and of the cluster, reset."""

    inputs = MemberInputs
    identity = frozenset({"site", "cluster", "name", "node", "role"})

    def create(self, ground: Ground, urn: str, inputs: Values) -> Values:
        """Have it join, with whatever other machines come at the same time."""
        host, cluster = ground.host(inputs["name"]), _cluster_of(ground, inputs)
        outputs = {**inputs, "host": as_values(host), "document": as_values(cluster)}
        _require(ground.join.submit((cluster.name, host.name), Work(host, urn, cluster)), outputs)
        return outputs

    def update(self, ground: Ground, urn: str, known: Values, inputs: Values) -> Values:  # noqa: ARG002 - all is gone over
        """Bring it to its settings in place."""
        return self.create(ground, urn, inputs)

    def read(self, ground: Ground, urn: str, inputs: Values, outputs: Values) -> tuple[Values, Values] | None:
        """Look whether the cluster has it."""
        try:
            seen = ground.observe(_cluster_of(ground, outputs))
        except UnavailableError as error:
            ground.log(urn, error.message, True)
            return inputs, outputs
        node = seen.node(inputs["name"])
        if node is None:
            return None
        if of := seen.drifted.get(inputs["name"]):
            ground.log(urn, f"settings were changed on the node itself: {', '.join(of)}", True)
            changed = {"roles": "settings were changed on the node"}
            return {**inputs, **changed}, {**outputs, **changed}
        if not node.ready:
            ground.log(urn, "it is not Ready", True)
        return inputs, outputs

    def delete(self, ground: Ground, urn: str, outputs: Values) -> None:
        """Have it leave. Raises RefusedError where etcd would lose its quorum."""
        host, cluster = _host_of(ground, outputs), _cluster_of(ground, outputs)
        outcome = ground.leave.submit((cluster.name, host.name), Work(host, urn, cluster))
        if not outcome.done:
            raise PartialError(outcome.words, resolution=outcome.remedy or None)


class Addons(Resource):
    """What all nodes of a cluster share: routes of the network plug-in, DNS. It goes with the cluster."""

    inputs = AddonsInputs
    told = ("etcdMembers", "uid")
    identity = frozenset({"site", "cluster"})

    def id(self, inputs: Values) -> str:
        """Return the id."""
        return f"{inputs['site']}/{inputs['cluster']}/addons"

    def create(self, ground: Ground, urn: str, inputs: Values) -> Values:
        """Put them in place, after the members that join at the same time."""
        cluster = _cluster_of(ground, inputs)
        first = ground.host(inputs["members"][0])
        _require(ground.addons.submit(cluster.name, Work(first, urn, cluster)), dict(inputs))
        seen = ground.observe(cluster, anew=True)
        members = sorted(one.name for one in seen.etcd if one.name in inputs["members"])
        return {**inputs, "etcdMembers": members, "uid": seen.uid}

    def update(self, ground: Ground, urn: str, known: Values, inputs: Values) -> Values:  # noqa: ARG002 - all is gone over
        """Put them in place anew."""
        return self.create(ground, urn, inputs)

    def read(self, ground: Ground, urn: str, inputs: Values, outputs: Values) -> tuple[Values, Values] | None:
        """Look at etcd's members; what does not answer is not taken for gone."""
        try:
            seen = ground.observe(_cluster_of(ground, outputs))
        except UnavailableError as error:
            ground.log(urn, error.message, True)
            return inputs, outputs
        members = sorted(one.name for one in seen.etcd if one.name in inputs.get("members", ()))
        found = {**outputs, "etcdMembers": members}
        if _is_restored(ground, outputs, seen):
            # Routes and what else was put in place rests on what the former API said of its nodes.
            changed = {"roles": _RESTORED}
            return {**inputs, **changed}, {**found, **changed, "uid": seen.uid}
        return inputs, found


KINDS: Mapping[str, Resource] = {
    "Machine": Machine(),
    "HardenedNode": HardenedNode(),
    "ControlPlane": ControlPlane(),
    "Member": Member(),
    "Addons": Addons(),
}
"""Every kind of resource, by the last word of its type."""
