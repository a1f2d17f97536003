"""How our rows are spelled, and what they run."""

from pathlib import Path

import pytest
from contest import ours
from contest.measured_run import Cost

TEXT = ours.Text("valid.txt", 128, 256, 3)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Note the commands instead of running them."""
    noted: list[list[str]] = []

    def stand_in(command: list[str], log: Path) -> Cost:
        log.parent.mkdir(parents=True, exist_ok=True)
        noted.append(command[3:])
        return Cost(2.0, 10 if command[3] == "analyze" else 5)

    monkeypatch.setattr(ours, "run_measured", stand_in)
    return noted


def own(recipe: str) -> ours.Ours:
    """A row of ours."""
    found = ours.parse(recipe)
    assert found is not None
    return found


def test_names_come_apart() -> None:
    """What is no rule of ours is none of ours."""
    assert own("prune") == ours.Ours()
    assert own("prune:best") == ours.Ours(preset="best")
    assert own("analyze:fisher+compensate") == ours.Ours(
        importance="fisher", repair=("--compensate",)
    )
    steps = ("--compensate", "--gate-steps", "0")
    assert own("analyze:obs+outputs") == ours.Ours(importance="obs", repair=steps)
    assert own("global_taylor") == own("analyze:taylor")
    assert [ours.parse(name) for name in ("flap", "prune:", "analyze:", "plan:x")] == [None] * 4


def test_a_preset_is_one_command(tmp_path: Path, commands: list[list[str]]) -> None:
    """With the calibration that all recipes have."""
    folders = (tmp_path / "model", tmp_path / "analyses")

    ours.run(own("prune:fast"), "MODEL", 0.2, TEXT, folders)

    expected = "prune MODEL --ratio 0.2 --preset fast --data valid.txt --samples 128 --seq-len 256"
    assert [" ".join(command) for command in commands] == [
        f"{expected} --seed 3 -o {folders[0]}",
    ]


def test_all_ratios_share_an_analysis_and_each_row_counts_it(
    tmp_path: Path, commands: list[list[str]]
) -> None:
    """The second row, and the one that compensates, run no analysis, and cost as much."""
    analyses = tmp_path / "analyses"
    rows = [("analyze:fisher", 0.1), ("analyze:fisher", 0.2), ("analyze:fisher+compensate", 0.2)]

    costs = [
        ours.run(own(name), "MODEL", ratio, TEXT, (tmp_path / f"{place}" / "model", analyses))
        for place, (name, ratio) in enumerate(rows)
    ]

    assert [command[0] for command in commands] == ["analyze", *["plan", "apply"] * 3]
    assert costs == [Cost(6.0, 10)] * 3
    assert commands[0][:6] == [
        *("analyze", "MODEL", "-o", str(analyses / "fisher"), "--importance", "fisher")
    ]
    assert "--compensate" not in commands[4]
    assert commands[6][-9:] == ["--compensate", *TEXT.options()]


def test_the_page_shows_commands_as_a_person_would_type_them() -> None:
    """With the same options, in the words of the help."""
    shown = ours.spelled(own("analyze:obs+compensate"), "MODEL", 0.3, TEXT)

    words = "--data valid.txt --samples 128 --seq-len 256 --seed 3"
    assert shown == [
        f"gp analyze MODEL -o DIR --importance obs {words}",
        "gp plan DIR --ratio 0.3 -o PLAN",
        f"gp apply MODEL --plan PLAN -o OUT --compensate {words}",
    ]


def test_the_seeds_method_is_a_peer() -> None:
    """What globalprune began with is one of the rows to be beaten."""
    assert [ours.is_peer(name) for name in ("flap", "global_taylor", "prune", "analyze:wanda")] == [
        *(True, True, False, False)
    ]
