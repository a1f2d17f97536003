"""What a pass has come to, on disk now and then: stopped, it goes on to the very same numbers.

Accumulators may be as large as the model, so they are written seldom enough to cost a twentieth of
the time at most, a part at a time. A disk that won't take them ends the keeping, not the pass.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from globalprune.artifacts.staging import remove_folder, staged_folder
from globalprune.errors import UsageError
from globalprune.passes.interface import Site, StatisticReducer

PAUSE: Final = 60.0  # seconds without a word on disk, at least
SHARE: Final = 20  # of the time, one part in so many may go into writing
_PART_BYTES: Final = 2**28
_COUNTS = "counts.json"
_FOLDER = re.compile(r"after-(\d+)")


@dataclass(frozen=True)
class SoFar:
    """How much of the text is through, and how well it was predicted."""

    windows: int = 0
    predicted: int = 0  # tokens
    nll: float = 0.0  # nats, summed over them

    def after(self, *, windows: int, predicted: int, nll: float) -> "SoFar":
        """With so much more of it."""
        return SoFar(self.windows + windows, self.predicted + predicted, self.nll + nll)


class KeptPass:
    """Folders of accumulators, each after so many windows; one that is there is whole.

    `to_its_end` keeps those of the whole pass too, for work behind it.
    """

    def __init__(self, folder: Path, *, to_its_end: bool = False) -> None:
        self.trouble: str | None = None  # why nothing is kept any more
        self._folder = folder
        self._to_its_end = to_its_end
        self._pause = PAUSE
        self._last = time.monotonic()

    def restore(self, reducers: Sequence[StatisticReducer], sites: Sequence[Site]) -> SoFar:
        """Give the reducers what they had; nothing, if nothing was kept."""
        folders = self._folders()
        if not folders:
            return SoFar()
        newest = folders[max(folders)]
        for part in sorted(newest.glob("*.safetensors")):
            tensors = load_file(part)
            for number, reducer in enumerate(reducers):
                own = f"{number}."
                reducer.restore(
                    {
                        name.removeprefix(own): tensor
                        for name, tensor in tensors.items()
                        if name.startswith(own)
                    },
                    sites,
                )
        return SoFar(**json.loads((newest / _COUNTS).read_text("utf-8")))

    def offer(self, reducers: Sequence[StatisticReducer], so_far: SoFar, *, ended: bool) -> None:
        """Keep what there is after these windows, if it is time to."""
        due = self._to_its_end if ended else time.monotonic() - self._last >= self._pause
        if not due or self.trouble is not None:
            return
        begun = time.monotonic()
        try:
            self._write(reducers, so_far)
        except (OSError, SafetensorError, UsageError) as error:
            self.trouble = str(error)
        self._last = time.monotonic()
        self._pause = max(self._pause, SHARE * (self._last - begun))

    def _write(self, reducers: Sequence[StatisticReducer], so_far: SoFar) -> None:
        """Write a new folder whole, and only then let go of those before."""
        before = self._folders()
        with staged_folder(self._folder / f"after-{so_far.windows}", replace=True) as staging:
            for number, part in enumerate(_parts(reducers)):
                save_file(part, staging / f"{number:05}.safetensors")
            (staging / _COUNTS).write_text(json.dumps(asdict(so_far)), "utf-8")
        for windows, folder in before.items():
            if windows != so_far.windows:
                remove_folder(folder)

    def _folders(self) -> dict[int, Path]:
        """What was kept, by the windows that were through."""
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        matches = ((_FOLDER.fullmatch(path.name), path) for path in found)
        return {int(match[1]): path for match, path in matches if match}


def _parts(reducers: Sequence[StatisticReducer]) -> Iterator[dict[str, torch.Tensor]]:
    """Yield all accumulators in host memory, so many at a time that little more is needed."""
    part: dict[str, torch.Tensor] = {}
    size = 0
    for number, reducer in enumerate(reducers):
        for name, tensor in reducer.state().items():
            part[f"{number}.{name}"] = tensor.to("cpu", copy=True).contiguous()
            size += tensor.nbytes
            if size >= _PART_BYTES:
                yield part
                part, size = {}, 0
    if part:
        yield part
