"""What is said of a finetuning."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from globalprune.artifacts.results.finetuning import RecoveryRun


def recovery_summary(run: "RecoveryRun") -> str:
    """Say what was trained, and how the loss fell."""
    tokens = run.settings.epochs * sum(part.text.tokens for part in run.data)
    steps = f"{run.steps:,} step{'' if run.steps == 1 else 's'}"
    of = "text and teacher" if run.teacher else "the text"
    return (
        f"finetuned ({run.settings.method}): {steps} over {tokens:,} tokens, "
        f"{run.trained_parameters:,} parameters trained, {run.seconds:.0f} s\n"
        f"loss {run.first_loss:.3f} -> {run.last_loss:.3f} nats a token of {of} "
        "(first and last tenth of the steps; globalprune/loss.csv has all); gp eval tells what it "
        "brought"
    )
