"""The provider as Pulumi's engine speaks to it (pulumi/proto/provider.proto): messages in, deeds, messages out."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import grpc  # type: ignore[import-untyped] # it brings no types, as the one that follows
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)
from pydantic import ValidationError

from gcloud_pk import __version__
from gcloud_pk.errors import GcloudPkError
from gcloud_pk.model.site import Site
from gcloud_pk.stack.provider import difference, values
from gcloud_pk.stack.provider.batch import Flow
from gcloud_pk.stack.provider.ground import DISMANTLE, Ground, going
from gcloud_pk.stack.provider.resources import KINDS, HalfDoneError, Resource, Values, sealed
from gcloud_pk.stack.works import Works
from gcloud_pk.text import escape

THREADS = 256
"""Calls at the same time: most wait for their batch."""

PREVIEW = "GCLOUD_PK_PREVIEW"
"""In the environment, with any value: nothing is written to any machine, whatever the engine asks."""

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_MADE_OF = {"Machine": ("HardenedNode", "Member"), "HardenedNode": ("Member",)}
"""Kinds that are made of another, by its name."""

_KINDS_OF_DIFFERENCE = {
    ("add", False): "ADD",
    ("add", True): "ADD_REPLACE",
    ("delete", False): "DELETE",
    ("delete", True): "DELETE_REPLACE",
    ("update", False): "UPDATE",
    ("update", True): "UPDATE_REPLACE",
}


def _words(error: GcloudPkError) -> str:
    """Return an error as the lines that the engine shows: what, why, what to do."""
    lines = [error.message, *(f"  {detail}" for detail in error.details)]
    return "\n".join(escape(line) for line in lines + ([f"  → {error.resolution}"] if error.resolution else []))


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """One provider for one site. `works`: makes whatever does the work, once an event says when to stop."""

    def __init__(self, works: Callable[[threading.Event], Works], engine: str = "") -> None:
        self.flow = Flow()
        self._works = works(self.flow.halt)
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(engine, _OPTIONS)) if engine else None
        self._ground: Ground | None = None

    # --- the provider itself ---------------------------------------------------------------------------------------

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - names of the protocol
        """Say the version."""
        return plugin_pb2.PluginInfo(version=__version__)

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Take the address of an engine that did not start us (PULUMI_DEBUG_PROVIDERS)."""
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(request.address, _OPTIONS))
        self.flow.halt.clear()  # the one before said `Cancel` when it was done
        return empty_pb2.Empty()

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Say what we understand, before anything else."""
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Say that there is no schema: the components are written by hand."""
        return provider_pb2.GetSchemaResponse(schema=json.dumps({"name": "gcloudpk", "version": __version__}))

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Check that a site is given."""
        failures = []
        try:
            Site.model_validate_json(values.read(request.news).get("site", ""))
        except ValidationError as error:
            failures = [
                provider_pb2.CheckFailure(property=f"site.{'.'.join(map(str, one['loc']))}", reason=one["msg"])
                for one in error.errors(include_url=False, include_input=False)
            ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Say whether the site is another; resources are never replaced for it."""
        changed = difference.changes(values.read(request.old_inputs or request.olds), values.read(request.news))
        kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=kind, diffs=list(changed))

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take the site."""
        try:
            site = Site.model_validate_json(values.read(request.args)["site"])
        except (KeyError, ValidationError):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the provider is given no valid site")
        gone = going(site.metadata.name, os.environ.get(DISMANTLE, ""))
        self._ground = Ground(site, self._works, self.flow, self._log, dismantle="" in gone, going=gone)
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=False)

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Begin nothing new, and end what runs gently."""
        self.flow.halt.set()
        return empty_pb2.Empty()

    # --- resources -------------------------------------------------------------------------------------------------

    def Check(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Judge inputs, all that is wrong at once."""
        kind = _kind(request.urn)
        news = values.read(request.news)
        failures = [*_invalid(kind, news), *(kind.forbidden(values.read(request.olds), news) if request.olds else ())]
        return provider_pb2.CheckResponse(
            inputs=request.news,
            failures=[provider_pb2.CheckFailure(property=path, reason=why) for path, why in failures],
        )

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Compare inputs with inputs: nothing is asked of any machine."""
        kind = _kind(request.urn)
        old, new = values.read(request.old_inputs or request.olds), values.read(request.news)
        changed = difference.changes(old, new)
        if self._ground is not None and not changed and "name" in new:
            self._ground.settles(type(kind).__name__, new["name"])
        anew = {path for path in changed if kind.replaces(path.split(".")[0], old, new)}
        detailed = {
            path: provider_pb2.PropertyDiff(
                kind=provider_pb2.PropertyDiff.Kind.Value(_KINDS_OF_DIFFERENCE[how, path in anew]), inputDiff=True
            )
            for path, how in changed.items()
        }
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=sorted({path.split(".")[0] for path in anew}),
            diffs=sorted({path.split(".")[0] for path in changed}),
            detailedDiff=detailed,
            hasDetailedDiff=True,
            # The names of machines are their own: the old one leaves before the new one comes.
            deleteBeforeReplace=True,
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Make a resource."""
        kind, inputs = _kind(request.urn), values.read(request.properties)
        if request.preview:
            unknown = dict.fromkeys(kind.told, values.UNKNOWN)
            return provider_pb2.CreateResponse(properties=values.write({**inputs, **unknown}))
        with self._deed(context, kind, inputs, writes=True) as ground, _attended(ground, kind, inputs):
            outputs = kind.create(ground, request.urn, inputs)
            return provider_pb2.CreateResponse(id=kind.id(inputs), properties=values.write(outputs))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Change a resource."""
        kind, inputs = _kind(request.urn), values.read(request.news)
        before = sealed(values.read(request.olds))
        if request.preview:
            return provider_pb2.UpdateResponse(properties=values.write({**before, **inputs}))
        with self._deed(context, kind, inputs, before, writes=True) as ground, _attended(ground, kind, inputs):
            outputs = kind.update(ground, request.urn, before, inputs)
            return provider_pb2.UpdateResponse(properties=values.write(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Look at a resource."""
        kind = _kind(request.urn)
        inputs, outputs = values.read(request.inputs), values.read(request.properties)
        if not inputs:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "resources are not imported: `up` adopts what is there")
        with self._deed(context, kind, inputs) as ground:
            found = kind.read(ground, request.urn, inputs, outputs)
            if found is None:
                return provider_pb2.ReadResponse()
            return provider_pb2.ReadResponse(
                id=request.id, inputs=values.write(found[0]), properties=values.write(sealed(found[1]))
            )

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Give a resource up."""
        kind, outputs = _kind(request.urn), values.read(request.properties)
        with self._deed(context, kind, outputs, writes=True) as ground:
            kind.delete(ground, request.urn, outputs)
        return empty_pb2.Empty()

    # --- what they share -------------------------------------------------------------------------------------------

    @contextmanager
    def _deed(
        self, context: Any, kind: Resource, inputs: Values, before: Values | None = None, *, writes: bool = False
    ) -> Iterator[Ground]:
        """Count a call as under way, and turn errors into what the engine understands.

        `before`: outputs that stay known where a change is not done.
        """
        if self._ground is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the provider was not configured")
            return
        if self.flow.halt.is_set():
            context.abort(grpc.StatusCode.CANCELLED, "stopped before it began")
        if writes and os.environ.get(PREVIEW):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "a preview writes nothing")
        name = type(kind).__name__
        self.flow.enter(name)
        try:
            yield self._ground
        except HalfDoneError as error:
            _abort_half_done(context, kind.id(inputs), error, {**(before or {}), **error.outputs}, inputs)
        except GcloudPkError as error:
            context.abort(grpc.StatusCode.UNKNOWN, _words(error))
        finally:
            self.flow.leave(name)

    def _log(self, urn: str, line: str, stays: bool) -> None:
        """Tell the engine of progress, or of what a person should read afterwards."""
        if self._engine is None:
            return
        severity = engine_pb2.WARNING if stays else engine_pb2.INFO
        with suppress(grpc.RpcError):  # the engine may be gone
            self._engine.Log(
                engine_pb2.LogRequest(severity=severity, message=escape(line), urn=urn, ephemeral=not stays), timeout=5
            )


@contextmanager
def _attended(ground: Ground, kind: Resource, inputs: Values) -> Iterator[None]:
    """Let others who wait know that a resource is being made or changed, and that it is settled then."""
    which, name = type(kind).__name__, inputs.get("name", "")
    ground.comes(which, name)
    try:
        yield
    except BaseException:
        for one in _MADE_OF.get(which, ()):
            ground.settles(one, name)  # the engine passes over what is made of what failed
        raise
    finally:
        ground.settles(which, name)


def _kind(urn: str) -> Resource:
    """Return the kind of a resource by its URN: urn:pulumi:STACK::PROJECT::PARENTS$TYPE::NAME."""
    return KINDS[urn.split("::")[2].rpartition(":")[2]]


def _invalid(kind: Resource, news: Values) -> Iterator[tuple[str, str]]:
    """Yield each input that is not what it should be; what a preview does not know is taken for some text."""
    known = {name: value if values.known(value) else "unknown" for name, value in news.items()}
    try:
        kind.inputs.model_validate(known)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False, include_context=False):
            yield ".".join(str(part) for part in one["loc"]), one["msg"].removeprefix("Value error, ")


def _abort_half_done(context: Any, identity: str, error: HalfDoneError, outputs: Values, inputs: Values) -> NoReturn:
    """Answer that a resource is there and not done: the engine keeps it, and the next run updates it."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=identity,
        properties=values.write(outputs),
        reasons=[_words(error)],
        inputs=values.write(inputs),
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=_words(error))
    status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.UNKNOWN, _words(error))
    raise AssertionError("abort raises")


def serve(servicer: Servicer) -> tuple[Any, int]:
    """Serve on a port of loopback; return the server and the port."""
    server = grpc.server(ThreadPoolExecutor(THREADS, thread_name_prefix="call"), options=_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port
