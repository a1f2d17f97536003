"""Damaged files put to `gp`: each command answers, or refuses with a message that names the file.

One folder holds a model and everything that gp makes of it. A case damages one file there, runs one
command on it in this process, and puts the file back.
"""

import resource
import signal
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Final
from unittest import mock

from command_line import Said, gp
from export_models import export_folder, save_cut
from mutation import mutators
from mutation.mutators import Mutator
from peft import LoraConfig, get_peft_model
from tiny_models import save_tiny
from transformers import AutoModelForCausalLM

from globalprune.models.quiet import quiet_peft

SECONDS: Final = 20  # that a command may take, on a machine where others work too
MEMORY: Final = 6 * 2**30  # bytes of address space beyond what the process has when it begins
_TEXT: Final = ("--data", "text.txt", "--samples", "2", "--seq-len", "16")
_LOOK: Final = ("check", "show", "diff", "explain")


@dataclass(frozen=True)
class Target:
    """A file to be damaged, how, and the commands that read it."""

    file: str
    mutate: Mutator
    commands: tuple[tuple[str, ...], ...]
    weight: int = 1
    places: tuple[str, ...] = ()  # besides the file and its folder, what a message may name


@dataclass(frozen=True)
class Failure:
    """A case that ended otherwise than it may."""

    number: int
    file: str
    command: tuple[str, ...]
    what: str


class TooSlowError(BaseException):
    """A command went on and on."""


def _model(folder: str, *, plan: str = "a/plan.yaml") -> tuple[tuple[str, ...], ...]:
    """Commands that open a model."""
    return (
        ("check", plan, "--model", folder),
        ("apply", folder, "--plan", plan, "--explain"),
        ("eval", folder, *_TEXT, "--no-speed"),
    )


_ANALYSIS: Final = (
    ("show", "a"),
    ("check", "a/plan.yaml", "--analysis", "a"),
    ("plan", "a", "--ratio", "0.1", "-o", "out/p.yaml"),
    ("report", "a", "-o", "out/r.html"),
)
_PLAN: Final = (
    ("check", "a/plan.yaml", "--analysis", "a"),
    ("check", "a/plan.yaml"),
    ("show", "a/plan.yaml"),
    ("diff", "a/plan.yaml", "a/other.yaml"),
    ("apply", "m", "--plan", "a/plan.yaml", "--explain"),
    ("plan", "a", "--ratio", "0.1", "--overwrite", "-o", "a/plan.yaml"),
    ("report", "a/plan.yaml", "-o", "out/r.html"),
)
_RESULT: Final = (("report", "r", "-o", "out/r.html"),)
_FINETUNED: Final = (("report", "f", "-o", "out/r.html"),)
TARGETS: Final = (
    Target("a/plan.yaml", mutators.mutate_text, _PLAN, 6),
    Target("a/analysis.json", mutators.mutate_json, _ANALYSIS, 5, ("a:",)),
    Target("a/groups.parquet", mutators.mutate_parquet, _ANALYSIS, 4, ("a:",)),
    Target("a/curves.parquet", mutators.mutate_parquet, (_ANALYSIS[-1],), 2),
    Target("r/globalprune/metrics.json", mutators.mutate_json, _RESULT, 3),
    Target("r/globalprune/compensation.json", mutators.mutate_json, _RESULT, 3),
    Target("f/globalprune/recovery.json", mutators.mutate_json, _FINETUNED, 3),
    Target("f/globalprune/loss.csv", mutators.mutate_text, _FINETUNED, 1),
    Target("e/evaluation.json", mutators.mutate_json, (("report", "e", "-o", "out/r.html"),), 4),
    Target("s/sweep.json", mutators.mutate_json, (("report", "s", "-o", "out/r.html"),), 4),
    Target(
        "machine.json",
        mutators.mutate_json,
        (("plan", "a", "--latency", "20ms", "--machine", "machine.json", "-o", "out/p.yaml"),),
        2,
    ),
    Target("m/config.json", mutators.mutate_json, _model("m"), 6, ("m:",)),
    Target("m/generation_config.json", mutators.mutate_json, _model("m")[-1:], 1, ("m:",)),
    Target("m/tokenizer.json", mutators.mutate_json, _model("m")[-1:], 5, ("m:",)),
    Target("m/tokenizer_config.json", mutators.mutate_json, _model("m")[-1:], 3, ("m:",)),
    Target("m/model.safetensors", mutators.mutate_safetensors, _model("m"), 3, ("m:",)),
    Target("r/config.json", mutators.mutate_json, _model("r", plan="b/plan.yaml"), 3, ("r:",)),
    Target("l/adapter_config.json", mutators.mutate_json, _model("l"), 4, ("l:",)),
    Target("l/adapter_model.safetensors", mutators.mutate_safetensors, _model("l"), 3, ("l:",)),
    Target("m.gguf", mutators.mutate_header, _model("m.gguf"), 6, ("a/plan.yaml",)),
)  # fmt: skip


def build() -> None:
    """Make a model and all that is made of it, in the working folder."""
    save_tiny(Path("m"), "llama")
    Path("out").mkdir()
    Path("text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 40)
    _must("analyze", "m", "-o", "a", *_TEXT, "--importance", "obs", "--ratio", "0.2")
    Path("a/other.yaml").write_bytes(Path("a/plan.yaml").read_bytes())
    _must(
        "apply",
        "m",
        "--plan",
        "a/plan.yaml",
        "-o",
        "r",
        "--compensate",
        *_TEXT,
        "--eval",
        "text.txt",
    )
    learning = ("--data", "text.txt", "--samples", "4", "--seq-len", "16")
    _must("finetune", "r", "-o", "f", "--method", "full", *learning)
    _must("eval", "m", "r", *_TEXT, "-o", "e")
    _must("analyze", "r", "-o", "b", *_TEXT, "--ratio", "0.1")
    _must("sweep", "m", "--analysis", "a", "-o", "s", "--ratio", "0.1", "--ratio", "0.2", *_TEXT)
    quick = ("--points", "3", "--rounds", "1", "--tokens", "2", "--context", "8")
    _must("measure", "m", "-o", "machine.json", *quick)
    model = AutoModelForCausalLM.from_pretrained("m")
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    with quiet_peft():
        adapted = get_peft_model(model, config)
        adapted.peft_config["default"].base_model_name_or_path = "m"
        adapted.save_pretrained("l")
    export_folder(save_cut(Path("g"), "llama"), "f32").path.rename("m.gguf")
    _must("report", "a", "-o", "out/r.html")  # the first picture makes a font cache


def run_cases(numbers: Sequence[int], seed: int, *, pictures: float = 0.05) -> Iterator[Failure]:
    """Yield what went wrong; the same numbers and seed give the same cases."""
    weights = [target.weight for target in TARGETS]
    for number in numbers:
        random = Random(f"{seed}:{number}")  # noqa: S311 - no secret
        (target,) = random.choices(TARGETS, weights)
        command = random.choice(target.commands)
        file = Path(target.file)
        sound = file.read_bytes()
        others = {path: path.read_bytes() for path in file.parent.glob("*.yaml") if path != file}
        file.write_bytes(target.mutate(sound, random))
        drawn = random.random() < pictures
        try:
            with (
                mock.patch("globalprune.report.page.can_draw", lambda drawn=drawn: drawn),
                mock.patch("globalprune.report.drawing.can_draw", lambda drawn=drawn: drawn),
            ):
                what = _outcome(target, command)
        finally:
            file.write_bytes(sound)
            for path, content in others.items():
                path.write_bytes(content)
        if what:
            yield Failure(number, target.file, command, what)


def _outcome(target: Target, command: tuple[str, ...]) -> str:
    """What is wrong with how a command ended; nothing where it may end so."""
    try:
        with _time_limit():
            said = gp(*command)
    except TooSlowError:
        return f"took more than {SECONDS} s"
    except Exception as error:  # noqa: BLE001 - the very thing that is looked for
        places = [
            f"{one.filename}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)
        ]
        return f"{type(error).__name__}: {error} (at {', '.join(places[-6:])})"
    return _complaint(target, said)


def _complaint(target: Target, said: Said) -> str:
    """What an answer or a refusal lacks."""
    shown = said.err + said.out
    if not all(line.isprintable() for line in shown.split("\n")):
        return f"a character acts on the terminal: {shown!r}"
    if said.code not in (0, 1, 2):
        return f"exit code {said.code}"
    if said.code == 0:
        return ""
    names = (Path(target.file).name, target.file, *target.places)
    if "Traceback" in said.err or not any(name in said.err for name in names):
        return f"a refusal that names no file: {said.err!r}"
    return ""


@contextmanager
def _time_limit() -> Iterator[None]:
    """Raise `TooSlowError` inside where the block goes on for too long."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def memory_limit() -> Iterator[None]:
    """Let the process ask for so much memory more, and no more: a blow-up is then an error."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def tally(failures: Sequence[Failure]) -> Counter[str]:
    """How often each file ended wrongly."""
    return Counter(failure.file for failure in failures)


def _must(*words: str) -> None:
    said = gp(*words)
    if said.code not in (0, 1):
        raise RuntimeError(f"gp {' '.join(words)}: {said.err}")
