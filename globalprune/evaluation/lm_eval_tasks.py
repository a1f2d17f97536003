"""Tasks of lm-eval: loaded, identified by digest, and answered."""

import difflib
import math
import random
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from globalprune.artifacts.evaluations.evaluation import MetricResult, TaskResult, TaskSettings
from globalprune.artifacts.records import digest_bytes, digest_json
from globalprune.errors import TextError, UsageError
from globalprune.evaluation.lm_eval_quiet import quiet_lm_eval
from globalprune.progress import Progress
from globalprune.text.chat_template import ChatTemplate

LM_EVAL: Final = "lm_eval"
_CODE_SUFFIXES: Final = (".py", ".yaml", ".yml", ".jinja")
_GROUP: Final = re.compile(r"^group\s*:", re.MULTILINE)
_SUGGESTED: Final = 5


@dataclass(frozen=True)
class LoadedTasks:
    """The tasks as lm-eval's own objects, and digests that identify their questions.

    `documents` and `configs` are by task; `parents` names the group that reports a task's figure.
    """

    settings: TaskSettings
    loaded: Any  # lm-eval's TaskDict
    documents: dict[str, str]
    configs: dict[str, str]
    parents: dict[str, str]

    @property
    def key(self) -> dict[str, Any]:
        """All that the answers depend on, except the model."""
        return {
            **self.settings.model_dump(mode="json", exclude={"include_path"}),
            "documents": self.documents,
            "configs": self.configs,
            "code": code_digests(self.settings),
        }


def load_tasks(settings: TaskSettings, progress: Progress) -> LoadedTasks:
    """Find every task and read its data.

    Raise `UsageError` for a name that is no task, or a task that is not run here, and `TextError`
    for data that can't be read.
    """
    lm_eval_version()
    include = _include_path(settings.include_path)
    _refuse_missing_files(settings.names)
    with quiet_lm_eval(progress):
        manager = _manager(settings.names, include)
        for name in settings.names:
            _refuse_unknown(name, manager)
        loaded = _load(manager, settings.names)
        for name, task in loaded["tasks"].items():
            _refuse_unsupported(name, task)
        limit = settings.limit
        return LoadedTasks(
            settings,
            loaded,
            documents={
                name: documents_digest(task, limit) for name, task in loaded["tasks"].items()
            },
            configs={name: config_digest(task) for name, task in loaded["tasks"].items()},
            parents=_parents(loaded["groups"]),
        )


def lm_eval_version() -> str:
    """The version of lm-eval; raise `UsageError` where it isn't installed."""
    try:
        return metadata.version(LM_EVAL)
    except metadata.PackageNotFoundError:
        raise UsageError(
            "--tasks: needs lm-eval, which isn't installed; pip install 'globalprune[eval]'."
        ) from None


def refuse_missing_template(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `UsageError` where the tokenizer has no chat template that works."""
    if tokenizer.chat_template is None:
        raise UsageError(
            f"{name}: its tokenizer has no chat template; leave --apply-chat-template out."
        )
    template = ChatTemplate(tokenizer, f"{name}: --apply-chat-template is given")
    question = [{"role": "user", "content": "?"}]
    template.render(question, f"{name}: a question", add_generation_prompt=True)


def answer_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: LoadedTasks,
    *,
    batch_size: int,
    progress: Progress,
) -> dict[str, TaskResult]:
    """The results of every task, and of every group that has a figure of its own."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    settings = tasks.settings
    with quiet_lm_eval(progress):
        lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=batch_size)
        _prepare(tasks.loaded["tasks"], settings)
        answers = evaluate(
            lm=lm,
            task_dict=tasks.loaded,
            limit=settings.limit,
            bootstrap_iters=settings.bootstrap,
            apply_chat_template=settings.apply_chat_template,
            fewshot_as_multiturn=True,  # lm-eval's own entry does so; no matter without a template
        )
    return {
        name: _result(name, figures, answers, tasks) for name, figures in answers["results"].items()
    }


def documents_digest(task: Any, limit: int | None) -> str:
    """Return the digest of the documents that the task asks about, in order."""
    return digest_json([_plain(document) for _, document in task.doc_iterator(limit=limit)])


def config_digest(task: Any) -> str:
    """The digest of the task's definition, wherever its file lies."""
    config = dict(task.dump_config())
    config["metadata"] = {
        key: value
        for key, value in dict(config.get("metadata") or {}).items()
        if key != "config_source"
    }
    return digest_json(_plain(config))


def code_digests(settings: TaskSettings) -> dict[str, str]:
    """The digests of code and templates in the folders of the user's own tasks."""
    own = [Path(name).expanduser() for name in settings.names]
    files = {path for name in own if name.is_file() for path in name.resolve().parent.iterdir()}
    if settings.include_path is not None:
        files |= {*Path(settings.include_path).expanduser().resolve().rglob("*")}
    return {
        f"{path.parent.name}/{path.name}": digest_bytes(path.read_bytes())
        for path in sorted(files)
        if path.suffix in _CODE_SUFFIXES and path.is_file()
    }


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; anything else by the name of its type, never its address."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | None) else type(value).__name__


def _include_path(text: str | None) -> Path | None:
    """The folder of further tasks."""
    if text is None:
        return None
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--tasks-path {text}: there is no such folder.")
    return folder


def _refuse_missing_files(names: tuple[str, ...]) -> None:
    """Raise for a name that can only mean a file, and there is none."""
    for name in names:
        if name.endswith((".yaml", ".yml")) and not Path(name).expanduser().is_file():
            raise UsageError(f"--tasks {name}: there is no such file.")


def _manager(names: tuple[str, ...], include: Path | None) -> Any:
    """lm-eval's index of tasks; its own thousands take seconds to read, so only if one is used."""
    from lm_eval.tasks import TaskManager

    own = TaskManager(include_path=include, include_defaults=False)
    if all(_stands_alone(name, own.task_index) or _is_single_task(name) for name in names):
        return own
    return TaskManager(include_path=include)


def _stands_alone(name: str, index: dict[str, Any]) -> bool:
    """Whether the index holds this name and, for a group, all of its members."""
    entry = index.get(name)
    if entry is None:
        return False
    members = (entry.cfg or {}).get("task", name)
    return not isinstance(members, list) or all(
        isinstance(member, str) and member in index for member in members
    )


def _is_single_task(name: str) -> bool:
    """Whether this is the file of a task, and not of a group, which may name any other task."""
    path = Path(name).expanduser()
    return path.is_file() and not _GROUP.search(path.read_text(encoding="utf-8", errors="replace"))


def _refuse_unknown(name: str, manager: Any) -> None:
    """Raise unless this is a task, group or tag of lm-eval, or a file of one."""
    if name in manager.all_tasks or Path(name).expanduser().is_file():
        return
    near = difflib.get_close_matches(name, manager.all_tasks, n=_SUGGESTED)
    hint = f"did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists what it knows."
    raise UsageError(
        f"--tasks {name}: is neither a task that lm-eval {lm_eval_version()} knows nor a .yaml "
        f"file; {hint}"
    )


def _load(manager: Any, names: tuple[str, ...]) -> Any:
    """Read the tasks and their data."""
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    for name in dict.fromkeys(names):
        try:
            one = manager.load([name])
        # the readers of a task's data are of many libraries, and raise anything
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            raise TextError(
                f"--tasks {name}: can't be read ({type(error).__name__}: {lines[0]}); look at its "
                "definition, and without a network at whether its data is in the cache."
            ) from error
        for part, members in loaded.items():
            members.update(one[part])
    return loaded


def _refuse_unsupported(name: str, task: Any) -> None:
    """Raise for a task that runs code that the model wrote, or that shows pictures."""
    if getattr(task, "UNSAFE_CODE", False):
        raise UsageError(f"--tasks {name}: runs code that the model writes; gp eval won't run it.")
    if getattr(task, "MULTIMODAL", False):
        raise UsageError(f"--tasks {name}: needs a model that sees; name a task of text alone.")


def _parents(groups: dict[str, Any]) -> dict[str, str]:
    """For each task or group, the group above it that has a figure of its own."""
    return {
        child: name
        for name, group in groups.items()
        if group.has_aggregation
        for child in group.child_names
    }


def _prepare(loaded: dict[str, Any], settings: TaskSettings) -> None:
    """Set seeds and few-shot examples for a model, as lm-eval's `simple_evaluate` does."""
    seeds = settings.seeds
    random.seed(seeds.random)
    np.random.seed(seeds.numpy)  # noqa: NPY002 - tasks draw from numpy's global generator
    torch.manual_seed(seeds.torch)
    for task in loaded.values():
        own = task.get_config("num_fewshot")
        if settings.fewshot is not None and own != 0:  # 0 in a task is not to be changed
            task.set_config(key="num_fewshot", value=settings.fewshot)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seeds.fewshot)


def _result(name: str, figures: dict[str, Any], answers: Any, tasks: LoadedTasks) -> TaskResult:
    """The figures of one task, whose keys lm-eval spells `acc_stderr,none`."""
    better = answers["higher_is_better"].get(name, {})
    samples = answers.get("samples", {}).get(name, [])
    metrics = {}
    for key, value in figures.items():
        metric, comma, kind = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        metrics[metric if kind == "none" else f"{metric} ({kind})"] = MetricResult(
            value=_finite(value),
            standard_error=_finite(figures.get(f"{metric}_stderr,{kind}")),
            higher_is_better=better.get(metric),
            right=_right(samples, metric, kind),
        )
    version = answers["versions"].get(name)
    return TaskResult(
        metrics=metrics,
        documents=figures.get("sample_len", 0),
        document_digest=tasks.documents.get(name),
        fewshot=answers["n-shot"].get(name),
        version=None if version is None else str(version),
        config=tasks.configs.get(name),
        part_of=tasks.parents.get(name),
    )


def _finite(value: Any) -> float | None:
    """A finite number, or None for anything else (`N/A`, nan)."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None


def _right(samples: list[dict[str, Any]], metric: str, kind: str) -> str | None:
    """A 0 or 1 for every document, if the metric has no other values."""
    values = [sample.get(metric) for sample in samples if sample["filter"] == kind]
    if not values or any(value not in (0, 1) for value in values):
        return None
    return "".join(str(int(value)) for value in values if value is not None)
