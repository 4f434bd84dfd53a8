"""The command line of labs, as tests call it."""

from __future__ import annotations

import json

from click.testing import CliRunner


def run(*arguments: str) -> tuple[int, dict[str, object], str]:
    """Return the exit code, the JSON document and what was said beside."""
    from gcloud_pk.main import main

    runner = CliRunner()
    with runner.isolation() as (out, err, _):
        code = main(["--format", "json", *arguments])
        return int(code), json.loads(out.getvalue() or b"{}"), err.getvalue().decode()
