"""Every command line in the documents and in help texts names commands and options that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from globalprune.cli.app import COMMANDS, app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINE = re.compile(r"^(?:\$ | {4})(gp .*(?:\\\n.*)*)$", re.MULTILINE)
_IN_TEXT = re.compile(r"`(gp [a-z]+ [^`]*)`")


def options_of(command: str) -> set[str]:
    """What that command takes."""
    group: Any = typer.main.get_command(app)
    found = group.get_command(None, command)
    return {option for one in found.params for option in one.opts + one.secondary_opts}


def strange(line: str) -> list[str]:
    """The words of a command line that gp doesn't know, pipes and further commands apart."""
    found = []
    for part in re.split(r"&&|\|(?!\w)|;", line):
        words = re.sub(r"\"[^\"]*\"|\\\n| #.*", " ", part).split()
        if words[:1] != ["gp"] or len(words) < 2 or words[1].startswith("-"):
            continue
        if words[1] not in COMMANDS:
            found.append(words[1])
            continue
        known = options_of(words[1]) | {"--help"}
        said = [word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)]
        found += [word for word in said if word not in known]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_say_what_there_is(page: Path) -> None:
    """In blocks, and in the running text."""
    text = page.read_text("utf-8")
    lines = [*_LINE.findall(text), *_IN_TEXT.findall(text)]
    assert {line: strange(line) for line in lines if strange(line)} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_in_help_texts_work(command: str) -> None:
    """Each command shows one."""
    group: Any = typer.main.get_command(app)
    text = group.get_command(None, command).help
    example = re.search(r"Example: +(.*)", text)

    assert example is not None
    assert strange(example[1]) == []


def test_a_wrong_option_is_found() -> None:
    """Or this file proves nothing."""
    assert strange("gp plan DIR --ratios 0.1 && gp cut x") == ["--ratios", "cut"]
