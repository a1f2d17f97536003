"""How much faster a cut model is, beside the ideal: the parameters before, by those after.

    python benchmarks/speed.py WORK [--ratio 0.3] [--rounds 7] [--dtype float32]

Makes a random Llama of Llama-3.2-1B's shape in WORK (5 GB), cuts `--ratio` of all its parameters
evenly from every layer by a plan, whole KV groups and MLP channels in the proportion of their
parameters, and times both side by side. `--hidden`, `--layers` and `--vocabulary` make a
smaller model.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import LlamaForCausalLM

import globalprune
from globalprune.artifacts.evaluations.evaluation import Comparison, SpeedSettings
from globalprune.artifacts.evaluations.evaluation_table import (
    SECONDS_UNIT,
    SPEEDS,
    evaluation_markdown,
    figure_rows,
)
from globalprune.artifacts.structure import ModelStructure
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model
from globalprune.options import ApplyOptions, EvaluateOptions

HEAD_DIM = 64
VOCABULARY = 128_256
WIDTH, LAYERS = 2048, 16  # Llama-3.2-1B's; its MLP is four times as wide as the model


def main(
    work: Path,
    *,
    ratio: Annotated[float, typer.Option()] = 0.3,
    hidden: Annotated[int, typer.Option()] = WIDTH,
    layers: Annotated[int, typer.Option()] = LAYERS,
    vocabulary: Annotated[int, typer.Option()] = VOCABULARY,
    rounds: Annotated[int, typer.Option()] = 7,
    prompt: Annotated[int, typer.Option()] = 256,
    decoded: Annotated[int, typer.Option()] = 32,
    dtype: Annotated[str | None, typer.Option()] = None,
) -> None:
    """Make, cut, time, and print the speed-ups as JSON and as Markdown."""
    model = work / f"llama-{hidden}x{layers}x{vocabulary}"
    if not (model / "config.json").is_file():
        make_model(model, hidden, layers, vocabulary)
    checkpoint = open_checkpoint(resolve_model(str(model)))
    structure = adapter_for(checkpoint.config).structure(checkpoint)
    plan = work / "plan.yaml"
    plan.write_text(even_plan(structure, ratio), encoding="utf-8")
    out = work / f"{model.name}-cut"
    globalprune.apply(model, plan, out, ApplyOptions(overwrite=True))
    text = work / "prompt.jsonl"
    ids = torch.randint(0, vocabulary, (prompt,), generator=torch.Generator().manual_seed(0))
    text.write_text(json.dumps({"input_ids": ids.tolist()}) + "\n", encoding="utf-8")
    asked = SpeedSettings(prompt_tokens=prompt, decoded_tokens=decoded, rounds=rounds)
    options = EvaluateOptions(str(text), dtype=dtype, speed=asked)
    found = globalprune.evaluate([model, out], options)
    print(json.dumps(speed_ups(found), indent=2))
    print(evaluation_markdown(found))


def make_model(folder: Path, hidden: int, layers: int, vocabulary: int) -> None:
    """Write a random model and a tokenizer that nobody will need."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD_DIM,
        num_key_value_heads=hidden // HEAD_DIM // 4,
        head_dim=HEAD_DIM,
        max_position_embeddings=131_072,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))  # noqa: S106 - a word
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)  # noqa: S106 - a word


def even_plan(structure: ModelStructure, ratio: float) -> str:
    """A plan that takes the same from every layer: nearest to `ratio` of both sublayers."""
    share = ratio * structure.parameters / structure.prunable
    if not 0 < share < 1:
        raise typer.BadParameter(f"{ratio} of all parameters is more than the layers hold.")
    layer = structure.layers[0]
    groups = int(share * layer.attention.groups)
    wanted = ratio * structure.parameters / len(structure.layers)
    channels = math.ceil((wanted - groups * layer.attention.cost) / layer.mlp.cost)
    sublayers = {"attention": _last(layer.attention.groups, groups)}
    sublayers["mlp"] = _last(layer.mlp.groups, channels)
    cut = ", ".join(
        f'{sublayer}: "{indices}"' for sublayer, indices in sublayers.items() if indices
    )
    lines = [f"  {index}: {{{cut}}}" for index in range(len(structure.layers))]
    return "\n".join(["format: globalprune.plan/1", "layers:", *lines]) + "\n"


def _last(count: int, gone: int) -> str:
    """The last of a sublayer's groups, as a plan spells them."""
    return f"{count - gone}-{count - 1}" if gone else ""


def speed_ups(found: Comparison) -> dict[str, Any]:
    """Speed-ups with their standard errors, beside the ideal."""
    before, after = (model.parameters for model in found.models)
    result: dict[str, Any] = {
        "parameters_before": before,
        "parameters_after": after,
        "removed": 1 - after / before,
        "ideal": before / after,
    }
    for row in figure_rows(found):
        cell = row.cells[1]
        if row.metric in SPEEDS and cell.difference is not None:
            ratio = 1 + cell.difference
            is_time = row.unit == SECONDS_UNIT  # less is faster
            result[row.metric] = {
                "speed_up": 1 / ratio if is_time else ratio,
                "standard_error": (cell.difference_error or 0) / (ratio**2 if is_time else 1),
            }
    return result


if __name__ == "__main__":
    typer.run(main)
