# ragtrial. Needs Python 3.11 or newer and make; everything is installed into .venv.
#   make demo    run the main job on the bundled seeds and print the verdict
#   make dashboard    show what was measured, in a browser
#   make test    run every check and test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false


.PHONY: help demo live-demo dashboard test check format docs bench-lift bench-methods bench-published bench-index bench-embedding bench-evaluation bench-statistics bench-runner bench-llm bench-serving bench-live-log bench-splitting bench-board browser clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ragtrial needs Python 3.11 or newer, found " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[train]'
	@touch $@

$(VENV)/.live: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[train,serve]'
	@touch $@ $(VENV)/.train

$(VENV)/.dashboard: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[train,serve,dashboard]'
	@touch $@ $(VENV)/.train $(VENV)/.live

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.train $(VENV)/.live $(VENV)/.dashboard

demo: $(VENV)/.train ## Train, index, ask, score, log, decide and report, on the bundled seeds
	@$(BIN)/ragtrial demo

live-demo: $(VENV)/.live ## Serve both arms to simulated users, and watch the verdict form
	@$(BIN)/ragtrial live-demo

dashboard: $(VENV)/.dashboard ## Show what was measured, in a browser
	@$(BIN)/ragtrial dashboard

check: $(VENV)/.dev ## Lint, types, import layers, docs, generated files
	$(BIN)/ruff check platform dashboards tests experiments seeds
	$(BIN)/ruff format --check platform dashboards tests experiments seeds
	$(BIN)/mypy
	$(BIN)/mypy dashboards
	$(BIN)/lint-imports
	$(BIN)/python seeds/build.py --check
	$(BIN)/python -m pip check
	$(BIN)/python -m pytest -q tests/architecture

# Three workers keep two cores busy: a third of the time a test waits for a browser or a server.
test: $(VENV)/.dev browser check ## Every check and every test
	$(BIN)/python -m pytest -n 3 --dist worksteal --ignore tests/architecture

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix platform dashboards tests experiments seeds
	$(BIN)/ruff format platform dashboards tests experiments seeds

# The report is opened in a real browser by a test, which skips by name where there is none.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null && apt-get install -y -qq chromium >/dev/null; } \
		|| echo "no chromium: the tests that open the report in a browser will skip"

docs: $(VENV)/.dev ## Generate the command line reference and the experiment schema
	$(BIN)/typer ragtrial.cli.main utils docs --name ragtrial --output docs/cli.md
	$(BIN)/python -c "from pathlib import Path; from ragtrial.formats.experiment import write_schema; write_schema(Path('experiments/schema.json'))"

bench-lift: $(VENV)/.dev ## Lift of a fine-tuned model on COVID-QA and MedQuAD, with its interval
	$(BIN)/python experiments/benchmarks/lift.py

bench-methods: $(VENV)/.dev ## Plain training, hard negatives, LoRA and a linear adapter on the same data
	$(BIN)/python experiments/benchmarks/methods.py

bench-published: $(VENV)/.dev ## The published PubMedQA experiment's shape: from a strong and from a weak baseline
	$(BIN)/python experiments/benchmarks/published.py

bench-index: $(VENV)/.dev ## Embedding and indexing against bare encode and bare insert
	$(BIN)/python experiments/benchmarks/indexing.py

bench-embedding: $(VENV)/.dev ## Exported and quantized models against plain float32 encode, with what they lose
	$(BIN)/python experiments/benchmarks/embedding.py

bench-evaluation: $(VENV)/.dev ## A retrieval evaluation against sentence-transformers' evaluator
	$(BIN)/python experiments/benchmarks/evaluation.py

bench-statistics: $(VENV)/.dev ## Bootstrap and permutation against the plain way
	$(BIN)/python experiments/benchmarks/bench_statistics.py

bench-llm: $(VENV)/.dev ## Calls to LLMs against a bare client and against RAGAS, and judgments from the cache
	$(BIN)/python experiments/benchmarks/llm_gate.py

bench-serving: $(VENV)/.dev ## The live service against a plain handler that makes the bare calls, and modes against each other
	$(BIN)/python experiments/benchmarks/serving_http.py
	$(BIN)/python experiments/benchmarks/serving.py

bench-live-log: $(VENV)/.dev ## Durable group commit against one commit for each trial
	$(BIN)/python experiments/benchmarks/live_log.py

bench-splitting: $(VENV)/.dev ## An assignment against a bare hash
	$(BIN)/python experiments/benchmarks/splitting.py

BOARD_LOG ?= /tmp/ragtrial-board.db
bench-board: $(VENV)/.dev ## The dashboard's pages over a million live trials against a page that loads rows
	test -s $(BOARD_LOG) || $(BIN)/python experiments/benchmarks/board_log.py --url sqlite:///$(BOARD_LOG)
	$(BIN)/ragtrial roll-up --database sqlite:///$(BOARD_LOG)
	$(BIN)/python experiments/benchmarks/board.py --url sqlite:///$(BOARD_LOG) $(if $(ELSEWHERE),--elsewhere $(ELSEWHERE))

bench-runner: $(VENV)/.dev ## Trials per second logged to SQLite
	$(BIN)/python experiments/benchmarks/runner.py

clean: ## Remove what was built and measured, not the environment
	rm -rf .ragtrial ragtrial-demo reports .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
