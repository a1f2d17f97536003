"""A plan whose importance counts on compensation, applied as it wants and otherwise."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import gp

from globalprune.artifacts.plans.plan_file import read_plan
from globalprune.surgery.prepare import assumption_warnings, compensation_advice

Tiny = Callable[[str], Path]
WITHOUT = (
    "was made by obs, which counts what is lost behind compensation, and none is asked for; gp "
    "apply it with --compensate --data SRC, or plan by another importance."
)
EDITED = (
    "was edited, and obs counts what is lost along its own order; its figures no longer hold for "
    "the groups that were exchanged."
)


def written(
    folder: Path, *, edited: bool = False, assumes: str | None = "compensation", made: bool = True
) -> Path:
    """A plan as gp writes it, perhaps with a number that a person added."""
    path = folder / "plan.yaml"
    reference = {"path": ".", "table": f"sha256:{'0' * 64}", "importance": "obs"}
    if assumes is not None:
        reference["assumes"] = assumes
    told = ", ".join(f'{key}: "{value}"' for key, value in reference.items())
    head = "format: globalprune.plan/1\n" + (f"analysis: {{{told}}}\n" if made else "")
    path.write_text(head + 'layers:\n  1: {mlp: "3"}\n')
    digest = read_plan(path).decisions_digest()
    groups = "3-4" if edited else "3"
    path.write_text(f'{head}generated: "{digest}"\nlayers:\n  1: {{mlp: "{groups}"}}\n')
    return path


@pytest.mark.parametrize(
    ("edited", "compensating", "expected"),
    [
        (False, True, []),
        (False, False, [WITHOUT]),
        (True, True, [EDITED]),
        (True, False, [WITHOUT, EDITED]),
    ],
    ids=["as meant", "without", "edited", "both"],
)
def test_what_is_not_kept_to_is_told(
    tmp_path: Path, *, edited: bool, compensating: bool, expected: list[str]
) -> None:
    """One sentence each, with the importance's name and the way out."""
    plan = read_plan(written(tmp_path, edited=edited))
    assert list(assumption_warnings(plan, compensating=compensating)) == expected


@pytest.mark.parametrize("compensating", [True, False], ids=["compensated", "plain"])
@pytest.mark.parametrize("made", [True, False], ids=["another importance", "by hand"])
def test_a_plan_that_assumes_nothing_gives_no_warning(
    tmp_path: Path, *, made: bool, compensating: bool
) -> None:
    """Edited or not, compensated or not; one that a person wrote from nothing too."""
    plan = read_plan(written(tmp_path, edited=True, assumes=None, made=made))
    assert list(assumption_warnings(plan, compensating=compensating)) == []


@pytest.mark.parametrize("explain", [(), ("--explain",)], ids=["run", "explained"])
def test_the_command_warns_and_goes_on(
    tiny: Tiny, tmp_path: Path, explain: tuple[str, ...]
) -> None:
    """The plan is applied as it stands; the warning names its file."""
    plan = written(tmp_path)
    done = gp("apply", tiny("llama"), "--plan", plan, "-o", tmp_path / "out", *explain)
    assert done.code == 0, done.err
    assert f"warning: {plan}: {WITHOUT}" in done.err
    assert (tmp_path / "out").exists() == (not explain)


def test_a_cut_that_would_gain_by_compensation_is_told_so(tiny: Tiny, tmp_path: Path) -> None:
    """One line; none where it is compensated, assumes that anyway, or nothing is cut."""
    plan = written(tmp_path, assumes=None)
    said = gp("apply", tiny("llama"), "--plan", plan, "--explain").err
    empty = tmp_path / "empty.yaml"
    empty.write_text("format: globalprune.plan/1\nlayers: {}\n")

    assert said.startswith("note: the weights that stay are not compensated: --compensate")
    assert compensation_advice(read_plan(plan), compensating=True) is None
    assert compensation_advice(read_plan(empty), compensating=False) is None
    assert compensation_advice(read_plan(written(tmp_path)), compensating=False) is None
