"""Documents are true: their links resolve, their command lines parse, their words are in use."""

from __future__ import annotations

import re
import shlex
import textwrap
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from imagekit.cli.group import program
from imagekit.cli.main import COMMANDS
from imagekit.errors import ExitCode

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PRESENT = {name for name, (_, module, _, _) in COMMANDS.items() if find_spec(module)}
FENCE = re.compile(r"^```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^(?: {4}.*\n)+", re.MULTILINE)  # code too, in pages that do not fence it
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_blocks(page: Path) -> list[str]:
    text = page.read_text()
    return [*FENCE.findall(text), *map(textwrap.dedent, INDENTED.findall(FENCE.sub("", text)))]


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of the headings, and what may follow a # in a link to the page."""
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in
             HEADING.findall(FENCE.sub("", page.read_text())))
    return {re.sub(r"[^\w -]", "", heading).strip().replace(" ", "-") for heading in plain}


def command_lines(page: Path) -> list[str]:
    """Every line of a code block that calls imagekit, without prompt, comment and redirection."""
    lines = [line.removeprefix("$ ") for block in code_blocks(page)
             for line in block.replace("\\\n", " ").splitlines()]
    return [line.partition("  #")[0].partition(" > ")[0].partition(" | ")[0].strip() for line in lines
            if re.match(r"(\S*/)?imagekit(\s|$)", line)]


LINES = [(page, line) for page in PAGES for line in command_lines(page)]


def command_of(words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    command: click.Command = program
    ctx = click.Context(program, info_name="imagekit")
    words = words[1:]
    while isinstance(command, click.Group):
        below = command.get_command(ctx, words[0]) if words else None
        assert below is not None, f"no such command: {words[:1]}"
        command, words = below, words[1:]
        ctx = click.Context(command, info_name=command.name, parent=ctx)
    return command, ctx, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_inside_the_project_resolve(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        to = page.parent / target if target else page
        assert to.exists(), f"{name_of(page)} links to {target}"
        assert not anchor or anchor in anchors_of(to), f"{name_of(page)} links to {target}#{anchor}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        ahead += [(page.parent / target).resolve() for target, _ in LINK.findall(page.read_text())]
    assert {name_of(page) for page in PAGES} - {name_of(page) for page in seen} == set()


@pytest.mark.parametrize(("page", "line"), [(page, line) for page, line in LINES if line.split()[1] in PRESENT],
                         ids=lambda value: value if isinstance(value, str) else name_of(value))
def test_command_line_of_a_page_parses(page: Path, line: str) -> None:
    command, ctx, words = command_of(shlex.split(line))
    command.make_parser(ctx).parse_args(words)


def test_pages_name_real_tasks_of_bootstrap() -> None:
    tasks = set(re.findall(r"^@task.*?\ndef ([a-z]+)\(", (ROOT / "tasks.py").read_text(), re.MULTILINE | re.DOTALL))
    for page in PAGES:
        named = set(re.findall(r"(?:\./bootstrap|invoke) ([a-z]+)\b", "\n".join(code_blocks(page))))
        assert named <= tasks, name_of(page)


def test_readme_begins_with_the_two_commands() -> None:
    first = FENCE.findall((ROOT / "README.md").read_text())[0]
    assert [line.partition("#")[0].strip() for line in first.splitlines()] == ["./bootstrap demo", "./bootstrap test"]


def test_words_of_the_glossary_are_sorted_and_used() -> None:
    words = re.findall(r"^\| \*\*([^*]+)\*\*", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    assert [word.lower() for word in words] == sorted({word.lower() for word in words})
    text = "\n".join(path.read_text().lower() for folder in ("imagekit", "docs", "models", "gadgets", "packages")
                     for path in sorted((ROOT / folder).rglob("*"))
                     if path.suffix in {".py", ".md", ".yaml", ".sh"} and path.name != "glossary.md")
    text += (ROOT / "README.md").read_text().lower()
    flat = re.sub(r"[\s_-]+", "", text)
    assert [word for word in words if re.sub(r"[\s_-]+", "", word.lower()) not in flat] == []


def test_exit_codes_are_all_explained() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs/reference/exit-codes.md").read_text(), re.MULTILINE)
    assert [int(row) for row in rows] == sorted(ExitCode)


def test_folders_of_the_architecture_exist_and_are_complete() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`(imagekit/[a-z]+)`", text))
    there = {f"imagekit/{path.name}" for path in (ROOT / "imagekit").iterdir() if (path / "__init__.py").exists()}
    assert named == there - {"imagekit/testing"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_names_no_mirror_and_nothing_of_one_machine(page: Path) -> None:
    assert not re.search(r"(?:deb|ftp)\S*debian\S*org|(?<![\w$])/(root|work|opt)/", page.read_text())
