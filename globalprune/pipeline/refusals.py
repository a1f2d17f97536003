"""What later phases would refuse, said before the first begins."""

import os
from pathlib import Path

from globalprune.errors import UsageError
from globalprune.pipeline.cutting import Cutting
from globalprune.pipeline.recovery import Recovery
from globalprune.text.mixture import parse_mixture
from globalprune.text.source import parse_source


def refuse_early(
    cutting: Cutting, plan: Path, recovery: Recovery | None, evaluate: str | None
) -> None:
    """Raise what applying, finetuning or judging would raise for the same; nothing is written."""
    from globalprune.apply.executor import check_apply

    refuse_later_phases(cutting, recovery, evaluate)
    check_apply(
        cutting.model, plan, cutting.out, analysis=cutting.analysis, overwrite=cutting.overwrite
    )


def refuse_later_phases(cutting: Cutting, recovery: Recovery | None, evaluate: str | None) -> None:
    """Raise for text that isn't there, and for a device that can't be trained on."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "phases in a row run in one process; start the launcher with gp finetune, behind gp "
            "apply."
        )
    if recovery is not None:
        from globalprune.recover.precision import choose_arithmetic

        parse_mixture(recovery.data)
        choose_arithmetic(cutting.device, cutting.dtype, recovery.settings.method)
    if evaluate is not None:
        parse_source(evaluate)
