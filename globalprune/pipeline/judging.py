"""Models judged in a row of phases: before the cut, behind it, and after finetuning."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from globalprune.artifacts.records import OWN_FOLDER
from globalprune.pipeline.cutting import Cutting

if TYPE_CHECKING:
    from globalprune.artifacts.evaluations.evaluation import Comparison


def judge_states(cutting: Cutting, evaluate: str, cut: Path, tuned: Path | None) -> "Comparison":
    """Judge by the same text, each by the name that a person knows it by."""
    states = {cutting.model: cutting.model}
    if tuned is None:
        states[str(cut)] = str(cutting.out)
    else:
        states |= {str(cut): f"{cutting.out}, cut only", str(tuned): str(cutting.out)}
    return judged(states, evaluate, cutting)


def judged(states: dict[str, str], evaluate: str, cutting: Cutting) -> "Comparison":
    """Judge models by where they lie, and name them as said."""
    from globalprune.evaluation.comparison import evaluate_models

    found = evaluate_models(
        list(states),
        evaluate,
        device=cutting.device,
        dtype=cutting.dtype,
        speed=None,
        command=cutting.command,
        progress=cutting.progress,
    )
    named = tuple(
        model.model_copy(update={"source": states[model.source]}) for model in found.models
    )
    return found.model_copy(update={"models": named})


def keep_evaluation(
    model: Path, evaluation: "Comparison | None", others: Sequence[Path], *, name: str
) -> str | None:
    """Put figures and other files beside the model's records, and write its card anew.

    Return what the licence wants of the name, if that is unmet.
    """
    from globalprune.artifacts.evaluations.evaluation_files import write_evaluation
    from globalprune.card.writing import write_card

    own = model / OWN_FOLDER
    if evaluation is not None:
        write_evaluation(own, evaluation)
    for path in others:
        if path.is_dir():
            shutil.copytree(path, own / path.name, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copyfile(path, own / path.name)
    # the licence was carried into the card that stands there
    return write_card(model, name=name, licence_from=model)
