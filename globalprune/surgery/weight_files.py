"""The weight files before and after a cut, and whether they keep a plan's promise in bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from globalprune.artifacts.plans.plan import PrunePlan
from globalprune.artifacts.stored_weights import SAVE_DTYPES, Dtype, dtype_name, written_dtype
from globalprune.models.checkpoints.checkpoint import TensorInfo
from globalprune.models.checkpoints.shard_writer import weight_file_bytes


@dataclass(frozen=True)
class WeightFiles:
    """Bytes of all weight files, headers and index included, and the dtypes in them.

    Those before are of MODEL as gp would write it uncut; `save_dtype` is what the result's
    floating-point tensors are converted to, if they are.
    """

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


@dataclass(frozen=True)
class SizePromise:
    """Whether the files keep the plan's size: a refusal, a warning, or neither."""

    broken: str | None = None  # why the plan isn't applied so
    warning: str | None = None  # what another tool has to do to keep it


def count_weight_files(
    tensors: Mapping[str, TensorInfo],
    promised: Mapping[str, TensorInfo],
    save_dtype: str | None,
) -> WeightFiles:
    """Count the weight files of a model's `tensors`, and of those that are `promised`."""
    return WeightFiles(
        bytes_before=weight_file_bytes(tensors),
        bytes_after=weight_file_bytes(promised),
        before_dtypes=_dtypes(tensors),
        after_dtypes=_dtypes(promised),
        save_dtype=save_dtype,
    )


def check_size(
    plan: PrunePlan,
    plan_path: Path,
    unconverted: Mapping[str, TensorInfo],
    files: WeightFiles,
) -> SizePromise:
    """Compare the files with the plan's size; `unconverted` are their tensors without --save-dtype.

    A plan whose size holds in one dtype and not in the one that is written is refused, and the
    message names that dtype. A hand edit that breaks it in any dtype is applied, as one that breaks
    any other budget.
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
    for dtype in _other_dtypes(plan, counted, files):
        if _bytes_as(dtype, unconverted) <= size:
            advice = f"say --save-dtype {dtype}" if dtype else "leave --save-dtype out"
            in_dtype = f" in {counted}" if counted else ""
            return SizePromise(
                broken=f"{allows}{in_dtype}, and {found}; {advice}, or plan again by the dtype "
                "that is to be written."
            )
    return SizePromise()


def bytes_on_disk(folder: Path) -> int:
    """The bytes of all weight files in a folder, the index included."""
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors*"))


def _other_dtypes(
    plan: PrunePlan, counted: Dtype | None, files: WeightFiles
) -> Iterator[str | None]:
    """Yield the dtypes that may keep the promise; None is each tensor's own."""
    if counted is not None:
        yield counted
        return
    if files.save_dtype is not None:
        yield None
    if not plan.edited:  # of a relative whose tensors are stored wider than those that were counted
        yield from SAVE_DTYPES


def _bytes_as(save_dtype: str | None, unconverted: Mapping[str, TensorInfo]) -> int:
    """The bytes of the files with floating-point tensors as that dtype."""
    return weight_file_bytes(
        {
            name: TensorInfo(info.shape, written_dtype(info.dtype, save_dtype))
            for name, info in unconverted.items()
        }
    )


def _dtypes(tensors: Mapping[str, TensorInfo]) -> str:
    """`float32`, or `bfloat16 and float32`."""
    return " and ".join(sorted({dtype_name(info.dtype) for info in tensors.values()}))
