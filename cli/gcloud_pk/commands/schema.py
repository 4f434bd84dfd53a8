"""`gcloud-pk schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gcloud_pk.commands.base import Command, Invocation, pass_invocation
from gcloud_pk.errors import WrongUsageError

_KINDS = ("TenantRequest", "Site", "Organisations", "Settings", "State", "Waiver")


@click.command(cls=Command)
@click.argument("kind", required=False, type=click.Choice(_KINDS, case_sensitive=False))
@click.option("--output-dir", type=click.Path(path_type=Path, file_okay=False), help="Write one file for each kind.")
@pass_invocation
def schema(invocation: Invocation, kind: str | None, output_dir: Path | None) -> None:
    """Print the JSON Schema of a kind, or write those of all kinds to a folder.

    \b
    In an editor with the YAML language server, begin a request with:
    # yaml-language-server: $schema=.../schemas/tenant-request.schema.json
    """  # noqa: D301 - Click reads the backspace
    from gcloud_pk.model import schemas
    from gcloud_pk.registry import files

    console = invocation.console
    if output_dir is None:
        if kind is None:
            raise WrongUsageError(f"name a kind ({', '.join(_KINDS)}), or give --output-dir DIR")
        console.document(schemas.schema(kind))
        return
    written = []
    files.make_folder(output_dir)
    with files.locked(output_dir):
        for name in (kind,) if kind else _KINDS:
            path = output_dir / schemas.FILES[name]
            text = json.dumps(schemas.schema(name), indent=2, ensure_ascii=False) + "\n"
            files.write(path, text.encode(), root=output_dir)
            written.append(str(path))
    if console.machine:
        console.document({"files": written})
    for path_written in written:
        console.note(f"wrote {path_written}")
