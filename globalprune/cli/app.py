"""`gp`: the table of commands, and the one place that turns our errors into exit codes.

Only typer loads here; a command's module loads when that command or its help is called.
"""

import importlib
import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from globalprune.errors import GlobalPruneError, is_out_of_memory

_OUT_OF_MEMORY = (
    "memory ran out; nothing was half written. Say a smaller --batch-size or --seq-len, --dtype "
    "bfloat16, or --device cpu where a GPU was too small, as far as the command has them; or take "
    "a machine with more memory."
)


class Entry(NamedTuple):
    """Where a command lives, and its line in `gp --help`."""

    module: str
    function: str
    summary: str


COMMANDS = {
    "analyze": Entry("analyze", "analyze", "Measure what every group of a model is worth."),
    "plan": Entry("plan", "plan", "Turn an analysis and a ratio into a plan that you can edit."),
    "show": Entry("show", "show", "Show a plan or an analysis layer by layer."),
    "check": Entry("check", "check", "Check a plan: what it removes, and whether it fits a model."),
    "diff": Entry("diff", "diff", "Show how two plans differ."),
    "apply": Entry("apply", "apply", "Cut a model by a plan."),
    "finetune": Entry("finetune", "finetune", "Finetune a model: LoRA or full, with a teacher."),
    "prune": Entry(
        "prune", "prune", "Analyze, plan and apply in a row; finetune and eval on request."
    ),
    "sweep": Entry("sweep", "sweep", "Evaluate many plans of one model: one table, one curve."),
    "eval": Entry("eval", "eval_", "Compare models: size, perplexity, tasks, speed."),
    "report": Entry("report", "report", "Write one HTML page about all of it, with pictures."),
    "export": Entry("export", "export", "Write a model as a GGUF file for llama.cpp."),
    "measure": Entry("measure", "measure", "Time a token on this machine by what layers keep."),
}
EPILOG = (
    "Example:  gp analyze MODEL -o analysis  &&  gp plan analysis --ratio 0.2  &&  "
    "gp apply MODEL --plan analysis/plan.yaml -o smaller"
)


class LazyGroup(TyperGroup):
    """Loads a command's module only when that command is called, so that `gp --help` is instant."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the commands in the order in which a person meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a command; None for an unknown name."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else _load(cmd_name, entry)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the overview from the table, without loading a single command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


def _load(name: str, entry: Entry) -> Any:
    """Return the command that the module's function describes."""
    module = importlib.import_module(f"globalprune.cli.commands.{entry.module}")
    function: Callable[..., Any] = getattr(module, entry.function)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(function)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)


def _print_version(requested: bool) -> None:
    """Print the version and stop."""
    if requested:
        from importlib.metadata import version

        sys.stdout.write(f"globalprune {version('globalprune')}\n")
        raise typer.Exit


@app.callback()
def gp(
    *,
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Measure once what every part of a language model is worth, then cut it by a plan."""
    del version


def main() -> None:
    """Run `gp`; an error that a user can mend is one message on stderr and its exit code."""
    from globalprune.cli import console
    from globalprune.cli.console import Interrupted, interruptible

    sys.excepthook = console.show_bug
    try:
        with (
            redirect_stderr(console.PlainStream(sys.stderr)),
            console.quiet_libraries(),
            interruptible(),
        ):
            logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
            app(prog_name="gp")
    except GlobalPruneError as error:
        console.say(f"gp: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        console.say(f"gp: {error.filename or 'the answer'}: {error.strerror or error}.")
        sys.exit(GlobalPruneError.exit_code)
    except Interrupted as error:
        console.say("gp: interrupted; nothing was half written.")
        sys.exit(error.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        console.say(f"gp: {_OUT_OF_MEMORY}")
        sys.exit(1)
