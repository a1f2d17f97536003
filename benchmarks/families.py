"""Try every text decoder of transformers, and say which are served, refused, or crash.

    python benchmarks/families.py RECORD.jsonl [--type NAME]… [--table]

Each type is proved from its class's own default config, as `gp` does when it meets it. Where it is
served, a tiny random checkpoint of it goes through analyze, plan and apply, with layers that differ
and compensation, and with layers alike; each result is loaded, generates and is evaluated.
One line of RECORD is one type; types that stand there are not tried again, so an interrupted run
goes on. `--table` prints the record for docs/families.md. Seconds are those of the proof.
"""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import typer
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import globalprune as gp
from globalprune.artifacts.plans.plan import Constraints
from globalprune.artifacts.results.cut import CompensationRequest
from globalprune.models.configs.config import read_config
from globalprune.models.discovery.description import FamilyDescription
from globalprune.models.discovery.families import family_of
from globalprune.models.discovery.sizes import SmallSizes
from globalprune.models.discovery.small_model import random_ids, random_model, small_config
from globalprune.models.loading import load_model
from globalprune.options import AnalyzeOptions, ApplyOptions, EvaluateOptions, PlanOptions

SIZES: Final = SmallSizes(32, 4, 2, 8, 24, 260)
WINDOWS: Final = 8
LENGTH: Final = 16
RATIO: Final = 0.1
QUERIES: Final = "num_attention_heads"
KEYS: Final = "num_key_value_heads"
HEAD_DIM: Final = "head_dim"
CUT: Final = ("served", "partly")
_DETAIL: Final = re.compile(r" \(.*|(?<=still has) [\d,]+|, so some.*")
_LAYER: Final = re.compile(r"^layer \d+")
NOT_TRIED: Final = "no default config"


def main(
    record: Annotated[Path, typer.Argument(help="JSON lines, one a type; read, then added to.")],
    types: Annotated[list[str] | None, typer.Option("--type", help="Only these.")] = None,
    table: Annotated[bool, typer.Option("--table", help="Print the record in Markdown.")] = False,
) -> None:
    """Try types that the record lacks."""
    torch.set_num_threads(1)
    done = {one["type"]: one for one in _read(record)}
    names = types or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    for name in () if table else names:
        if name not in done:
            done[name] = _try(name)
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[name]) + "\n")
            print(_row(done[name]), flush=True)
    if table:
        print("\n".join(_tables(list(done.values()))))
        return
    verdicts = [one["verdict"] for one in done.values()]
    print(", ".join(f"{verdicts.count(one)} {one}" for one in sorted(set(verdicts))))


def _try(name: str) -> dict[str, Any]:
    """Prove one type, and take a tiny model of it through every phase."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["GLOBALPRUNE_CACHE"] = f"{scratch}/cache"
        folder = Path(scratch)
        try:
            CONFIG_MAPPING[name]().save_pretrained(folder)
            config = read_config(folder / "config.json")
            config |= _usual_heads(config)
        except Exception as error:  # noqa: BLE001 - anything that a class raises by default
            return _result(name, NOT_TRIED, 0.0, _first_line(error))
        started = time.monotonic()
        try:
            family = family_of(config)
            verdict, text = "refused", family.reason or ""
            seconds = family.seconds
            if family.reason is None:
                _cut_twice(folder, config)
                verdict, text = _verdict(family)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            seconds = time.monotonic() - started
            verdict, text = "crash", f"{type(error).__name__}: {_first_line(error)}"
        return _result(name, verdict, seconds, text)


def _usual_heads(config: dict[str, Any]) -> dict[str, int]:
    """Return what every real config says, where the defaults of some classes build no model."""
    usual = {}
    if config.get(QUERIES) and config.get(KEYS) is None:
        usual[KEYS] = config[QUERIES]
    if config.get(QUERIES) and HEAD_DIM in config and config[HEAD_DIM] is None:
        usual[HEAD_DIM] = config["hidden_size"] // config[QUERIES]
    return usual


def _verdict(family: FamilyDescription) -> tuple[str, str]:
    """Return served or partly, with what of a type is cut and what isn't."""
    refused = [f"{kind}: {own.refused}" for kind, own in family.sublayers() if own.refused]
    cut = [kind for kind, own in family.sublayers() if own.refused is None]
    return ("partly" if refused else "served"), "; ".join([" and ".join(cut), *refused])


def _cut_twice(folder: Path, config: dict[str, Any]) -> None:
    """Take a tiny model through every phase, with layers that differ and with layers alike."""
    whole, analysis = folder / "whole", folder / "analysis"
    random_model(small_config(config, SIZES), seed=7).float().save_pretrained(whole)
    ids = random_ids(SIZES.vocab_size, 4 * WINDOWS, LENGTH, seed=8)
    text = folder / "ids.jsonl"
    text.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in ids.tolist()))
    gp.analyze(whole, analysis, AnalyzeOptions(data=str(text), samples=WINDOWS, ratio=RATIO))
    compensation = CompensationRequest(data=str(text), samples=WINDOWS)
    for uniform, request in ((False, compensation), (True, None)):
        out = folder / f"cut-{uniform}"
        options = PlanOptions(ratios=(RATIO,), constraints=Constraints(uniform=uniform))
        (written,) = gp.plan(analysis, options, folder / f"plan-{uniform}.yaml")
        gp.apply(whole, written.path, out, ApplyOptions(compensation=request))
        load: Any = load_model(str(out))
        load.generate(ids[:2], max_new_tokens=4, do_sample=False)
        gp.evaluate([whole, out], EvaluateOptions(data=str(text), samples=WINDOWS, speed=None))


def _tables(results: list[dict[str, Any]]) -> Iterator[str]:
    """Yield lines of Markdown: what is cut of each type, then the others by the reason."""
    cut = [one for one in results if one["verdict"] in CUT]
    by_text: dict[str, list[str]] = {}
    for one in results:
        if one["verdict"] in CUT:
            by_text.setdefault(one["text"], []).append(f"`{one['type']}`")
    yield f"| of {len(cut)} types what is cut | types |"
    yield "| --- | --- |"
    for text, names in sorted(by_text.items(), key=lambda item: -len(item[1])):
        yield f"| {text} | {', '.join(sorted(names))} |"
    reasons: dict[str, list[str]] = {}
    for one in results:
        if one["verdict"] not in CUT:
            text = _LAYER.sub("a layer", _DETAIL.sub("", one["text"]))
            reason = text if one["verdict"] == "refused" else f"{one['verdict']}: {text}"
            reasons.setdefault(reason, []).append(f"`{one['type']}`")
    yield f"\n| why {len(results) - len(cut)} types are not served | types |"
    yield "| --- | --- |"
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        yield f"| {reason.replace('|', '/')} | {', '.join(sorted(names))} |"


def _result(name: str, verdict: str, seconds: float, text: str) -> dict[str, Any]:
    return {"type": name, "verdict": verdict, "seconds": round(seconds, 1), "text": text}


def _row(one: dict[str, Any]) -> str:
    text = one["text"].replace("|", "\\|")
    return f"| `{one['type']}` | {one['verdict']} | {one['seconds']} | {text} |"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _read(record: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in record.read_text("utf-8").splitlines()]
        if record.exists()
        else []
    )


if __name__ == "__main__":
    typer.run(main)
