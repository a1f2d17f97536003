"""The table of measured latencies."""

from records import machine_record, timed

from globalprune.artifacts.evaluations.evaluation import Hardware
from globalprune.cli.commands.measure import latency_text

FULL, NO_ATTENTION = timed(2, 8, 0.03, 0.0301, 0.0305), timed(0, 8, 0.01, 0.0102, 0.0101)
HALF_MLP, NO_MLP = timed(2, 4, 0.0251, 0.0252, 0.0254), timed(2, 0, 0.02, 0.0201, 0.0202)


def test_a_row_a_point_the_full_model_first() -> None:
    """Median, rounds, and the part of the full model's time with its error."""
    lines = latency_text(machine_record(FULL, NO_MLP, HALF_MLP, NO_ATTENTION)).splitlines()

    assert [" ".join(line.split()) for line in (lines[0], *lines[2:6])] == [
        "every layer keeps ms a token rounds of the full model",
        "all 30.10 30.00 to 30.50 100 %",
        "0 of 2 attention groups 10.10 10.00 to 10.20 33.6 ± 0.3 %",
        "4 of 8 mlp channels 25.20 25.10 to 25.40 83.72 ± 0.17 %",
        "0 of 8 mlp channels 20.10 20.00 to 20.20 66.8 ± 0.2 %",
    ]


def test_it_says_what_the_figures_hold_for() -> None:
    """Model, machine, batch and context; without them no figure means anything."""
    gpu = Hardware(cpu="a processor", threads=2, gpu="a card")
    record = machine_record(device="cuda", hardware=gpu, dtype="bfloat16", batch_size=4)

    assert latency_text(record).splitlines()[-3:] == [
        "the shape of test/model, 2 layers, bfloat16 on cuda (a card)",
        "batch size 4, 16 tokens one by one after 2,048, 2 s in all",
        "median of 1 rounds after a warm-up, points interleaved; ± is the standard error",
    ]
    assert "a processor, 2 threads" in latency_text(machine_record())
