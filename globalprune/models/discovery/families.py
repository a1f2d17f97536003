"""Families that no table knows: each is proved once, and remembered in the cache folder.

What is remembered belongs to one class: its key holds the versions, the sources of the class and of
this package, and what the config says besides sizes. Torch is loaded only for a proof.
"""

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from globalprune.artifacts.disk import write_atomically
from globalprune.artifacts.records import DIGEST_PREFIX, digest_json
from globalprune.artifacts.structure import GroupType
from globalprune.errors import ModelError, UnsupportedArchitecture, UsageError, library_errors
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.identity import cache_folder
from globalprune.models.discovery.description import FamilyDescription, adapter_of
from globalprune.models.discovery.sizes import SIZES, SQUARE_SIZES, SmallSizes, traits
from globalprune.progress import Progress, silent

_FOLDER: Final = "families"
_VERSIONS: Final = ("globalprune", "torch", "transformers")
_TYPE: Final = re.compile(r"[\w-]{1,80}")  # what may be a folder of transformers
_STEPS: Final = 2  # it is described, then proved
_known: dict[str, FamilyDescription] = {}  # of this process, by key


def proved_adapter(config: dict[str, Any], progress: Progress = silent) -> ModelAdapter:
    """Return the adapter of a raw config.json whose type no table knows.

    Raise `UnsupportedArchitecture` with the reason where no part of it can be cut exactly.
    """
    description = family_of(config, progress)
    if (reason := description.reason) is not None:
        raise UnsupportedArchitecture(
            f"config.json: model_type {description.model_type!r}, which globalprune can't cut: "
            f"{reason}."
        )
    return adapter_of(description)


def family_of(config: dict[str, Any], progress: Progress = silent) -> FamilyDescription:
    """Return what is known of a config's type; prove it where nothing is.

    What is wrong with one config alone is not remembered of its type.
    """
    key = _key(config)
    description = _known.get(key) or _read(key, config)
    if description is None:
        description, is_of_the_type = _prove(config, progress)
        if not is_of_the_type:
            return description
        with suppress(OSError, UsageError):
            write_atomically(_file(key), description.model_dump_json(indent=2) + "\n")
    _known[key] = description
    return description


def _prove(config: dict[str, Any], progress: Progress) -> tuple[FamilyDescription, bool]:
    """Describe and prove a type, and say whether all its models would end so.

    What is refused is a description too. Sizes, tokens and failures of libraries are one config's.
    """
    import torch

    from globalprune.models.discovery.discover import refuse_other_model
    from globalprune.models.quiet import quiet_logs

    started, is_of_the_type = time.monotonic(), False
    description = FamilyDescription(model_type=config["model_type"])
    steps = progress(
        _steps(config),
        total=_STEPS,
        label=f"proving how {config['model_type']} is cut",
        unit="steps",
    )
    try:
        with (
            quiet_logs(),
            torch.random.fork_rng(devices=()),  # the caller's random numbers stay what they were
            torch.enable_grad(),
            library_errors(UnsupportedArchitecture, "a small model of it fails", ""),
        ):
            refuse_other_model(config)
            is_of_the_type = True
            for step in steps:
                description = step
    except ModelError as error:
        is_of_the_type &= isinstance(error, UnsupportedArchitecture) and error.__cause__ is None
        description = description.model_copy(update={"refused": _reason(error)})
    passed = {
        "versions": _versions(),
        "seconds": round(time.monotonic() - started, 1),
    }
    return description.model_copy(update=passed), is_of_the_type


def _reason(error: ModelError) -> str:
    """Return what is wrong, without what a user could do about it."""
    return str(error).partition("; mend it")[0].removesuffix(".").removesuffix("; ")


def _steps(config: dict[str, Any]) -> Iterator[FamilyDescription]:
    """Yield the description as it is found, then without what the proof refuses."""
    description, sizes = _describe(config)
    yield description
    yield _without_unproved(description, config, sizes)


def _describe(config: dict[str, Any]) -> tuple[FamilyDescription, SmallSizes]:
    """Describe a type by models of one kind of sizes; some classes take only the other."""
    from globalprune.models.discovery.discover import discover

    try:
        return discover(config, SIZES), SIZES[0]
    except UnsupportedArchitecture:
        with suppress(Exception):
            return discover(config, SQUARE_SIZES), SQUARE_SIZES[0]
        raise
    except Exception:  # noqa: BLE001 - whatever a class raises whose heads must make up its width
        return discover(config, SQUARE_SIZES), SQUARE_SIZES[0]


def _without_unproved(
    description: FamilyDescription, config: dict[str, Any], sizes: SmallSizes
) -> FamilyDescription:
    """Prove both sublayers together, else each alone; mark those that fail with the reason."""
    from globalprune.models.discovery.proof import prove, subject_of
    from globalprune.models.discovery.small_model import small_config

    subject = subject_of(small_config(config, sizes), adapter_of(description))

    def why_not(kinds: Sequence[GroupType]) -> str | None:
        try:
            with library_errors(UnsupportedArchitecture, "a cut of a small model fails", ""):
                prove(subject, kinds)
        except ModelError as error:
            return _reason(error)
        return None

    kinds = [kind for kind, own in description.sublayers() if own.refused is None]
    together = why_not(kinds)
    if together is None:
        return description
    refused = {kind: why for kind in kinds if (why := why_not([kind])) is not None}
    return description.without(refused or dict.fromkeys(kinds, together))


def _key(config: dict[str, Any]) -> str:
    """Return the digest of all that decides how a type is cut, sizes apart."""
    return digest_json(
        {
            "traits": traits(config),
            "versions": _versions(),
            "class": _class_digest(str(config["model_type"])),
            "globalprune": _files_digest(Path(__file__).parents[1].rglob("*.py")),
        }
    )


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in _VERSIONS}


def _class_digest(model_type: str) -> str:
    """Return the digest of the installed transformers, and of a type's folder as it is now."""
    spec = find_spec("transformers")  # finds the package, and runs none of it
    models = Path(spec.origin or "").parent / "models" if spec else Path()
    files = models.glob(f"{model_type}/*.py") if _TYPE.fullmatch(model_type) else iter(())
    record = metadata.distribution("transformers").read_text("RECORD") or ""
    return hashlib.sha256(record.encode()).hexdigest() + _files_digest(files)


def _files_digest(files: Iterator[Path]) -> str:
    state = hashlib.sha256()
    for path in sorted(files):
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def _read(key: str, config: dict[str, Any]) -> FamilyDescription | None:
    """Return the cached description of a config's type, if there is one that can be read."""
    with suppress(OSError, ValueError):
        read = FamilyDescription.model_validate_json(_file(key).read_text("utf-8"))
        if read.model_type == config["model_type"] and read.versions == _versions():
            return read
    return None


def _file(key: str) -> Path:
    return cache_folder() / _FOLDER / f"{key.removeprefix(DIGEST_PREFIX)}.json"
