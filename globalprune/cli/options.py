"""Options that several commands share, and the arguments that name a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from globalprune.errors import UsageError

if TYPE_CHECKING:
    from globalprune.models.prepared_model import PreparedModel

_TEXT = (
    "a .txt, .jsonl, .parquet or .arrow file or a folder of these (column `text`, `messages` for "
    "conversations, or `input_ids`: each row is a window as it stands), a Hub data set "
    "id[:config][:split], or `builtin`, "
)
IMPORTANCES = "taylor, taylor_2nd, fisher, fisher_winsorised, obs, obs_measured, wanda or magnitude"
NORMALISERS = (
    "How scores become comparable between sublayers (a layer's attention, its MLP): mean divides "
    "each by its sublayer's mean; rank takes its rank in its sublayer; standard counts standard "
    "deviations from its sublayer's mean; none leaves it."
)


def text_option(purpose: str, builtin: str, name: str = "--data", **settings: Any) -> Any:
    """Return an option for text; `builtin` says which part of the manual that source is."""
    return typer.Option(name, metavar="SRC", help=f"{purpose}: {_TEXT}{builtin}.", **settings)


def read_ratio(text: str) -> float:
    """Read a fraction such as 0.2; raise `UsageError` for any other text."""
    try:
        return float(text)
    except ValueError as error:
        percent = text.strip().removesuffix("%")
        number = percent.replace(".", "", 1)
        example = f"{float(percent) / 100:g}" if number.isascii() and number.isdigit() else "0.2"
        raise UsageError(f"--ratio {text}: is not a fraction; write it like {example}.") from error


def ratio_option(purpose: str, **settings: Any) -> Any:
    """Return an option for a fraction of all parameters."""
    return typer.Option("--ratio", metavar="FLOAT", parser=read_ratio, help=purpose, **settings)


SeqLen = Annotated[int | None, typer.Option(help="Tokens in a window.", show_default="512")]
BatchSize = Annotated[
    int,
    typer.Option(
        help="Windows that run at once; changes speed and memory, and figures by rounding alone."
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="the first GPU, else cpu")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16 or float16.",
        show_default="float32 on cpu, the checkpoint's elsewhere",
    ),
]
SaveDtype = Annotated[
    str | None,
    typer.Option(
        metavar="float32|bfloat16|float16",
        help="Write every floating-point tensor in this dtype.",
        show_default="each tensor's own",
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that lies in other people's model folders; no result of gp needs it.",
    ),
]
_WEB_TEXT = "web text from the Hub: HuggingFaceFW/fineweb-edu:sample-10BT:train"
MeasuredText = Annotated[
    str | None,
    text_option("Text to measure with", "a part of the Python manual", show_default=_WEB_TEXT),
]
MeasuredSamples = Annotated[
    int | None,
    typer.Option(help="Windows to measure with.", show_default="128; all rows of `input_ids`"),
]
CompensationText = Annotated[
    str | None,
    text_option("Text for --compensate", "a part of the Python manual", show_default=_WEB_TEXT),
]
CompensationSamples = Annotated[
    int | None,
    typer.Option(
        help="Windows for --compensate; one in sixteen is kept for validation and not fitted to.",
        show_default="128; all rows of `input_ids`",
    ),
]
GateSteps = Annotated[
    int | None,
    typer.Option(
        help="With --compensate: Gauss-Newton steps that gate and up of every MLP may take; 0 "
        "compensates output projections alone, several times faster on a CPU.",
        show_default="1",
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the windows' positions.")]
TrainingData = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="SRC[@WEIGHT]",
        help="Text to learn: a .txt, .jsonl, .parquet or .arrow file or a folder of these (column "
        "`messages`, `text` or `input_ids`), a Hub data set id[:config][:split], or `builtin`. "
        "Repeat it to mix: A@0.7 and B@0.3.",
        show_default=_WEB_TEXT,
    ),
]
TrainingSamples = Annotated[
    int | None, typer.Option(help="Windows to learn from.", show_default="500, or the preset's")
]
Epochs = Annotated[
    int | None, typer.Option(help="How often each window is learned.", show_default="1")
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--lr", help="Learning rate, after a short warm-up.", show_default="1e-4, or the preset's"
    ),
]
LoraR = Annotated[
    int | None, typer.Option(help="Rank of the adapters.", show_default="8, or the preset's")
]
LoraAlpha = Annotated[
    int | None,
    typer.Option(
        help="The adapters' output is scaled by alpha / r.", show_default="16, or the preset's"
    ),
]
Finetune = Annotated[
    str | None,
    typer.Option(
        metavar="RECIPE",
        help="Finetune what is left: lora or full, or a preset of gp finetune: light (under 20 % "
        "cut), moderate (20 to 30 %), aggressive (over 30 %).",
        show_default="no finetuning",
    ),
]
FinetuneData = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SRC[@WEIGHT]",
        help="Text to learn, as for gp finetune --data; repeatable.",
        show_default="web text from the Hub",
    ),
]
FinetuneRate = Annotated[
    float | None, typer.Option(help="Learning rate.", show_default="1e-4, or the preset's")
]
Distil = Annotated[
    bool, typer.Option("--distil", help="Finetune with MODEL, before the cut, as the teacher.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Resume the interrupted run in OUT.unfinished.")
]
OverwriteResult = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace a result in OUT, or an interrupted run of it."),
]
AnalysisFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The analysis with the groups' costs and importances.",
        show_default="the one that the plan names, if it is still there",
    ),
]
Largest = Annotated[
    bool,
    typer.Option(
        "--largest",
        help="Where the target can't be reached, take the largest plan; by default none is made.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


_READ_ONLY = (
    "Local folder, Hub id[@revision], or .gguf file (local, or Hub id[@revision]/FILE.gguf)"
)
Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help=f"{_READ_ONLY}; it is only read.", show_default=False),
]
AnyModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Local folder or Hub id[@revision], of any family; it is only read.",
        show_default=False,
    ),
]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help=f"{_READ_ONLY}; the first is the baseline.",
        show_default=False,
    ),
]


def prunable_model(name: str) -> "PreparedModel":
    """Prepare a model, before slow libraries load; raise `ModelError` if no part can be cut."""
    from globalprune.cli.console import late_bars
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.models.refusals import refuse_unprunable

    model = PreparedModel(name)
    refuse_unprunable(model, late_bars)
    return model


def readable_model(name: str) -> "PreparedModel":
    """Prepare a model; raise `ModelError` if it can't be read, before slow libraries load."""
    from globalprune.models.prepared_model import PreparedModel
    from globalprune.models.refusals import refuse_unreadable

    model = PreparedModel(name)
    refuse_unreadable(model)
    return model
