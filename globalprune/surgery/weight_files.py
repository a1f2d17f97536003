"""The files of weights before and after a cut, and whether they keep a plan's promise in bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.stored_weights import SAVE_DTYPES, Dtype, dtype_name, written_dtype
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.shard_writer import weight_file_bytes


@dataclass(frozen=True)
class WeightFiles:
    """Bytes of all files of weights, headers and index included; of MODEL as gp would write it."""

    bytes_before: int
    bytes_after: int
    before_dtypes: str
    after_dtypes: str
    save_dtype: str | None

    @property
    def text(self) -> str:
        """`weights: 538,090,408 bytes in float32 → 215,… bytes in bfloat16, whole files`."""
        before = f"{self.bytes_before:,} bytes in {self.before_dtypes}"
        return f"weights: {before} → {self.bytes_after:,} bytes in {self.after_dtypes}, whole files"


def weight_files(
    tensors: Mapping[str, TensorInfo],
    promised: Mapping[str, TensorInfo],
    save_dtype: str | None,
) -> WeightFiles:
    """Count the files of a model's `tensors`, and those of the `promised` ones."""
    return WeightFiles(
        bytes_before=weight_file_bytes(tensors),
        bytes_after=weight_file_bytes(promised),
        before_dtypes=_dtypes(tensors),
        after_dtypes=_dtypes(promised),
        save_dtype=save_dtype,
    )


@dataclass(frozen=True)
class SizePromise:
    """What a plan's size asks of the files, and how that can be kept."""

    broken: str | None = None  # why the plan isn't applied so
    warning: str | None = None  # what is promised of another tool's files only


def size_promise(
    plan: PrunePlan,
    plan_path: Path,
    unconverted: Mapping[str, TensorInfo],
    files: WeightFiles,
) -> SizePromise:
    """Hold the files against the plan's size; `unconverted` is what they hold without --save-dtype.

    A plan that keeps it in one dtype and not in the one that is written is refused, with the way.
    A hand edit that breaks it in any dtype is honoured, as one that breaks any other budget.
    """
    size = plan.target.size if plan.target else None
    if plan.target is None or size is None or files.bytes_after <= size:
        return SizePromise()
    counted = plan.target.dtype
    found = f"{files.bytes_after:,} bytes in {files.after_dtypes} would be written"
    allows = f"{plan_path}: target.size allows {size:,} bytes"
    if counted == "int8":
        return SizePromise(
            warning=f"{allows} counted as int8, which gp doesn't write: {found}, and a tool that "
            "quantises has to keep the promise."
        )
    for way in _ways(plan, counted, files):
        if _bytes_as(way, unconverted) <= size:
            how = f"say --save-dtype {way}" if way else "leave --save-dtype out"
            in_dtype = f" in {counted}" if counted else ""
            return SizePromise(
                broken=f"{allows}{in_dtype}, and {found}; {how}, or plan again by the dtype that "
                "is to be written."
            )
    return SizePromise()


def _ways(plan: PrunePlan, counted: Dtype | None, files: WeightFiles) -> Iterator[str | None]:
    """Yield the dtypes that may keep the promise; None is each tensor's own."""
    if counted is not None:
        yield counted
        return
    if files.save_dtype is not None:
        yield None
    if not plan.edited:  # of a relative whose tensors are stored wider than those that were counted
        yield from SAVE_DTYPES


def _bytes_as(save_dtype: str | None, unconverted: Mapping[str, TensorInfo]) -> int:
    """What the files would take with floating-point tensors as that dtype."""
    return weight_file_bytes(
        {
            name: TensorInfo(facts.shape, written_dtype(facts.dtype, save_dtype))
            for name, facts in unconverted.items()
        }
    )


def bytes_on_disk(folder: Path) -> int:
    """All files of weights in a folder that was written, the index included."""
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors*"))


def _dtypes(tensors: Mapping[str, TensorInfo]) -> str:
    """`float32`, or `bfloat16 and float32`."""
    return " and ".join(sorted({dtype_name(facts.dtype) for facts in tensors.values()}))
