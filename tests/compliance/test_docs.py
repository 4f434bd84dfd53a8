"""Documentation that cannot drift: what it says about commands is compared with the program."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.unit.command_line import parsed

from gcloud_pk.commands.reference import commands, reference
from gcloud_pk.main import NOUNS, cli

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "commands.md"
IGNORED = {".venv", ".hypothesis", ".pytest_cache", "node_modules"}
PAGES = sorted(p for p in ROOT.rglob("*.md") if not IGNORED & set(p.relative_to(ROOT).parts))
BY_HAND = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p != REFERENCE)]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_reference_is_current() -> None:
    assert REFERENCE.read_text() == reference(cli), (
        "run: .venv/bin/python -m gcloud_pk.commands.reference > docs/commands.md"
    )


def test_the_reference_is_what_the_module_prints() -> None:
    done = subprocess.run([sys.executable, "-m", "gcloud_pk.commands.reference"], capture_output=True, text=True)
    assert done.stdout == reference(cli)


def test_the_reference_has_every_command_with_every_option_of_its_own() -> None:
    sections = dict(re.findall(r"^##+ (gcloud-pk [^\n]+)\n(.*?)(?=^##+ |\Z)", reference(cli), re.MULTILINE | re.DOTALL))
    found = [(ctx, command) for ctx, command in commands(cli) if ctx.parent is not None]
    assert [ctx.command_path for ctx, _ in found] == list(sections)
    for ctx, command in found:
        for param in command.params:
            if isinstance(param, click.Option) and param.expose_value and not param.hidden:
                assert all(word in sections[ctx.command_path] for word in param.opts), (ctx.command_path, param.opts)
            if isinstance(param, click.Argument):
                assert param.make_metavar(ctx) in sections[ctx.command_path], (ctx.command_path, param.name)


def test_every_command_says_what_it_does() -> None:
    for ctx, command in commands(cli):
        assert command.help, f"{ctx.command_path} has no help"
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden and ctx.parent is not None:
                assert param.help or param.metavar, f"{ctx.command_path} {param.opts} has no help"


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_is_told_of_outside_the_reference_too(noun: str) -> None:
    assert any(re.search(rf"gcloud-pk {noun}\b", page.read_text()) for page in BY_HAND)


# A link, with its target up to an anchor; what has a scheme lies elsewhere.
LINK = re.compile(r"\[[^\]]*\]\((?!\w+:|#)([^)#\s]+)(?:#[^)\s]*)?(?: \"[^\"]*\")?\)")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()]
    assert broken == []


def command_lines(text: str) -> Iterator[str]:
    """Yield command lines of fenced blocks and of inline code; explanations that follow them are cut off."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        joined = re.sub(r"\s*\\\n\s*", " ", block)
        for line in joined.splitlines():
            found = re.match(r"\s*(?:\$ )?(gcloud-pk\b.*)", line)
            if found:
                yield re.split(r"\s{2,}|\s#\s", found[1])[0]
    yield from re.findall(r"(?<!`)`(gcloud-pk [^`\n]+)`", text)


def told() -> list[tuple[Path, str]]:
    return [(page, line) for page in PAGES if page != REFERENCE for line in command_lines(page.read_text())]


def test_there_are_command_lines_to_check() -> None:
    assert len(told()) > 10


@pytest.mark.parametrize(("page", "line"), told(), ids=lambda value: name(value) if isinstance(value, Path) else value)
def test_a_command_that_a_page_tells_of_is_one(page: Path, line: str) -> None:
    if (wrong := misuse(line)) is not None:
        pytest.fail(f"{name(page)}: {line}: {wrong}")


def misuse(line: str) -> str | None:
    """Return what is wrong with a command line."""
    words = [word for word in shlex.split(line)[1:] if word not in {"…", "..."}]
    if "|" in words:
        words = words[: words.index("|")]
    if not words or words[0].isupper():  # `gcloud-pk NOUN --help`
        return None
    try:
        parsed(words)
    except click.exceptions.NoArgsIsHelpError:
        return None  # the noun alone is talked about
    except click.exceptions.Exit:
        return None  # --help, --version
    except click.BadParameter as error:
        if isinstance(error.param, click.Option) and isinstance(
            error.param.type, click.Path | click.types.FloatParamType
        ):
            return None  # a stand-in such as DIR or SECONDS
        return error.format_message()
    except click.UsageError as error:
        return error.format_message()
    return None


@pytest.mark.parametrize(
    "line",
    [
        "gcloud-pk tenants list",
        "gcloud-pk tenant lst",
        "gcloud-pk tenant list --al",
        "gcloud-pk onboard --format xml moitt",
    ],
)
def test_the_check_of_command_lines_finds_what_is_none(line: str) -> None:
    assert misuse(line) is not None


def messages() -> list[tuple[str, str, str]]:
    """Return (file, noun, command) for every command of a noun that the program's own words name."""
    found = []
    for path in sorted((ROOT / "cli").rglob("*.py")):
        for noun, word in re.findall(r"gcloud-pk (\w+) ([a-z]+)\b", path.read_text()):
            if noun in NOUNS and isinstance(cli.get_command(click.Context(cli), noun), click.Group):
                found.append((name(path), noun, word))
    return sorted(set(found))


@pytest.mark.parametrize(("path", "noun", "word"), messages())
def test_a_command_that_a_message_recommends_is_one(path: str, noun: str, word: str) -> None:
    ctx = click.Context(cli)
    group = cli.get_command(ctx, noun)
    assert isinstance(group, click.Group)
    assert word in group.list_commands(ctx), f"{path} names gcloud-pk {noun} {word}"


ISOLATION = ROOT / "docs" / "isolation.md"


def claims() -> list[tuple[str, str]]:
    """Return (feature, our cell) of the table of peers."""
    rows = [line.strip("|").split("|") for line in ISOLATION.read_text().splitlines() if line.startswith("|")]
    (head,) = (i for i, row in enumerate(rows) if row[0].strip() == "Feature")
    return [(row[0].strip(), row[-1].strip()) for row in rows[head + 2 :]]


@pytest.mark.parametrize(("feature", "ours"), claims())
def test_a_yes_in_the_table_of_peers_links_to_the_test_that_shows_it(feature: str, ours: str) -> None:
    if ours == "N":
        return
    shown = re.findall(r"\]\((\S+) \"(test_\w+)\"\)", ours)
    assert ours.startswith("[Y]("), feature
    assert shown, feature
    for target, test in shown:
        assert f"def {test}(" in (ISOLATION.parent / target).read_text(), (feature, test)
