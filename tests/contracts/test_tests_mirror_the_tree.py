"""Unit tests stand where the module stands that they test, and are named after it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE, UNIT = ROOT / "globalprune", ROOT / "tests" / "unit"
OTHERS = {"benchmarks"}  # whose scripts have unit tests too
# no logic of their own (protocols, values, thin files of commands), or tested through a command:
# tests/end_to_end and tests/laws say what these do
WITHOUT = {
    "artifacts/evaluations/sweep",
    "artifacts/plans/plan_compliance",
    "artifacts/plans/plan_summary",
    "artifacts/stored_weights",
    "cli/commands/analyze",
    "cli/commands/apply",
    "cli/commands/check",
    "cli/commands/diff",
    "cli/commands/eval",
    "cli/commands/export",
    "cli/commands/finetune",
    "cli/commands/prune",
    "cli/commands/report",
    "cli/commands/show",
    "cli/commands/sweep",
    "cli/options",
    "models/checkpoints/open",
    "models/gated_decoder/form",
    "models/loading",
    "pipeline/sweep",
    "planning/diff",
    "planning/knapsack",
    "planning/knapsack_units",
    "planning/lagrangian",
    "planning/latency_budget",
    "progress",
    "report/blocks",
    "report/evaluation",
    "statistics/interface",
}


def modules_of(folder: Path) -> set[str]:
    """The names of the modules in the folder of the package that `folder` mirrors."""
    mirrored = PACKAGE / folder.relative_to(UNIT)
    return {path.stem for path in mirrored.glob("*.py")} - {"__init__"}


def test_every_unit_test_is_named_after_a_module() -> None:
    """`test_<module>.py`, or `test_<module>_<subject>.py` where a module has several files."""
    for path in UNIT.rglob("test_*.py"):
        if path.relative_to(UNIT).parts[0] in OTHERS:
            continue
        name = path.stem.removeprefix("test_")
        known = modules_of(path.parent)
        assert any(name == one or name.startswith(f"{one}_") for one in known), path


def test_every_module_with_logic_has_its_unit_tests() -> None:
    """What has none is named, with the reason; a module that has some is not named any more."""
    without = {
        str(path.relative_to(PACKAGE).with_suffix(""))
        for path in PACKAGE.rglob("*.py")
        if path.stem not in {"__init__", "__main__"}
        and not list((UNIT / path.relative_to(PACKAGE).parent).glob(f"test_{path.stem}*.py"))
    }
    assert without == WITHOUT
