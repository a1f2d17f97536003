"""plan.yaml: what is written, what is never overwritten, and which model a plan belongs to."""

from pathlib import Path

import pytest
from artifact_values import FORMAT, layer_of, plan_at, structure_of

from globalprune.artifacts.own_files import schema_of
from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.plans.plan_file import (
    PLAN_SCHEMA_FILE,
    existing_plan,
    has_comments,
    read_plan,
    refresh_header,
    write_plan,
)
from globalprune.errors import PlanInvalid, PlanStale, UsageError

HEADER = ("as generated: removes 110 of 10,000 parameters", "leaves 9,890 parameters")
PLAN = PrunePlan.model_validate(
    {
        "model": {"source": "tiny", "structure": "sha256:ab"},
        "analysis": {"path": ".", "table": "sha256:cd", "importance": "fisher"},
        "target": {"ratio": 0.2},
        "pin": {7: {"attention": {"keep": "0"}, "mlp": {"width": 1024}}},
        "layers": {12: {"attention": "all", "mlp": "all"}, 0: {"mlp": "4, 17-31"}},
    }
)
GENERATED = PLAN.model_copy(update={"generated": PLAN.decisions_digest()})
NEXT = PrunePlan(layers={})
WRITTEN = f"""\
# yaml-language-server: $schema=./plan.v1.schema.json
# as generated: removes 110 of 10,000 parameters
#   leaves 9,890 parameters
#   `gp check --write` refreshes these lines after an edit
format: globalprune.plan/1
model:
  source: tiny
  structure: sha256:ab
analysis:
  path: .
  table: sha256:cd
  importance: fisher
target: {{ratio: 0.2}}
pin:
  7: {{attention: {{keep: "0"}}, mlp: {{width: 1024}}}}
generated: {GENERATED.generated}
remove_empty_layers: true
layers:
  0: {{mlp: "4, 17-31"}}
  12: {{attention: all, mlp: all}}
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Give a plan as gp wrote it."""
    path = tmp_path / "plan.yaml"
    write_plan(path, GENERATED, header=HEADER, overwrite=False)
    return path


def test_a_plan_is_written_as_a_person_would(written: Path) -> None:
    """Figures as comments, a layer a line, `layers` last."""
    assert written.read_text() == WRITTEN
    assert sorted(path.name for path in written.parent.iterdir()) == sorted(
        ["plan.yaml", PLAN_SCHEMA_FILE]
    )


def test_what_is_written_has_not_been_edited(written: Path) -> None:
    """And says exactly what it was asked to say."""
    plan = read_plan(written)
    assert plan == GENERATED
    assert not plan.edited


def test_an_empty_plan_is_said_out_loud(tmp_path: Path) -> None:
    """`layers: {}`, since a file without layers is refused."""
    path = tmp_path / "plan.yaml"
    write_plan(path, NEXT, header=HEADER, overwrite=False)
    assert path.read_text().endswith("remove_empty_layers: true\nlayers: {}\n")
    assert read_plan(path) == NEXT


def test_long_lists_are_folded(tmp_path: Path) -> None:
    """No line of a plan is wider than a screen, and reading joins them again."""
    scattered = ", ".join(map(str, range(1000, 1500, 2)))
    plan = PrunePlan.model_validate({"layers": {0: {"mlp": scattered}}})
    path = tmp_path / "plan.yaml"
    write_plan(path, plan, header=HEADER, overwrite=False)
    assert max(map(len, path.read_text().splitlines())) <= 104
    assert read_plan(path) == plan


def test_the_schema_lies_beside_the_plan_and_is_kept_current(written: Path) -> None:
    """An older one is replaced, whatever becomes of the plan."""
    schema = written.with_name(PLAN_SCHEMA_FILE)
    current = schema.read_text()
    assert f'"title": "{schema_of(PLAN_SCHEMA_FILE)["title"]}"' in current
    schema.write_text("{}")
    write_plan(written, GENERATED, header=HEADER, overwrite=False)
    assert schema.read_text() == current


@pytest.mark.parametrize(
    "edit",
    [
        ("17-31", "17-30"),
        ("12: {attention: all, mlp: all}", "12: {attention: all}"),
        ("width: 1024", "width: 1000"),
        ("remove_empty_layers: true", "remove_empty_layers: false"),
        ("generated: ", "# generated: "),
    ],
    ids=["index", "sublayer", "pin", "switch", "digest"],
)
def test_an_edited_plan_is_not_overwritten(written: Path, edit: tuple[str, str]) -> None:
    """The edit is seen without the table; only the option replaces the file."""
    text = written.read_text().replace(*edit)
    written.write_text(text)
    with pytest.raises(
        UsageError,
        match=r"plan\.yaml: was edited by hand since gp plan wrote it; choose another name, or say "
        r"--overwrite",
    ):
        write_plan(written, NEXT, header=HEADER, overwrite=False)
    assert written.read_text() == text
    write_plan(written, NEXT, header=HEADER, overwrite=True)
    assert read_plan(written) == NEXT


def test_an_untouched_plan_is_replaced(written: Path) -> None:
    """Trying another ratio is not worth a question; another spelling is no edit."""
    text = written.read_text()
    written.write_text(text.replace('"4, 17-31"', "'31, 17-30,4'"))
    write_plan(written, NEXT, header=HEADER, overwrite=False)
    assert read_plan(written) == NEXT


@pytest.mark.parametrize(
    "content", ["dear diary\n", FORMAT + "\n", "format: globalprune.plan/9\n"], ids=repr
)
def test_what_cannot_be_read_is_not_overwritten(tmp_path: Path, content: str) -> None:
    """It may be a person's sublayer-edited plan, or no plan at all."""
    path = tmp_path / "plan.yaml"
    path.write_text(content)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"no plan that can be read, so it isn't replaced"):
            write_plan(path, NEXT, header=HEADER, overwrite=overwrite)
    assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_no_plan(tmp_path: Path) -> None:
    """Not even with the option."""
    with pytest.raises(
        UsageError, match=r"is a folder, where a file should be written; name a file"
    ):
        existing_plan(tmp_path, overwrite=True)


def test_a_plan_of_another_structure_is_stale(tmp_path: Path) -> None:
    """Said instead of every index that doesn't exist there, with both fingerprints."""
    made_for, other = structure_of(), structure_of(layer_of(mlp=8))
    model = f'model: {{source: tiny, structure: "{made_for.fingerprint}"}}'
    path = plan_at(tmp_path / "plan.yaml", model, "layers: {3: {mlp: 20}}")
    assert read_plan(path, made_for).layers.keys() == {3}
    with pytest.raises(
        PlanStale,
        match=rf"structure is {made_for.fingerprint}; this one has {other.fingerprint}. Use",
    ):
        read_plan(path, other)


def test_a_plan_that_leaves_no_layer_is_refused(tmp_path: Path) -> None:
    """Whether empty layers stay or not, and however all groups are spelled; any one may stay."""
    layers = ["layers:", *(f"  {n}: {{attention: all, mlp: 0-23}}" for n in range(3))]
    last = "  3: {attention: 0-3, mlp: all}"
    path = tmp_path / "plan.yaml"
    for switch in ("true", "false"):
        plan_at(path, f"remove_empty_layers: {switch}", *layers, last)
        assert len(read_plan(path).layers) == 4
        with pytest.raises(PlanInvalid, match=r"line 3: layers: the plan leaves no layer: every"):
            read_plan(path, structure_of())
    plan_at(path, *layers, last.replace("all", "1-23"))
    assert read_plan(path, structure_of())


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
