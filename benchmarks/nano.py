"""Train a nano model of a family on public text at hand, so that quality means something.

    python benchmarks/nano.py gemma3 WORK/gemma3 [--steps 2000] [--seed 0] [--threads 2]
    python benchmarks/nano.py llama WORK/llama --data text.txt

A random model has nothing to lose, and few families have a real checkpoint that fits into a test.
This trains 2 to 6 million parameters on what every Python carries, the manual's topics and the
sources of the standard library with their docstrings, and on `--data`, a text file. OUT receives

- `model`: a checkpoint as any other, with a BPE tokenizer trained on the same text;
- `calibration.txt` and `heldout.txt`: documents of the same kind that training never saw, to
  measure a model with and to judge it by;
- `nano.json`: how it was trained, and the loss along the way and on the held-out text.

The same Python, seed, steps and threads give the same model. `SHAPES` holds the families.
"""

import json
import math
import random
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pydoc_data.topics import topics
from typing import Annotated, Any

import torch
import typer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

VOCABULARY = 4096
END = "</s>"
JUDGED_WINDOWS = 64
PARTS = ("training", "calibration", "heldout")
_COMMON: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": None,
}
_SLIDING, _FULL = "sliding_attention", "full_attention"
SHAPES: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    # norms behind both sublayers, a single KV head, windows in all layers but every fourth
    "gemma3": (
        Gemma3TextConfig,
        {
            "num_key_value_heads": 1,
            "intermediate_size": 576,
            "sliding_window": 64,
            "layer_types": [_SLIDING, _SLIDING, _SLIDING, _FULL] * 2,
        },
    ),
    "llama": (
        LlamaConfig,
        {
            "num_attention_heads": 6,
            "head_dim": 32,
            "num_key_value_heads": 2,
            "intermediate_size": 512,
        },
    ),
}
_NO_PROSE = ("test", "tests", "idle_test", "encodings", "pydoc_data", "site-packages")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a nano model is trained."""

    steps: int = 2000
    batch: int = 4
    length: int = 256
    learning_rate: float = 2e-3
    warmup: int = 50
    weight_decay: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Texts:
    """Documents to train on, to measure with, and to judge by."""

    training: tuple[str, ...]
    calibration: tuple[str, ...]
    heldout: tuple[str, ...]


def main(
    shape: Annotated[str, typer.Argument(help=f"one of {', '.join(SHAPES)}")],
    out: Path,
    *,
    data: Annotated[list[Path] | None, typer.Option()] = None,
    steps: Annotated[int, typer.Option()] = Training.steps,
    seed: Annotated[int, typer.Option()] = 0,
    threads: Annotated[int, typer.Option()] = 2,
) -> None:
    """Train one nano model and print its held-out perplexity."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape} is not a shape; known are {', '.join(SHAPES)}.")
    torch.set_num_threads(threads)
    texts = split_texts([*python_documents(), *file_documents(data or ())], seed)
    print(json.dumps(make_nano(shape, out, texts, Training(steps=steps, seed=seed)), indent=2))


def make_nano(
    shape: str, out: Path, texts: Texts, training: Training, **overrides: Any
) -> dict[str, Any]:
    """Train a model of `shape` and write all of OUT; return the record of `nano.json`."""
    started = time.monotonic()
    tokenizer = trained_tokenizer(texts.training, overrides.get("vocab_size", VOCABULARY))
    torch.manual_seed(training.seed)
    config_class, own = SHAPES[shape]
    config = config_class(**{**_COMMON, **own, "vocab_size": len(tokenizer), **overrides})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    curve = train(model, token_windows(texts.training, tokenizer, training.length), training)
    judged = token_windows(texts.heldout, tokenizer, training.length)[:JUDGED_WINDOWS]
    nats = mean_loss(model, judged, training.batch)
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    record = {
        "shape": shape,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": training.steps,
        "tokens": training.steps * training.batch * training.length,
        "seed": training.seed,
        "text": {name: _described(getattr(texts, name)) for name in PARTS},
        "losses": curve,
        "heldout_nats": nats,
        "heldout_perplexity": math.exp(nats),
        "seconds": round(time.monotonic() - started),
    }
    (out / "nano.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for name in PARTS[1:]:
        joined = "\n\n".join(getattr(texts, name))
        (out / f"{name}.txt").write_text(joined, encoding="utf-8")
    return record


def python_documents() -> Iterator[str]:
    """The manual's topics, then the modules of the standard library, tests and tables left out."""
    yield from (topics[name] for name in sorted(topics))
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        if not set(path.relative_to(library).parts) & set(_NO_PROSE):
            yield path.read_text(encoding="utf-8", errors="replace")


def file_documents(paths: Sequence[Path], characters: int = 10_000) -> Iterator[str]:
    """Pieces of text files, long enough to be documents, so that some can be held out."""
    for path in paths:
        text = path.read_text(encoding="utf-8")
        yield from (text[at : at + characters] for at in range(0, len(text), characters))


def split_texts(documents: Sequence[str], seed: int, share: float = 0.05) -> Texts:
    """Hold out a seeded `share` of the documents for measuring, and as many for judging."""
    shuffled = [document for document in documents if document.strip()]
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - not a secret
    kept = max(1, round(share * len(shuffled)))
    return Texts(
        tuple(shuffled[2 * kept :]), tuple(shuffled[:kept]), tuple(shuffled[kept : 2 * kept])
    )


def trained_tokenizer(documents: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer whose only special token ends a document."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def token_windows(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerFast, length: int
) -> torch.Tensor:
    """The documents joined by the end token, in windows `[windows, length]`."""
    backend = tokenizer.backend_tokenizer
    ids = [
        token
        for encoding in backend.encode_batch(list(documents))
        for token in (*encoding.ids, tokenizer.eos_token_id)
    ]
    return torch.tensor(ids[: len(ids) // length * length]).reshape(-1, length)


def train(
    model: PreTrainedModel, windows: torch.Tensor, training: Training
) -> list[tuple[int, float]]:
    """Train with AdamW, a warm-up and a cosine; return the loss every hundred steps."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    parts: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": vectors},
    ]
    optimizer = torch.optim.AdamW(
        parts,
        lr=training.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, training))
    generator = torch.Generator().manual_seed(training.seed)
    order = _epochs(len(windows), training.steps * training.batch, generator)
    curve, recent = [], []
    model.train()
    for step, chosen in enumerate(torch.split(order, training.batch), start=1):
        loss = _loss(model, windows[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if step % 100 == 0 or step == training.steps:
            curve.append((step, sum(recent) / len(recent)))
            recent.clear()
            typer.echo(f"step {step} of {training.steps}: {curve[-1][1]:.3f} nats", err=True)
    model.eval()
    return curve


@torch.no_grad()
def mean_loss(model: PreTrainedModel, windows: torch.Tensor, batch: int) -> float:
    """The mean next-token loss on windows of one length."""
    sums = [_loss(model, part).item() * len(part) for part in torch.split(windows, batch)]
    return sum(sums) / len(windows)


def _loss(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _rate(step: int, training: Training) -> float:
    """The share of the learning rate: up from 0, then down to a tenth by a cosine."""
    if step < training.warmup:
        return (step + 1) / training.warmup
    share = (step - training.warmup) / max(1, training.steps - training.warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * share))


def _epochs(count: int, wanted: int, generator: torch.Generator) -> torch.Tensor:
    """Indices of windows: each once before any comes again."""
    rounds = [torch.randperm(count, generator=generator) for _ in range(-(-wanted // count))]
    return torch.cat(rounds)[:wanted]


def _described(documents: Sequence[str]) -> dict[str, Any]:
    joined = "\n\n".join(documents).encode()
    return {"documents": len(documents), "bytes": len(joined), "sha256": sha256(joined).hexdigest()}


if __name__ == "__main__":
    typer.run(main)
