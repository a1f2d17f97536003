"""Gate and up are moved down the true gradient, by the true curvature, and only where it helps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from compensating import running
from cutting import tensors_in
from tiny_models import FAMILIES, random_ids
from torch import nn
from torch.autograd import functional

from globalprune.compensation.gauss_newton import (
    STEPS,
    Blocks,
    _GateProblem,
    conjugate_gradients,
    gauss_newton_step,
)
from globalprune.sublayers.residual_stream import StreamBatch
from globalprune.sublayers.sublayer import GatedRows, Sublayer, gate_and_up, layer_calls

Tiny = Callable[[str], Path]
IDS = random_ids(8, 24)
KEPT = torch.arange(3, 24)


def entered(tiny: Tiny, family: str) -> tuple[Sublayer, StreamBatch]:
    """The first MLP, its kept rows, and streams of which the cut model's is a little off."""
    found = running(tiny(family))
    sublayer = found.sublayers[1]
    calls = layer_calls(found.module, found.layers, IDS)
    stream = found.sublayers[0].advance(calls.stream, calls).detach()
    off = 0.1 * torch.randn(stream.shape, generator=torch.Generator().manual_seed(1))
    held_out = torch.arange(len(IDS)) % 4 == 3
    behind = sublayer.advance(stream, calls).detach()
    return sublayer, StreamBatch(0, calls, held_out, behind, stream + off * stream.std())


def of(sublayer: Sublayer) -> tuple[nn.Linear, GatedRows, torch.Tensor]:
    """Output projection, kept rows, and the kept part of the output's weight."""
    assert sublayer.gating is not None
    assert sublayer.output is not None
    gating = sublayer.gating
    gate, up = gate_and_up([linear.weight for linear in gating.linears])
    rows = gating.rows(KEPT, gate[KEPT], up[KEPT])
    return sublayer.output, rows, sublayer.output.weight[:, KEPT].detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rows_make_what_enters_the_output(tiny: Tiny, family: str) -> None:
    """Of every family: its MLP is gated as the adapter says, biases included."""
    sublayer, batch = entered(tiny, family)
    _, rows, _ = of(sublayer)
    with torch.no_grad():
        expected = sublayer.inputs(batch.pruned, batch.calls)[..., KEPT]
        torch.testing.assert_close(rows.outputs(sublayer.norm(batch.pruned)), expected)


def test_stored_rows_keep_their_precision(tiny: Tiny) -> None:
    """A float32 checkpoint that runs in bfloat16 loses no bits of gate and up to a step."""
    stored = tensors_in(tiny("llama"))
    found = running(tiny("llama"), torch.bfloat16)
    gating = found.sublayers[1].gating
    assert gating is not None
    gate, up = (stored[name][KEPT] for name in gating.names)
    rows = gating.rows(KEPT, gate, up).widened()
    assert torch.equal(rows.gate, gate)
    assert torch.equal(rows.up, up)


@pytest.mark.parametrize("family", FAMILIES)
def test_slopes_are_derivatives(tiny: Tiny, family: str) -> None:
    """By what gate and up give, against differences."""
    sublayer, batch = entered(tiny, family)
    _, rows, _ = of(sublayer)
    rows = replace(
        rows,
        gate=rows.gate.double(),
        up=rows.up.double(),
        gate_bias=None if rows.gate_bias is None else rows.gate_bias.double(),
        up_bias=None if rows.up_bias is None else rows.up_bias.double(),
    )
    with torch.no_grad():
        inputs = sublayer.norm(batch.pruned)[0].double()
        outputs, by_gate, by_up = rows.linearise(inputs)
        torch.testing.assert_close(outputs, rows.outputs(inputs))
        move = 1e-7 * torch.randn_like(rows.gate)
        still = torch.zeros_like(move)
        for slope, moved in ((by_gate, rows.plus(move, still)), (by_up, rows.plus(still, move))):
            expected = outputs + slope * (inputs @ move.T)
            torch.testing.assert_close(moved.outputs(inputs), expected, rtol=0, atol=1e-10)


def lost(
    sublayer: Sublayer, batch: StreamBatch, gate: torch.Tensor, up: torch.Tensor
) -> torch.Tensor:
    """½ Σ |asked - made|² over what is fitted to, as a function of gate and up."""
    _, rows, weight = of(sublayer)
    inputs = batch.tokens(sublayer.norm(batch.pruned), held_out=False).detach()
    asked = batch.tokens(batch.target_output(sublayer), held_out=False).detach()
    made = replace(rows, gate=gate, up=up).outputs(inputs) @ weight.T
    return 0.5 * (asked - made).square().sum()


def test_gradient_is_that_of_autograd(tiny: Tiny) -> None:
    """Jᵀr is the negative gradient of half the squares."""
    sublayer, batch = entered(tiny, "llama")
    _, rows, weight = of(sublayer)
    gate, up = (part.detach().requires_grad_() for part in (rows.gate, rows.up))
    expected = torch.autograd.grad(lost(sublayer, batch, gate, up), (gate, up))
    with torch.no_grad():
        found = _GateProblem(sublayer, rows.widened(), weight, [batch]).gradient()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, -theirs, rtol=1e-4, atol=1e-5)


def test_product_is_gauss_newtons(tiny: Tiny) -> None:
    """JᵀJ·d, with J of the channels' outputs behind the down projection, by forward differences."""
    sublayer, batch = entered(tiny, "llama")
    _, rows, weight = of(sublayer)
    inputs = batch.tokens(sublayer.norm(batch.pruned), held_out=False).detach()
    direction = torch.randn_like(rows.gate), torch.randn_like(rows.up)

    def made(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return replace(rows, gate=gate, up=up).outputs(inputs) @ weight.T

    at = (rows.gate.detach(), rows.up.detach())
    forward = functional.jvp(made, at, direction)[1]  # type: ignore[no-untyped-call]
    expected = functional.vjp(made, at, forward)[1]  # type: ignore[no-untyped-call]
    with torch.no_grad():
        problem = _GateProblem(sublayer, rows.widened(), weight, [batch])
        problem.gradient()
        found = problem.product(direction)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_were_moved_are_brought_back(tiny: Tiny, family: str) -> None:
    """On windows that nothing was fitted to, by whose error the step is told."""
    sublayer, batch = entered(tiny, family)
    output, rows, weight = of(sublayer)
    with torch.no_grad():
        made = rows.outputs(sublayer.norm(batch.pruned)) @ weight.T
        batch.dense = batch.pruned + (made if output.bias is None else made + output.bias)
        off = rows.plus(
            *(0.2 * part.std() * torch.randn_like(part) for part in (rows.gate, rows.up))
        )
        found = gauss_newton_step(sublayer, off, weight, [batch])
        assert found is not None
        moved, error = found
        inputs = batch.tokens(sublayer.norm(batch.pruned), held_out=True)
        asked = batch.tokens(batch.target_output(sublayer), held_out=True)
        missed = [
            float((asked - tried.outputs(inputs) @ weight.T).square().sum() / asked.square().sum())
            for tried in (off, moved)
        ]
    assert error == pytest.approx(missed[1], rel=1e-3)
    assert missed[1] < 0.5 * missed[0]


def test_where_nothing_is_missing_nothing_moves(tiny: Tiny) -> None:
    """The same stream, and every channel that counts."""
    sublayer, batch = entered(tiny, "llama")
    output, rows, _ = of(sublayer)
    with torch.no_grad():
        batch.pruned = batch.dense - sublayer.residual_update(batch.pruned, batch.calls)
        weight = output.weight[:, KEPT].detach()
        made = rows.outputs(sublayer.norm(batch.pruned)) @ weight.T
        batch.dense = batch.pruned + made
        assert gauss_newton_step(sublayer, rows, weight, [batch]) is None


@dataclass
class Rows:
    """Σ |x_tᵀd - y_t|², and other rows that judge."""

    x: torch.Tensor  # [T, n]
    y: torch.Tensor  # [T]
    judging: tuple[torch.Tensor, torch.Tensor]
    inverse: torch.Tensor | None = None
    products: int = 0

    @property
    def gradient(self) -> Blocks:
        """Xᵀy, in two blocks."""
        return _parted(self.x.T @ self.y)

    def product(self, direction: Blocks) -> Blocks:
        """XᵀX·direction."""
        self.products += 1
        return _parted(self.x.T @ (self.x @ torch.cat(direction)))

    def precondition(self, gradient: Blocks) -> Blocks:
        """Nothing, or the inverse that is given."""
        if self.inverse is None:
            return gradient
        return _parted(self.inverse @ torch.cat(gradient))

    def error(self, step: Blocks) -> float:
        """Of the rows that judge."""
        x, y = self.judging
        return float((x @ torch.cat(step) - y).square().sum())


def _parted(values: torch.Tensor) -> Blocks:
    return values[:2], values[2:]


def rows(unknowns: int, *, noise: float = 0.0, tokens: int = 40) -> Rows:
    """Rows of a linear truth, and as many others of the same."""
    generator = torch.Generator().manual_seed(unknowns)
    truth = torch.randn(unknowns, generator=generator, dtype=torch.float64)
    pairs = []
    for _ in range(2):
        x = torch.randn(tokens, unknowns, generator=generator, dtype=torch.float64)
        off = torch.randn(tokens, generator=generator, dtype=torch.float64)
        pairs.append((x, x @ truth + noise * off))
    return Rows(*pairs[0], pairs[1])


def zero(problem: Rows) -> float:
    """The error where nothing is moved."""
    return problem.error(tuple(map(torch.zeros_like, problem.gradient)))


@pytest.mark.parametrize("unknowns", [3, STEPS])
def test_as_many_steps_as_unknowns_solve(unknowns: int) -> None:
    """In exact arithmetic no more are needed (Hestenes and Stiefel, theorem 4:1)."""
    problem = rows(unknowns)
    found = conjugate_gradients(problem, problem.gradient, zero(problem))
    assert found.step is not None
    solution = torch.linalg.lstsq(problem.x, problem.y[:, None]).solution[:, 0]
    torch.testing.assert_close(torch.cat(found.step), solution, rtol=1e-8, atol=1e-8)
    assert found.error < 1e-12


def test_a_perfect_inverse_needs_one_step() -> None:
    """The preconditioner is used as such."""
    problem = rows(12)
    problem.inverse = torch.linalg.inv(problem.x.T @ problem.x)
    found = conjugate_gradients(problem, problem.gradient, zero(problem))
    assert found.error < 1e-12
    assert problem.products <= 4  # and what it takes to see that no more is to be had


def test_what_others_deny_is_not_taken() -> None:
    """The best point on the way counts, not the last; its error is its own."""
    problem = rows(30, noise=3.0)
    found = conjugate_gradients(problem, problem.gradient, zero(problem))
    solution = torch.linalg.lstsq(problem.x, problem.y[:, None]).solution[:, 0]
    assert found.step is not None
    assert found.error == problem.error(found.step)
    assert found.error < zero(problem)
    assert found.error < problem.error(_parted(solution))


def test_where_every_step_is_worse_there_is_none() -> None:
    """Tokens that ask for the contrary judge."""
    problem = rows(6)
    x, y = problem.judging
    problem.judging = (x, -y)
    found = conjugate_gradients(problem, problem.gradient, zero(problem))
    assert (found.step, found.error) == (None, zero(problem))
    assert problem.products == 2


def test_nothing_to_do_is_nothing_done() -> None:
    """A gradient of zeros: no division by it."""
    problem = rows(4)
    problem.y = torch.zeros_like(problem.y)
    found = conjugate_gradients(problem, problem.gradient, zero(problem))
    assert found.step is None
    assert problem.products <= 1


def test_what_is_no_number_moves_nothing() -> None:
    """Neither an infinite product nor an error that is none counts as better."""
    problem = rows(4)
    problem.judging = (problem.judging[0] * torch.nan, problem.judging[1])
    assert conjugate_gradients(problem, problem.gradient, 1.0).step is None
