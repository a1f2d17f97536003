"""Speed for models that were judged: whom to time, by what prompt, and where the figures go."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import torch

from globalprune.artifacts.evaluations.evaluation import ModelResult, SpeedSettings
from globalprune.evaluate.candidates import Candidate, load_candidate
from globalprune.evaluate.measurement import Question
from globalprune.evaluate.speed import Subject, measure_speeds
from globalprune.text.windows import TokenWindows

_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}


def time_models(
    results: Sequence[ModelResult],
    candidates: Sequence[Candidate],
    windows: Sequence[TokenWindows],
    question: Question,
    settings: SpeedSettings,
) -> tuple[list[ModelResult], SpeedSettings]:
    """Give the results their speeds, and the settings as they could be kept."""
    timed = [
        index
        for index, result in enumerate(results)
        if result.kv_cache_bytes_per_token is not None and candidates[index].mask is None
    ]
    if not timed:
        return list(results), settings
    subjects = [
        Subject(
            load=partial(
                load_candidate,
                candidates[index],
                question.placement,
                trust_remote_code=question.trust_remote_code,
            ),
            weight_bytes=results[index].parameters * _BYTES.get(results[index].dtype, 4),
            prompt=torch.cat(windows[index].rows),
        )
        for index in timed
    ]
    speeds, done = measure_speeds(subjects, settings, question.placement.device, question.progress)
    both = dict(zip(timed, speeds, strict=True))
    return [
        result.model_copy(update={"speed": both.get(index)}) for index, result in enumerate(results)
    ], done
