"""Commands: kept by their arguments, spelled for a shell."""

import subprocess

import pytest
from pydantic import TypeAdapter

from globalprune.artifacts.records import Command, format_command, with_plan

ODD = (
    "gp",
    "my analysis/plan.yaml",
    "it's",
    "a\nb",
    "\x1b[31m",
    "-x",
    "<b>`id`\\n'",
    "",
    "é $HOME",
)


def test_a_spelled_command_is_one_harmless_line_that_a_shell_reads_alike() -> None:
    """Spaces, quotes, line breaks, escapes and markup."""
    line = format_command(ODD)
    read = subprocess.run(
        ["/bin/bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True
    ).stdout

    assert tuple(read.decode().split("\0")[:-1]) == ODD
    assert line.isprintable()
    assert not set("<`") & set(line)


def test_older_records_hold_the_text() -> None:
    """It is taken apart; bytes that are no text are spelled, since JSON has no place for them."""
    adapter: TypeAdapter[tuple[str, ...]] = TypeAdapter(Command)

    assert adapter.validate_python("gp apply 'my model' -o x") == (
        "gp",
        "apply",
        "my model",
        "-o",
        "x",
    )
    assert adapter.validate_python(["gp", "m\udcff\n"]) == ("gp", "m\\xff\n")
    assert adapter.validate_python("") == ()
    with pytest.raises(ValueError, match="No closing quotation"):
        adapter.validate_python("gp 'apply")


@pytest.mark.parametrize("words", [("--plan", "my x/plan.yaml"), ("--plan=my x/plan.yaml",)])
def test_the_plan_of_a_command_can_be_another(words: tuple[str, ...]) -> None:
    """However it was given, and whatever its path holds."""
    found = with_plan(("gp", "apply", "--planet", *words), "own/plan.yaml")

    assert found == ("gp", "apply", "--planet", "--plan", "own/plan.yaml")
