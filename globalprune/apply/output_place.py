"""Where a result may not go: into its inputs, over a stranger's files, onto a full disk."""

import shutil
from pathlib import Path

from globalprune.apply.preparation import Prepared
from globalprune.apply.steps import promised
from globalprune.artifacts.provenance import OWN_FOLDER, refuse_occupied
from globalprune.errors import UsageError

# not the folder alone: a folder of that name may be anyone's, a checkout of this project for one
OURS = f"{OWN_FOLDER}/origin.parquet"


def refuse_place(out: Path, prepared: Prepared, *, overwrite: bool) -> None:
    """Raise `UsageError` unless `out` (resolved) can be written without harm."""
    model = prepared.checkpoint.source.path.resolve()
    if out == model:
        raise UsageError(f"{out}: is the model itself; choose another folder with -o.")
    if model.is_dir() and out.is_relative_to(model):
        raise UsageError(f"{out}: lies inside the model's folder {model}; choose another with -o.")
    if model.is_relative_to(out):
        raise UsageError(f"{out}: holds the model {model}; choose another folder with -o.")
    refuse_occupied(out, ours=(OURS,), overwrite=overwrite)
    _refuse_small_disk(out, sum(facts.bytes for facts in promised(prepared.steps).values()))


def _refuse_small_disk(out: Path, needed: int) -> None:
    """Compare what will be written with what is free, before anything is."""
    existing = next(folder for folder in (out, *out.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UsageError(
            f"{out}: the result takes {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
            "make room or choose another disk with -o."
        )
