"""plan.yaml: what is written, what is never overwritten, and which model a plan belongs to."""

from pathlib import Path

import pytest
from artifact_values import FORMAT, layer_of, plan_at, structure_of

from globalprune.artifacts.json_schemas import PLAN_SCHEMA_FILE, schema_of
from globalprune.artifacts.plans.plan_file import read_plan, standing_plan, write_plan
from globalprune.artifacts.plans.prune_plan import PrunePlan
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
    ids=["index", "half", "pin", "switch", "digest"],
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
    """It may be a person's half-edited plan, or no plan at all."""
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
        standing_plan(tmp_path, overwrite=True)


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
