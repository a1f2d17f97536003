"""Tiny finetunings: their text, their settings, and a bar that stops them on the way."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from applying import applied
from cutting import Removals, groups_of
from text_files import (
    VOCABULARY,
    TokenizerMaker,
    numbered_text,
    tokenizer_with_bos,
    write_lines,
)
from tiny_models import random_ids, tiny_tokenizer

from globalprune.artifacts.results.finetuning import FinetuneRun, FinetuneSettings, LoraSettings
from globalprune.finetuning.finetuner import finetune_model
from globalprune.models.loading import load_model
from globalprune.models.prepared_model import PreparedModel
from globalprune.options import FinetuneOptions
from globalprune.progress import Item, Progress, Reporter
from globalprune.text.training import TrainingText, training_texts

IDS = random_ids(2, 9)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def small(**changes: Any) -> FinetuneSettings:
    """Settings of four steps that move the weights visibly; `lora=None` trains all of them."""
    facts: dict[str, Any] = {
        "samples": 16,
        "seq_len": 16,
        "learning_rate": 1e-2,
        "lora": LoraSettings(r=4, alpha=8, dropout=0.0),
    }
    settings = facts | changes
    method = "full" if settings["lora"] is None else "lora"
    return FinetuneSettings(method=method, **settings)


def write_text(folder: Path) -> Path:
    """A text of ten thousand tokens."""
    path = folder / "text.txt"
    path.write_text(numbered_text(2000), encoding="utf-8")
    return path


def write_chats(folder: Path, count: int = 60) -> Path:
    """Conversations of one question and one answer."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What follows {number}?"},
                {"role": "assistant", "content": f"It is {number + 1}."},
            ]
        }
        for number in range(count)
    ]
    return write_lines(folder / "chats.jsonl", rows)


def finetuned(
    model: Path, out: Path, settings: FinetuneSettings | None = None, **options: Any
) -> FinetuneRun:
    """Finetune on the CPU, on a text that is written beside `out` unless `data` is named."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if "data" not in options:
        options["data"] = [str(write_text(out.parent))]
    told = {name: options.pop(name) for name in ("progress", "warn", "command") if name in options}
    reporter = Reporter(**told)
    data = tuple(options.pop("data"))
    chosen = FinetuneOptions(settings or small(), data, device="cpu", **options)
    run = finetune_model(PreparedModel(model), out, chosen, reporter=reporter)
    assert run is not None
    return run


def stopping(before: int) -> Progress:
    """A bar that is interrupted, as by Ctrl-C, when step `before` (from 1) should begin."""

    def bar(items: Iterable[Item], *, total: int, label: str, unit: str) -> Iterator[Item]:
        del total, unit
        for number, item in enumerate(items, start=1):
            if label == "finetuning" and number == before:
                raise KeyboardInterrupt
            yield item

    return bar


def logits(model: Any) -> torch.Tensor:
    """What a model, or the model of a folder, says to `IDS`."""
    loaded: Any = load_model(model, dtype=torch.float32) if isinstance(model, Path) else model
    with torch.no_grad():
        found: torch.Tensor = loaded.eval()(IDS).logits
    return found


def losses(out: Path) -> list[float]:
    """The losses of a result's loss.csv."""
    lines = (out / "globalprune" / "loss.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    return [float(line.split(",")[column]) for line in lines[1:]]


def give_template(folder: Path, template: str) -> None:
    """Give the tokenizer in a folder a chat template."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def recorded(out: Path) -> dict[str, Any]:
    """recovery.json as it stands."""
    record: dict[str, Any] = json.loads((out / "globalprune" / "recovery.json").read_text())
    return record


def cut_unevenly(base: Path, folder: Path, family: str) -> Path:
    """Apply a plan after which the layers differ in size; return the folder of the result."""
    gone: Removals = {
        0: {"attention": range(groups_of(family, "attention"))},
        1: {"attention": [0], "mlp": [1, 5, 6]},
        3: {"mlp": range(groups_of(family, "mlp"))},
    }
    return Path(applied(base, folder, gone).out)


def training_windows(
    *sources: Path | str, samples: int = 8, make: TokenizerMaker = tiny_tokenizer, **options: Any
) -> Sequence[TrainingText]:
    """The windows of some sources."""
    options = {"seq_len": 32} | options
    return training_texts(
        [str(source) for source in sources], make, vocab_size=VOCABULARY, samples=samples, **options
    )


def chatty() -> Any:
    """The byte tokenizer with a chat template, which starts texts with BOS as Llama's does."""
    tokenizer = tokenizer_with_bos()
    tokenizer.chat_template = CHATML
    return tokenizer
