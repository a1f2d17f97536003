"""Labels drawn from the model's own distribution, in place of the text's next tokens.

With them the mean squared gradient is the true Fisher information, which is the curvature of the
divergence between the model and its changed self; the text's labels give the empirical one, which
also holds what the model gets wrong. Kunstner et al. 2019, arXiv:1905.12558.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

Sampler = Callable[[torch.Tensor], torch.Tensor]  # logits [rows, vocabulary] -> labels [rows]


@dataclass(frozen=True)
class LabelDraw:
    """Draws one label a token; every window has a generator of its own, so batches change nothing.

    The same seed draws alike on one kind of device, not on a CPU and a GPU.
    """

    seed: int

    def sampler(self, window: int, device: torch.device) -> Sampler:
        """What draws the labels of one window, its rows of logits in order."""
        generator = torch.Generator(device)
        generator.manual_seed(int(np.random.SeedSequence((self.seed, window)).generate_state(1)[0]))

        def sample(logits: torch.Tensor) -> torch.Tensor:
            return draw_labels(logits, generator)

        return sample


def draw_labels(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw by a race of exponential clocks, whose rates are the probabilities.

    Rounding moves a label only where two clocks all but tie; inverting the summed distribution
    would be moved by it wherever many tokens are rare.
    """
    clocks = torch.empty_like(logits).exponential_(generator=generator)
    return logits.softmax(dim=-1).div_(clocks).argmax(dim=-1)
