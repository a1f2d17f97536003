"""Tasks of lm-eval as local files, and the questions in them: no network, no data set of others."""

import json
from pathlib import Path

QUESTIONS = 8


def write_task(folder: Path, name: str = "counting", *, questions: int = QUESTIONS) -> Path:
    """Write a multiple-choice task and its questions; return the task's file."""
    rows = [
        {"question": f"{number} and one is", "choices": [f"{number + 1}", f"{9 * number}", "no"]}
        for number in range(questions)
    ]
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / f"{name}.yaml"
    path.write_text(
        f"""task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata:
  version: 3.0
"""
    )
    return path
