"""What makes figures of several models less comparable than they look."""

from collections.abc import Sequence

from globalprune.artifacts.evaluations.evaluation import ModelResult, SpeedSettings


def warn_of_other_tokens(results: Sequence[ModelResult]) -> tuple[str, ...]:
    """Say so if the models' tokenizers cut the text differently."""
    if len({result.perplexity.windows for result in results}) == 1:
        return ()
    message = (
        "the models' tokenizers cut the text into different tokens, so their perplexities are "
        "not comparable."
    )
    return (message,)


def warn_of_speed(results: Sequence[ModelResult], speed: SpeedSettings) -> tuple[str, ...]:
    """Say so if memory didn't hold the models together, or if one has no cache to decode with."""
    found = []
    if not speed.interleaved:
        found.append(
            "memory doesn't hold these models together, so each was timed alone, and no "
            "differences of speed are shown; name fewer models, or a smaller --dtype."
        )
    without = [result.source for result in results if result.speed is None]
    if without:
        found.append(f"{', '.join(without)}: keeps no KV cache, so its speed is not measured.")
    return tuple(found)
