"""What `gp apply` and `gp prune` say of what they made."""

from typing import TYPE_CHECKING

from globalprune.cli import console

if TYPE_CHECKING:
    from globalprune.artifacts.results.metrics import ApplyResult
    from globalprune.pipeline.cut_and_recover import Outcome


def show_outcome(outcome: "Outcome", *, as_json: bool) -> None:
    """Print it, and what is doubtful about it."""
    from globalprune.artifacts.evaluations.evaluation_files import all_warnings
    from globalprune.cli.eval_table import render
    from globalprune.cli.recovery_text import recovery_summary

    warnings = [said for said in outcome.result.warnings if said not in outcome.said]
    warnings += all_warnings(outcome.evaluation) if outcome.evaluation else []
    for warning in warnings:
        console.warn(warning)
    if as_json:
        console.print_json(outcome.document)
        return
    console.print_text(_cut_summary(outcome.result))
    if outcome.run:
        console.print_text(recovery_summary(outcome.run))
    if outcome.evaluation:
        console.print_text("\n" + render(outcome.evaluation))


def _cut_summary(result: "ApplyResult") -> str:
    """Say what was made of what, and how it loads."""
    from globalprune.artifacts.records import OWN_FOLDER

    before, after = result.parameters_before, result.parameters_after
    cut = f"{(before - after) / before:.2%} cut"
    removed = ", ".join(f"{count:,} {kind}" for kind, count in result.removed_groups.items())
    if result.dropped_layers:
        removed += f", layers {', '.join(map(str, result.dropped_layers))} whole"
    form = (
        "its layers differ in size: load it with trust_remote_code=True or globalprune.load_model"
        if result.uneven
        else "its layers are alike: it loads with transformers alone"
    )
    repaired = result.repaired_modules
    if repaired is not None:
        norm = ", the final norm refitted" if result.final_norm_refitted else ""
        removed += f"\ncompensated: {repaired} halves solved anew{norm}"
    saved = f", converted to {result.save_dtype}" if result.save_dtype else ""
    weights = f"weights: {result.bytes_before:,} → {result.bytes_after:,} bytes, whole files{saved}"
    return (
        f"{result.out}: {after:,} of {before:,} parameters left ({cut})\n"
        f"{weights}\n"
        f"removed groups: {removed}\n{form}\n"
        f"its plan and records are in {result.out}/{OWN_FOLDER}"
    )
