"""What an analysis leaves: table, curves, record, description and log, in their folder.

Plans of a person may lie there already.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from globalprune.analyze.curves import curves_of
from globalprune.analyze.description import describe
from globalprune.analyze.doubts import doubts
from globalprune.analyze.measuring import Measured
from globalprune.analyze.reliability import reliabilities
from globalprune.analyze.run_log import RunLog, layer_summary
from globalprune.analyze.subject import Subject
from globalprune.analyze.table import build_table
from globalprune.artifacts.analyses.analysis import (
    ANALYSIS_FILE,
    Analysis,
    AnalysisRecord,
    write_analysis_record,
)
from globalprune.artifacts.analyses.group_table import TABLE_FILE, write_group_table
from globalprune.artifacts.analyses.loss_curves import CURVES_FILE, write_curves
from globalprune.artifacts.analyses.trial import Trial, broken_promise
from globalprune.artifacts.own_files import ANALYSIS_FILES, ANALYZE_LOG, DESCRIPTION_FILE
from globalprune.artifacts.records import tool_versions
from globalprune.artifacts.staging import updated_folder
from globalprune.importance import Importance
from globalprune.text.windows import TokenWindows


def write_analysis(
    out: Path,
    subject: Subject,
    windows: TokenWindows,
    methods: Sequence[Importance],
    measured: Measured,
    log: RunLog,
    how: dict[str, Any],
    try_plan: Callable[[Analysis], Trial | None],
) -> AnalysisRecord:
    """Write table, record, description and log, all or none; return the record.

    `try_plan` makes the trial of what there is so far.
    """
    collected, ordered = measured.collected, measured.ordered
    normaliser = how["normalisers"].get(methods[0].name, "none")
    parts = (subject.structure, subject.layers, methods, collected.sums, normaliser)
    draft = build_table(*parts)  # its digest doesn't depend on the metadata
    record = AnalysisRecord(
        structure=subject.structure,
        layers=(subject.layers.start, subject.layers.stop),
        calibration=windows.record,
        methods=tuple(method.name for method in methods),
        default_importance=methods[0].name,
        compensated=tuple(method.name for method in methods if method.counts_on_compensation),
        incomparable=tuple(method.name for method in methods if not method.in_nats),
        reliability=reliabilities(
            subject.structure, subject.layers, methods, collected.halves, how["normalisers"]
        ),
        table=draft.digest,
        versions=tool_versions(),
        seconds=0.0,
        warnings=tuple(doubts(subject, windows, methods, normaliser, how["labels"], how["dtype"])),
        **how,
    )
    with log.phase("try what the first plan removes"):
        trial = try_plan(Analysis(out, record, draft))
    more = {
        "trial": trial,
        "seconds": round(log.seconds, 3),
        "warnings": (*record.warnings, *filter(None, [broken_promise(trial)])),
    }
    record = record.model_copy(update=more)
    log.say_record(record)
    log.say(f"scores by layer\n{layer_summary(draft)}")
    with updated_folder(out, ANALYSIS_FILES) as folder:
        table = build_table(*parts, identity=record.identity)
        write_group_table(folder / TABLE_FILE, table, subject.structure)
        if ordered is not None:
            curves = curves_of(ordered, subject.structure)
            write_curves(folder / CURVES_FILE, curves, identity=record.identity)
        (folder / DESCRIPTION_FILE).write_text(describe(record, collected.facts.loss), "utf-8")
        (folder / ANALYZE_LOG).write_text(log.text(), "utf-8")
        write_analysis_record(folder / ANALYSIS_FILE, record)
    return record
