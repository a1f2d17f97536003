"""How much faster a cut model decodes in llama.cpp, beside the ideal: parameters before, by after.

    python benchmarks/llama_cpp_decode.py DENSE CUT WORK [--dtype f16] [--rounds 40] [--threads 1]

Exports both models to WORK in one number format, loads both at once, and lets them write in turns,
so that what slows the machine down slows both: only ratios within a round count, never seconds.
`--prompt` sets how much text lies before what is written; reading it is not timed.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import xllamacpp

from globalprune.evaluation.speed import rotated_order
from globalprune.export.exporter import ExportResult, export_gguf

MARGIN = 32  # tokens of context beyond what is asked


def main(
    dense: Path,
    cut: Path,
    work: Path,
    *,
    dtype: Annotated[str, typer.Option()] = "f16",
    rounds: Annotated[int, typer.Option()] = 40,
    prompt: Annotated[int, typer.Option()] = 32,
    decoded: Annotated[int, typer.Option()] = 16,
    threads: Annotated[int, typer.Option()] = 1,
) -> None:
    """Export, time in turns, and print the speed-up as JSON."""
    work.mkdir(parents=True, exist_ok=True)
    files = [
        export_gguf(str(model), work / f"{name}-{dtype}.gguf", dtype=dtype)
        for name, model in (("dense", dense), ("cut", cut))
    ]
    servers = [loaded(file.path, prompt + decoded + MARGIN, threads) for file in files]
    ids = [1000 + 7 * place for place in range(prompt)]  # ordinary words of any large vocabulary
    found = ideals(files) | speed_up(timed(servers, ids, decoded, rounds))
    print(json.dumps(found | {"share_of_ideal": found["speed_up"] / found["ideal"]}, indent=2))


def loaded(file: Path, context: int, threads: int) -> Any:
    """A file in llama.cpp, with its defaults but for what is asked."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.verbosity = 0
    parameters.fit_params = False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(parameters)


def timed(servers: Sequence[Any], ids: list[int], decoded: int, rounds: int) -> list[list[float]]:
    """Decoded tokens a second `[server][round]`; the round before them reads the prompt, once."""
    asked = {"prompt": ids, "n_predict": decoded, "temperature": 0, "ignore_eos": True}
    found: list[list[float]] = [[] for _ in servers]
    for number in range(-1, rounds):
        for place in rotated_order(number, len(servers)):
            answer = servers[place].handle_completions(asked | {"cache_prompt": True})
            if number >= 0:
                found[place].append(answer["timings"]["predicted_per_second"])
    return found


def ideals(files: Sequence[ExportResult]) -> dict[str, Any]:
    """What a speed-up could be if time went by parameters, or by bytes of the file."""
    before, after = files
    return {
        "forms": [file.architecture for file in files],
        "parameters": [file.parameters for file in files],
        "removed": 1 - after.parameters / before.parameters,
        "ideal": before.parameters / after.parameters,
        "ideal_by_bytes": before.bytes / after.bytes,
    }


def speed_up(rates: Sequence[Sequence[float]]) -> dict[str, float]:
    """The median of the rounds' own ratios, and the quartiles around it."""
    dense, cut = rates
    ratios = [new / old for new, old in zip(cut, dense, strict=True)]
    lower, median, upper = statistics.quantiles(ratios, n=4)
    return {"speed_up": median, "lower_quartile": lower, "upper_quartile": upper}


if __name__ == "__main__":
    typer.run(main)
