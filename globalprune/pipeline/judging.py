"""Models judged on the way: before the cut, behind it, and after finetuning."""

from typing import TYPE_CHECKING

from globalprune.artifacts.provenance import OWN_FOLDER
from globalprune.pipeline.cutting import Cutting

if TYPE_CHECKING:
    from globalprune.artifacts.evaluation_record import Comparison


def judged(states: dict[str, str], evaluate: str | None, cutting: Cutting) -> "Comparison | None":
    """Judge models by where they lie, and name them as a person knows them."""
    if evaluate is None:
        return None
    from globalprune.evaluate.comparison import evaluate_models

    found = evaluate_models(
        list(states), evaluate, speed=None, command=cutting.command, progress=cutting.progress
    )
    named = tuple(
        model.model_copy(update={"source": states[model.source]}) for model in found.models
    )
    return found.model_copy(update={"models": named})


def keep(evaluation: "Comparison", cutting: Cutting) -> None:
    """Put the figures beside the model's other records, and into its card."""
    from globalprune.artifacts.evaluation_files import write_evaluation
    from globalprune.card.writing import write_card

    out = cutting.out.expanduser()
    write_evaluation(out / OWN_FOLDER, evaluation)
    # the licence was carried into the card that stands there
    write_card(out, name=out.resolve().name, licence_from=out)
