"""What a student learns from its teacher: the next token's distribution, at its most likely tokens.

Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. Only the teacher's
`top_k` tokens are compared one by one; all others count as one more, so that no mass is lost and
the divergence stays one: at least 0, and 0 only where both agree.
"""

import torch
from torch.utils.checkpoint import checkpoint

from globalprune.artifacts.results.finetuning import DistillationSettings

CHUNK_LOGITS = 2**25  # that are compared at once; 128 MiB in float32
_LEAST = 1e-8  # mass of the rest: below it float32 says nothing


def distillation_sum(
    student: torch.Tensor,
    teacher: torch.Tensor,
    learned: torch.Tensor,
    settings: DistillationSettings,
) -> torch.Tensor:
    """T² · Σ KL(teacher ‖ student) over the `learned` positions, in nats.

    `student` and `teacher` are logits `[B, T, V]`, `learned` says `[B, T]` at which positions the
    next token counts. float32 whatever the logits are.
    """
    chosen, taught = student[learned], teacher[learned]
    step = max(1, CHUNK_LOGITS // student.shape[-1])
    total = student.new_zeros((), dtype=torch.float32)
    for start in range(0, len(chosen), step):
        rows, truth = chosen[start : start + step], taught[start : start + step]
        # computed again in the backward pass, or every chunk's float32 logits would be kept for it
        part: torch.Tensor = checkpoint(_top_k_kl, rows, truth, settings, use_reentrant=False)
        total = total + part
    return total * settings.temperature**2


def _top_k_kl(
    student: torch.Tensor, teacher: torch.Tensor, settings: DistillationSettings
) -> torch.Tensor:
    """Σ KL of the rows `[N, V]`, over top-k tokens and the rest as one."""
    warm_student = student.float() / settings.temperature
    warm_teacher = teacher.float() / settings.temperature
    top, tokens = warm_teacher.topk(min(settings.top_k, teacher.shape[-1]), dim=-1)
    log_p = top - warm_teacher.logsumexp(-1, keepdim=True)
    log_q = warm_student.gather(-1, tokens) - warm_student.logsumexp(-1, keepdim=True)
    p_rest, q_rest = _rest(log_p), _rest(log_q)
    inside = (log_p.exp() * (log_p - log_q)).sum(-1)
    return (inside + p_rest * (p_rest.log() - q_rest.log())).sum()


def _rest(log_probabilities: torch.Tensor) -> torch.Tensor:
    """The mass of all tokens that are not listed."""
    return (1 - log_probabilities.exp().sum(-1)).clamp_min(_LEAST)
