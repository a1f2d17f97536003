"""Loads folders in vLLM, one after the other: `python ask_vllm.py questions.json answers.json`.

A Python of its own runs it (see `vllm_runtime`), so it imports nothing of ours.
"""

import json
import sys
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Go on greedily behind each prompt; say which class runs, and what its cache holds."""
    llm = LLM(
        model=question["folder"],
        trust_remote_code=question["trust"],
        model_impl=question["implementation"],
        dtype="float32",
        max_model_len=128,
        enforce_eager=True,
    )
    sampling = SamplingParams(
        temperature=0, max_tokens=question["tokens"], logprobs=0, ignore_eos=True
    )
    continued = []
    for said in llm.generate(question["prompts"], sampling, use_tqdm=False):
        steps = said.outputs[0]
        chosen = zip(steps.token_ids, steps.logprobs, strict=True)
        values = [by_id[token].logprob for token, by_id in chosen]
        continued.append([said.prompt_token_ids, list(steps.token_ids), values])
    return {
        "model_class": llm.apply_model(lambda model: type(model).__name__)[0],
        "cached_tokens": llm.llm_engine.vllm_config.cache_config.kv_cache_size_tokens,
        "continued": continued,
    }


def answer_or_error(question: dict[str, Any]) -> dict[str, Any]:
    """Say why a folder didn't load; the others are answered all the same."""
    try:
        return answer(question)
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        cleanup_dist_env_and_memory()


if __name__ == "__main__":
    asked, written = map(Path, sys.argv[1:])
    answers = [answer_or_error(question) for question in json.loads(asked.read_text("utf-8"))]
    written.write_text(json.dumps(answers), "utf-8")
