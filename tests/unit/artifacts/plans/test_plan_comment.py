"""Refreshing the figures of a plan that a person has written in."""

from pathlib import Path

import pytest

from globalprune.artifacts.plans.plan_comment import has_comments, refresh_header
from globalprune.artifacts.plans.plan_file import read_plan, write_plan
from globalprune.artifacts.plans.prune_plan import PrunePlan

OLD = ("as generated: removes 10", "leaves 90 parameters")
NEW = ("as edited: removes 20", "leaves 80 parameters")
LAST = "#   `gp check --write` refreshes these lines after an edit\n"
FRESH = f"# as edited: removes 20\n#   leaves 80 parameters\n{LAST}"
STALE = FRESH.replace("edited", "generated").replace("20", "10").replace("80", "90")
SCHEMA = "# yaml-language-server: $schema=./plan.v1.schema.json\n"
BODY = (
    "# mine: größer\t \n\nformat: globalprune.plan/1   # why\n"
    "layers:\n    #   leave layer 3\n  3:   {mlp: '1,   2'}\n# end without a newline"
)


def refreshed(path: Path, text: str) -> str:
    """The file's text after a refresh, without any translation of newlines."""
    path.write_bytes(text.encode())
    refresh_header(path, NEW)
    return path.read_bytes().decode()


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
@pytest.mark.parametrize("top", [SCHEMA, "", "# a licence\n" + SCHEMA, SCHEMA + "# mine\n"])
def test_only_the_figures_change(tmp_path: Path, top: str, mark: str, newline: str) -> None:
    """Comments, spacing, quotes, line endings and a byte order mark stay byte for byte."""
    before = mark + (top + STALE + BODY).replace("\n", newline)
    after = mark + (top + FRESH + BODY).replace("\n", newline)
    path = tmp_path / "plan.yaml"
    assert refreshed(path, before) == after
    assert refreshed(path, after) == after
    assert read_plan(path).layers.keys() == {3}


@pytest.mark.parametrize(
    "mine", ["#   my own, indented\n", "#\tmine\n", "# mine\n", "#\n"], ids=repr
)
def test_a_comment_right_below_the_figures_is_a_persons(tmp_path: Path, mine: str) -> None:
    """Even when it is indented as the figures are."""
    found = refreshed(tmp_path / "plan.yaml", SCHEMA + STALE + mine + BODY)
    assert found == SCHEMA + FRESH + mine + BODY


@pytest.mark.parametrize(
    "mine",
    ["# mine\n", "#mine\n", "  # mine\n", "#   mine\n", "#   leaves layer 3\n", "\n", "---\n"],
)
@pytest.mark.parametrize("at", range(5))
def test_a_comment_among_the_figures_is_a_persons(tmp_path: Path, mine: str, at: int) -> None:
    """It stays, and no old figure stays with it."""
    lines = [SCHEMA, *STALE.splitlines(keepends=True)]
    found = refreshed(tmp_path / "plan.yaml", "".join([*lines[:at], mine, *lines[at:]]) + BODY)
    above = (mine + SCHEMA, SCHEMA + mine)[at] if at < 2 else SCHEMA
    assert found == above + FRESH + (mine if at > 1 else "") + BODY


@pytest.mark.parametrize(
    ("text", "commented"),
    [
        ("source: o'neil/model\nlayers: {}  # don't\n", True),
        ("source: 'o''neil # 1'\nlayers: {}\n", False),
        ('source: "a \\" # 1"\nlayers: {"0":{mlp: "1,\n # 2"}}\n', False),
        ("source: model#1\nlayers: {}\n", False),
        ("source: [\"a\",'b']\nlayers: {} # 'mine'\n", True),
        ("# it's mine\nlayers: {}\n", True),
        (STALE, False),
        (STALE.replace("#   leaves", "#   mine\n#   leaves"), True),
    ],
)
def test_a_persons_comment_is_told_from_quoted_text(
    tmp_path: Path, text: str, *, commented: bool
) -> None:
    """An apostrophe in a name opens no quotes."""
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    assert has_comments(path) is commented


@pytest.mark.parametrize("top", [SCHEMA, ""], ids=["below the schema", "at the top"])
def test_figures_that_a_person_took_out_come_back(tmp_path: Path, top: str) -> None:
    """Where they were when the file was made."""
    assert refreshed(tmp_path / "plan.yaml", top + BODY) == top + FRESH + BODY


def test_what_gp_wrote_is_known_again(tmp_path: Path) -> None:
    """Written with the new figures or refreshed to them: the same file."""
    paths = [tmp_path / "written.yaml", tmp_path / "refreshed.yaml"]
    plan = PrunePlan.model_validate({"layers": {1: {"mlp": "0-3"}}})
    for path, header in zip(paths, (NEW, OLD), strict=True):
        write_plan(path, plan, header=header, overwrite=False)
    assert paths[0].read_bytes() != paths[1].read_bytes()
    refresh_header(paths[1], NEW)
    assert paths[0].read_bytes() == paths[1].read_bytes()
