"""Tasks through lm-eval: the same answers as its own door gives, on models that it can't open."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from applying import applied
from cutting import Removals
from task_files import QUESTIONS, write_task

from globalprune.artifacts.evaluations.evaluation import TaskResult, TaskSettings
from globalprune.errors import TextError, UsageError
from globalprune.evaluation import lm_eval_tasks
from globalprune.evaluation.lm_eval_tasks import (
    answer_tasks,
    config_digest,
    documents_digest,
    load_tasks,
    refuse_missing_template,
)
from globalprune.models.loading import load_model
from globalprune.models.tokenizer import load_tokenizer
from globalprune.progress import silent

Tiny = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what `datasets` makes of the questions out of the machine's cache; and stay offline."""
    import datasets

    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)


def answers(folder: Path, **asked: Any) -> dict[str, TaskResult]:
    """What a model answers through us."""
    tasks = load_tasks(TaskSettings(**asked), silent)
    return answer_tasks(
        load_model(folder), load_tokenizer(folder), tasks, batch_size=2, progress=silent
    )


@pytest.mark.parametrize("fewshot", [None, 2])
def test_lm_eval_itself_gives_the_same(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fewshot: int | None
) -> None:
    """For a pruned model that it can open by itself: value, error and count."""
    from lm_eval import evaluator, simple_evaluate
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(evaluator, "add_env_info", dict)  # describes the machine for seconds
    evenly: Removals = {layer: {"mlp": list(range(10))} for layer in range(4)}
    out = Path(applied(tiny("llama"), tmp_path, evenly).out)
    task = str(write_task(tmp_path))
    ours = answers(out, names=(task,), fewshot=fewshot)["counting"]
    theirs: Any = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(out), "dtype": "float32"},
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        num_fewshot=fewshot,
        batch_size=2,
        device="cpu",
    )
    figures = theirs["results"]["counting"]
    for metric in ("acc", "acc_norm"):
        assert ours.metrics[metric].value == figures[f"{metric},none"]
        assert ours.metrics[metric].standard_error == figures[f"{metric}_stderr,none"]
    assert (ours.documents, ours.fewshot) == (QUESTIONS, theirs["n-shot"]["counting"])
    assert ours.version == "3.0"


def test_a_model_of_uneven_layers_answers(tiny: Tiny, tmp_path: Path) -> None:
    """Offline, from a local file, with one layer without attention and one without MLP."""
    cut: Removals = {
        0: {"attention": [0, 1, 2, 3]},
        2: {"mlp": list(range(24))},
        3: {"mlp": [1, 5]},
    }
    out = Path(applied(tiny("llama"), tmp_path, cut).out)
    found = answers(out, names=(str(write_task(tmp_path)),))["counting"]
    right = found.metrics["acc"].right
    assert right is not None
    assert len(right) == QUESTIONS
    assert found.metrics["acc"].value == right.count("1") / QUESTIONS
    assert found.metrics["acc"].higher_is_better


def test_every_model_is_asked_the_same(tiny: Tiny, tmp_path: Path) -> None:
    """The second time too, examples in the prompt and all."""
    settings = TaskSettings(names=(str(write_task(tmp_path)),), fewshot=3)
    tasks = load_tasks(settings, silent)
    model, tokenizer = load_model(tiny("llama")), load_tokenizer(tiny("llama"))
    first, second = (
        answer_tasks(model, tokenizer, tasks, batch_size=1, progress=silent) for _ in range(2)
    )
    assert first == second


def test_a_limit_asks_the_first_documents(tiny: Tiny, tmp_path: Path) -> None:
    """And says how many it were; their digest is another."""
    names = (str(write_task(tmp_path)),)
    whole = answers(tiny("llama"), names=names)["counting"]
    part = answers(tiny("llama"), names=names, limit=3)["counting"]
    assert (part.documents, whole.documents) == (3, QUESTIONS)
    assert part.document_digest != whole.document_digest
    assert whole.metrics["acc"].right is not None
    assert part.metrics["acc"].right == whole.metrics["acc"].right[:3]


def test_a_folder_of_tasks_is_searched(tmp_path: Path) -> None:
    """Its tasks go by name; the digests say what is asked, wherever the file lies."""
    here, there = (tmp_path / name for name in ("here", "there"))
    for folder in (here, there):
        folder.mkdir()
        write_task(folder)
    asked = TaskSettings(names=("counting",), include_path=str(here))
    found = load_tasks(asked, silent)
    moved = load_tasks(TaskSettings(names=(str(there / "counting.yaml"),)), silent)
    assert found.documents == moved.documents
    assert found.key["documents"].keys() == {"counting"}


def test_a_group_speaks_for_its_tasks(tiny: Tiny, tmp_path: Path) -> None:
    """Its figure is kept beside theirs, which are marked as parts of it."""
    for name in ("counting", "sums"):
        write_task(tmp_path, name)
    (tmp_path / "both.yaml").write_text(
        "group: both\ntask: [counting, sums]\naggregate_metric_list: [{metric: acc}]\n"
    )
    found = answers(tiny("llama"), names=("both",), include_path=str(tmp_path))
    assert found["counting"].part_of == found["sums"].part_of == "both"
    both = found["both"]
    assert (both.part_of, both.document_digest) == (None, None)
    parts = [found[name].metrics["acc"].value for name in ("counting", "sums")]
    assert both.metrics["acc"].value == pytest.approx(sum(map(float, filter(None, parts))) / 2)


def test_a_name_that_nobody_knows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With names that are near, and before any model is loaded."""
    from lm_eval.tasks import TaskManager

    quick = partial(TaskManager, include_defaults=False)  # reading its own thousands takes seconds
    monkeypatch.setattr("lm_eval.tasks.TaskManager", quick)
    write_task(tmp_path)
    asked = TaskSettings(names=("countign",), include_path=str(tmp_path))
    with pytest.raises(UsageError, match=r"--tasks countign: is neither.*did you mean counting\?"):
        load_tasks(asked, silent)


def test_a_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    """By what was asked for."""
    with pytest.raises(UsageError, match=r"--tasks .*gone\.yaml: there is no such file"):
        load_tasks(TaskSettings(names=(str(tmp_path / "gone.yaml"),)), silent)
    asked = TaskSettings(names=("x",), include_path=str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"--tasks-path .*gone: there is no such folder"):
        load_tasks(asked, silent)


def test_data_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A task whose data can't be read says so, before any model is loaded."""
    path = write_task(tmp_path)
    (tmp_path / "counting.jsonl").unlink()
    with pytest.raises(TextError, match=r"counting\.yaml: can't be read \(FileNotFound.*look at"):
        load_tasks(TaskSettings(names=(str(path),)), silent)


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of it is imported."""
    monkeypatch.setattr(lm_eval_tasks, "LM_EVAL", "lm_eval_that_is_not_there")
    with pytest.raises(UsageError, match=r"pip install 'globalprune\[eval\]'"):
        load_tasks(TaskSettings(names=("arc_easy",)), silent)


def test_a_missing_chat_template_is_refused(tiny: Tiny) -> None:
    """Of which model, and what to leave out."""
    with pytest.raises(UsageError, match=r"^m: its tokenizer has no chat template; leave --apply"):
        refuse_missing_template("m", load_tokenizer(tiny("llama")))
    tokenizer = load_tokenizer(tiny("llama"))
    tokenizer.chat_template = {"rag": "{{ messages }}"}
    with pytest.raises(TextError, match=r"^m: --apply-chat-template is given, and .* named rag"):
        refuse_missing_template("m", tokenizer)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(TextError, match=r"^m: a question: .*doesn't take this .*no"):
        refuse_missing_template("m", tokenizer)


def test_the_harness_keeps_quiet_and_is_left_as_it_was(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a word on stdout or stderr, our progress in place of its bars, and all set back."""
    from lm_eval.models import huggingface

    told: list[str] = []

    def progress(items: Any, *, total: int, label: str, unit: str) -> Any:
        told.append(f"{label}: {total} {unit}")
        return silent(items, total=total, label=label, unit=unit)

    tiny("llama")  # saving it may show a bar of its own
    capsys.readouterr()
    before = (huggingface.tqdm, logging.getLogger("lm_eval").level)
    tasks = load_tasks(TaskSettings(names=(str(write_task(tmp_path)),)), progress)
    model, tokenizer = load_model(tiny("llama")), load_tokenizer(tiny("llama"))
    answer_tasks(model, tokenizer, tasks, batch_size=1, progress=progress)
    assert told == [
        f"building requests: {QUESTIONS} requests",
        f"tokenizing inputs: {3 * QUESTIONS} requests",
        f"running loglikelihood requests: {3 * QUESTIONS} requests",
    ]
    assert capsys.readouterr() == ("", "")
    assert (huggingface.tqdm, logging.getLogger("lm_eval").level) == before


class Asked:
    """A task as far as its digests go."""

    def __init__(self, config: dict[str, Any], documents: list[dict[str, Any]]) -> None:
        self._config, self._documents = config, documents

    def dump_config(self) -> dict[str, Any]:
        """The definition."""
        return self._config

    def doc_iterator(self, limit: int | None) -> Any:
        """The documents, numbered."""
        return enumerate(self._documents[:limit])


DOCUMENTS: list[dict[str, Any]] = [{"q": "one"}, {"q": "two"}]
CONFIG: dict[str, Any] = {"doc_to_text": "{{q}}", "metadata": {"version": 1, "config_source": "/a"}}


@pytest.mark.parametrize("other", [DOCUMENTS[::-1], DOCUMENTS[:1], [{"q": "one"}, {"q": "too"}]])
def test_other_documents_have_another_digest(other: list[dict[str, Any]]) -> None:
    """Their order counts, since answers are paired by it; what a limit leaves out doesn't."""
    ours = documents_digest(Asked(CONFIG, DOCUMENTS), None)
    assert documents_digest(Asked(CONFIG, other), None) != ours
    assert documents_digest(Asked(CONFIG, DOCUMENTS), 1) == documents_digest(
        Asked(CONFIG, DOCUMENTS[:1]), None
    )


def test_a_definition_is_the_same_wherever_it_lies() -> None:
    """Nor does it matter where in memory a function of it lies; what it says does."""
    moved = {"doc_to_text": "{{q}}", "metadata": {"version": 1, "config_source": "/b"}}
    assert config_digest(Asked(moved, [])) == config_digest(Asked(CONFIG, []))
    functions: list[dict[str, Any]] = [CONFIG | {"process": lambda: 1} for _ in range(2)]
    first, second = (config_digest(Asked(config, [])) for config in functions)
    assert first == second != config_digest(Asked(CONFIG, []))
    newer = CONFIG | {"metadata": {"version": 2}}
    assert config_digest(Asked(newer, [])) != config_digest(Asked(CONFIG, []))
