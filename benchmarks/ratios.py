"""Perplexity and the attention : MLP split over ratios and importances, from one analysis.

    python benchmarks/ratios.py MODEL ANALYSIS WORK --data TEXT [--ratio R]… [--importance NAME]…

Every plan is applied for real and the written model judged, in one run; the table is Markdown.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

import globalprune
from globalprune.artifacts.analyses.analysis import read_analysis
from globalprune.options import ApplyOptions, EvaluateOptions, PlanOptions
from globalprune.planning.summary import shares_of
from globalprune.planning.write import write_plans

RATIOS = (0.1, 0.2, 0.3, 0.4)


def main(
    model: str,
    analysis: Path,
    work: Path,
    *,
    data: Annotated[str, typer.Option()],
    ratio: Annotated[list[float] | None, typer.Option()] = None,
    importance: Annotated[list[str] | None, typer.Option()] = None,
    seq_len: int = 512,
    stride: int = 12_000,
    samples: int = 10,
) -> None:
    """Print a row for the model itself, then one for every importance and ratio."""
    measured = read_analysis(analysis)
    options = EvaluateOptions(data, seq_len=seq_len, stride=stride, samples=samples, speed=None)
    dense = globalprune.evaluate([model], options).models[0]
    print("| importance | removed | perplexity | attention : MLP | layers dropped |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| none | 0 % | {dense.perplexity.value:.2f} | | |")
    for name in importance or measured.record.methods:
        plan_for = PlanOptions(tuple(ratio or RATIOS), importance=name, overwrite=True)
        plans = write_plans(measured, plan_for, work / name)
        for plan in plans:
            out = work / "model"
            result = globalprune.apply(model, plan.path, out, ApplyOptions(overwrite=True)).cut
            judged = globalprune.evaluate([out], options).models[0]
            effect = plan.effect
            share = 100 * shares_of(effect, measured.record.structure)["attention"]
            print(
                f"| {name} | {100 * result.ratio:.1f} % | {judged.perplexity.value:.2f} | "
                f"{share:.0f} : {100 - share:.0f} | {len(result.dropped_layers)} |",
                flush=True,
            )
            shutil.rmtree(out)


if __name__ == "__main__":
    typer.run(main)
