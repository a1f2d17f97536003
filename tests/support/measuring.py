"""Runs a pass over a loaded tiny model and lists its numbers by group."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from globalprune.artifacts.records import TextRecord
from globalprune.artifacts.structure import ModelStructure
from globalprune.importance import IMPORTANCES, Importance
from globalprune.models.architecture import ModelAdapter
from globalprune.models.checkpoints.open import open_checkpoint
from globalprune.models.loading import unfuse_experts
from globalprune.models.registry import adapter_for
from globalprune.models.sources.source import resolve_model
from globalprune.statistics.collect import Collected, collect
from globalprune.statistics.hooks import find_sites
from globalprune.statistics.interface import PASS_STATISTICS, GroupSums, PassStatistic, Site
from globalprune.statistics.loss import LabelDraw
from globalprune.text.windows import TokenWindows

Groups = dict[tuple[int, str, int], torch.Tensor]


def apart(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The same with its experts one by one, as they are measured."""
    model = loaded(folder, dtype)
    unfuse_experts(model)
    return model


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model of a folder, as stock transformers loads it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def described(folder: Path) -> tuple[ModelAdapter, ModelStructure]:
    """The adapter of a folder's model, and its structure."""
    checkpoint = open_checkpoint(resolve_model(str(folder)))
    adapter = adapter_for(checkpoint.config)
    return adapter, adapter.structure(checkpoint)


def sites_of(model: Any, folder: Path, layers: range | None = None) -> tuple[Site, ...]:
    """The sites of some layers, or of all."""
    adapter, structure = described(folder)
    return find_sites(model, adapter, structure, layers or range(len(structure.layers)))


def windows_of(rows: Sequence[torch.Tensor]) -> TokenWindows:
    """Windows of these ids, whatever their lengths."""
    record = TextRecord(
        source="test",
        documents=len(rows),
        document_digests=(),
        samples=len(rows),
        seq_len=None,
        stride=None,
        tokens=sum(len(row) for row in rows),
        predicted_tokens=sum(len(row) - 1 for row in rows),
        seed=None,
        bos=False,
        digest="sha256:0",
    )
    return TokenWindows(rows=tuple(rows), record=record)


def measured(
    model: Any,
    sites: Sequence[Site],
    rows: Sequence[torch.Tensor],
    needs: Collection[PassStatistic],
    batch_size: int = 1,
    draw: LabelDraw | None = None,
) -> Collected:
    """Collect statistics over the rows, of their own next tokens or of labels that are drawn."""
    return collect(model, windows_of(rows), sites, needs, batch_size=batch_size, draw=draw)


def collectable(method: Importance) -> list[PassStatistic]:
    """What a method needs that one pass gives."""
    return [statistic for statistic in PASS_STATISTICS if statistic in method.needs]


def importance(
    model: Any, sites: Sequence[Site], rows: Sequence[torch.Tensor], name: str, batch_size: int = 1
) -> Groups:
    """One importance of every group, of those that one pass gives."""
    method = IMPORTANCES[name]
    needs = collectable(method)
    sums = measured(model, sites, rows, needs, batch_size).sums
    sublayers = sums[needs[0]]
    return by_group(
        {
            sublayer: method.combine({need: sums[need][sublayer] for need in needs})
            for sublayer in sublayers
        }
    )


def by_group(sums: GroupSums) -> Groups:
    """List the numbers one group at a time."""
    return {
        (layer, kind, index): value
        for (layer, kind), values in sums.items()
        for index, value in enumerate(values)
    }


def largest_difference(found: Groups, expected: Groups) -> float:
    """The largest relative difference of any group; both must hold the same groups."""
    assert found.keys() == expected.keys()
    return max(
        abs(float(found[key]) - float(value)) / abs(float(value)) for key, value in expected.items()
    )
