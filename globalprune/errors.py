"""Every error that a user can meet, as a tree: catch the class that is as general as you need.

GlobalPruneError
├── UsageError                an option that contradicts another, an output that is in the way
├── ArtifactError             a file of gp that can't be used
│   ├── PlanInvalid           the plan breaks a rule; all its problems at once
│   ├── PlanVersion           the plan is of another format
│   ├── PlanStale             the plan belongs to another model structure or another table
│   ├── TableInvalid          groups.parquet is not a group table
│   └── RecordInvalid         analysis.json or another record is invalid
├── TextError                 text that is missing, empty, too short or not text
├── ModelError
│   ├── ModelNotFound         no such folder, file or Hub model
│   ├── UnsupportedArchitecture  a model_type or a shape that we can't cut
│   ├── CheckpointError       a checkpoint that can't be read
│   └── NonFiniteError        a gradient or an activation is not finite
├── AnalysisDoubted           a first plan that costs more than other cuts         (exit code 1)
├── BudgetError               a budget that can't be reached                     (exit code 1)
└── ApplyError
    ├── PlanDoesNotFit        a valid plan that doesn't fit the model it was checked against (1)
    └── VerificationFailed    the result is not what the plan promised             (exit code 1)

A message says where, what was found and what to do. Exit code 2 means an input was refused.
This file imports nothing, so that every part of the package can raise from it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_OWN = "globalprune."
_FRAMES_OF_THE_BLOCK = 2  # the guard's and the one that holds the block
_AS_LIBRARIES = ("modeling_globalprune", "double_arithmetic")
_BUGS = (
    TypeError,
    AttributeError,
    LookupError,
    NameError,
    ZeroDivisionError,
    AssertionError,
    NotImplementedError,
)


class GlobalPruneError(Exception):
    """Something that the user can correct; any other exception is a bug in gp."""

    exit_code = 2


class UsageError(GlobalPruneError):
    """The options of a command contradict each other, or its output is in the way."""


class ArtifactError(GlobalPruneError):
    """A file of globalprune can't be used."""


class PlanInvalid(ArtifactError):  # noqa: N818
    """The plan breaks a rule."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{where}: {count} problem{'s' if count > 1 else ''}"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class PlanVersion(ArtifactError):  # noqa: N818
    """The plan is of a newer or older format, or names an unknown one."""


class PlanStale(ArtifactError):  # noqa: N818
    """The plan belongs to another model structure."""


class TableInvalid(ArtifactError):  # noqa: N818
    """The file is not a group table, or no longer."""


class RecordInvalid(ArtifactError):  # noqa: N818
    """The file is not a record of that kind, or no longer."""


class TextError(GlobalPruneError):
    """The text is missing, empty, too short, or not text."""


class ModelError(GlobalPruneError):
    """The model can't be used."""


class ModelNotFound(ModelError):  # noqa: N818
    """There is no such folder, file or Hub model."""


class UnsupportedArchitecture(ModelError):  # noqa: N818
    """globalprune can't cut the model's architecture."""


class CheckpointError(ModelError):
    """The checkpoint can't be read."""


class NonFiniteError(ModelError):
    """A gradient or an activation is not finite, so no importance can be trusted."""


class BudgetError(GlobalPruneError):
    """The budget can't be reached; the largest plan is written only with `--largest`."""

    exit_code = 1


class AnalysisDoubted(GlobalPruneError):  # noqa: N818
    """The first plan of an analysis costs clearly more than other cuts of its size."""

    exit_code = 1


class ApplyError(GlobalPruneError):
    """The plan could not be applied."""


class PlanDoesNotFit(ApplyError):  # noqa: N818
    """The plan is valid, and doesn't fit the model that it was checked against."""

    exit_code = 1


class VerificationFailed(ApplyError):  # noqa: N818
    """The written model is not what the plan promised; nothing was kept."""

    exit_code = 1


@contextmanager
def library_errors(kind: type[GlobalPruneError], where: str, what_to_do: str) -> Iterator[None]:
    """Raise whatever a library raises inside as a `kind`, in one line with what to do.

    Libraries raise any class for an input that they refuse, tokenizers' Rust code one that is no
    `Exception`. Errors of globalprune pass unchanged, and so do memory that runs out and bugs of
    our own code that was called inside.
    """
    try:
        yield
    except GlobalPruneError:
        raise
    except BaseException as error:
        is_panic = type(error).__module__ == "pyo3_runtime"
        is_stop = not isinstance(error, Exception) and not is_panic  # an interruption, an exit
        if is_stop or is_out_of_memory(error) or _is_bug_of_ours(error):
            raise
        cause = error.__cause__ if str(error.__cause__ or "") else error  # the field, not the class
        lines = str(cause).strip().splitlines() or ["no reason given"]
        raise kind(f"{where} ({type(error).__name__}: {lines[0]}); {what_to_do}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, the machine's (a RuntimeError of torch) or a GPU's."""
    named = type(error).__name__ == "OutOfMemoryError"
    allocating = isinstance(error, RuntimeError) and "not enough memory" in str(error)
    return named or allocating or isinstance(error, MemoryError)


def _is_bug_of_ours(error: BaseException) -> bool:
    """Return whether a bug was raised in a function of gp below the block, not in a library.

    The block's own frame counts as the library that it calls: compiled code has no frame. Our
    modeling file counts as a library: it runs on other people's configs, as transformers' own do.
    So does the arithmetic that stands between a model and torch.
    """
    frames: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    module = frames[-1]
    is_ours = module.startswith(_OWN) and not module.endswith(_AS_LIBRARIES)
    return is_ours and len(frames) > _FRAMES_OF_THE_BLOCK and isinstance(error, _BUGS)
