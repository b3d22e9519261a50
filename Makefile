# ragtrial. Needs Python 3.11 or newer and make; everything is installed into .venv.
#   make demo    run the main job on the bundled seeds and print the verdict
#   make dashboard    show what was measured, in a browser
#   make test    run every check and test; make test-all: those too that only repeat more often
#   make up      serve the demo, or EXPERIMENT=..., with its stores in containers (Docker Compose)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false


.PHONY: help demo live-demo dashboard test test-all check format docs docs-site docs-images release-check bench-lift bench-methods bench-published bench-index bench-ray bench-swap bench-embedding bench-evaluation bench-statistics bench-runner bench-llm bench-serving bench-live-log bench-import bench-growth-sql bench-growth bench-splitting bench-board browser up down logs secrets audit secrets-baseline sbom fuzz clean

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
	$(BIN)/ruff check platform dashboards tests experiments seeds deploy docs
	$(BIN)/ruff format --check platform dashboards tests experiments seeds deploy docs
	$(BIN)/mypy
	$(BIN)/mypy dashboards
	$(BIN)/lint-imports
	$(BIN)/python seeds/build.py --check
	$(BIN)/python -m pip check
	$(BIN)/bandit --quiet --configfile pyproject.toml --severity-level medium --confidence-level medium --recursive platform dashboards
	$(BIN)/python -m pytest -q tests/architecture

# Three workers keep two cores busy: a third of the time a test waits for a browser or a server. With a fourth some run out of patience.
test: $(VENV)/.dev browser check ## Every check and test; what only repeats more often is left to test-all
	$(BIN)/python -m pytest -n 3 --dist worksteal --ignore tests/architecture

test-all: export RAGTRIAL_TEST_LONG := 1
test-all: test ## The same with every case and repetition: more kills and simulated experiments, whole data sets (an hour)

# Containers, see docs/operating.md. What is given here is kept in .env, which `docker compose` and later targets read.
# Only what make is given: other programs export some of these names for themselves.
SETTINGS := EXPERIMENT WORKSPACE OBSERVABILITY OTEL_EXPORTER_OTLP_ENDPOINT API_PORT DASHBOARD_PORT TESTER_PORT GRAFANA_PORT PROMETHEUS_PORT
up: secrets ## Serve EXPERIMENT (default: the last one, or the demo) with Milvus, PostgreSQL, dashboard; OBSERVABILITY=1 adds Prometheus and Grafana
	@$(PYTHON) deploy/up.py $(foreach name,$(SETTINGS),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))

down: ## Stop what `make up` started; volumes stay (docker compose down --volumes removes them)
	docker compose --profile observability down

logs: ## Follow the logs of what `make up` started
	docker compose --profile observability logs --follow --tail 100

secrets: ## Make the secrets of the compose file that are missing (deploy/secrets)
	@$(PYTHON) deploy/make_secrets.py

# Where the advisories (pypi.org) can be reached: known holes in what is pinned, and every line of every file for secrets.
audit: $(VENV)/.dev ## Known holes in the pinned packages (asks pypi.org), and a full scan for secrets
	$(BIN)/pip-audit --progress-spinner off --disable-pip --no-deps --requirement constraints.txt
	git ls-files -co --exclude-standard -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

secrets-baseline: $(VENV)/.dev ## Write .secrets.baseline anew, once what was found is known to be no secret
	$(BIN)/detect-secrets scan --disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString \
		--exclude-files '^tests/fuzz/corpus/|\.secrets\.baseline$$|^constraints\.txt$$' $$(git ls-files -co --exclude-standard | grep -v '^tests/fuzz/corpus') > .secrets.baseline.part
	mv .secrets.baseline.part .secrets.baseline

sbom: $(VENV)/.dev ## The packages of this environment as a CycloneDX bill of materials, sbom.json
	$(BIN)/python .ci/sbom.py sbom.json

SECONDS ?= 60
FUZZERS = experiment policy preparation terms prices pairs query_log labels trec beir table phoenix langfuse langfuse_scores ragas promptfoo html markdown mail pdf word tickets completion verdict bodies units registry
fuzz: $(VENV)/.dev ## Fuzz every parser for SECONDS=60 each; what is found is written to crash-*
	@for target in $(FUZZERS); do echo "== $$target"; \
		$(BIN)/python tests/fuzz/fuzz.py $$target -max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=2000 -max_len=4096 -print_final_stats=1 2>&1 | grep -aE 'Uncaught|Error|Test unit|stat::number' ; done

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix platform dashboards tests experiments seeds deploy docs
	$(BIN)/ruff format platform dashboards tests experiments seeds deploy docs

# The report is opened in a real browser by a test, which skips by name where there is none.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null && apt-get install -y -qq chromium >/dev/null; } \
		|| echo "no chromium: the tests that open the report in a browser will skip"

docs: $(VENV)/.dev ## Generate the command line reference and the experiment schema
	$(BIN)/typer ragtrial.cli.main utils docs --name ragtrial --output docs/cli.md
	$(BIN)/python -c "from pathlib import Path; from ragtrial.formats.experiment import write_schema; write_schema(Path('experiments/schema.json'))"

docs-site: $(VENV)/.dev ## Build the documentation as a site, strictly and without the network, into build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "open build/docs/index.html"

docs-images: $(VENV)/.dev ## Draw the pictures of docs/explained.md again, and photograph the tester's page (runs live-demo first where that was not)
	$(BIN)/python docs/site/figures.py
	$(BIN)/python docs/site/screens.py

release-check: ## Build the wheel, install it into empty environments elsewhere, run the demo there, resolve every extra (EXTRAS=all installs them)
	$(PYTHON) .ci/release_check.py

bench-lift: $(VENV)/.dev ## Lift of a fine-tuned model on COVID-QA and MedQuAD, with its interval
	$(BIN)/python experiments/benchmarks/lift.py

bench-methods: $(VENV)/.dev ## Plain training, hard negatives, LoRA and a linear adapter on the same data
	$(BIN)/python experiments/benchmarks/methods.py

bench-published: $(VENV)/.dev ## PubMedQA, as articles fine-tune on it: from a strong and from a weak baseline
	$(BIN)/python experiments/benchmarks/published.py

bench-index: $(VENV)/.dev ## Embedding and indexing against bare encode and bare insert
	$(BIN)/python experiments/benchmarks/indexing.py

bench-swap: $(VENV)/.dev ## An alias moved under 100 queries a second on a real Milvus server: what fails, and what another model answers
	$(BIN)/python experiments/benchmarks/alias_swap.py

bench-ray: $(VENV)/.dev ## Indexing on Ray against the local path on the same cores, and from how many workers it pays
	$(BIN)/python experiments/benchmarks/ray_indexing.py

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

BENCH_SQL ?= postgresql+psycopg://localhost/ragtrial_bench
bench-import: $(VENV)/.dev ## db import against bare COPY of the same rows, into the empty PostgreSQL BENCH_SQL
	$(BIN)/python experiments/benchmarks/bulk_import.py --url '$(BENCH_SQL)'

bench-growth-sql: $(VENV)/.dev ## The analysis of ten million trials in the empty PostgreSQL BENCH_SQL
	$(BIN)/python experiments/benchmarks/growth_sql.py --trials 10000000 --url '$(BENCH_SQL)'

bench-splitting: $(VENV)/.dev ## An assignment against a bare hash
	$(BIN)/python experiments/benchmarks/splitting.py

BOARD_LOG ?= /tmp/ragtrial-board.db
bench-board: $(VENV)/.dev ## The dashboard's pages over a million live trials against a page that loads rows
	test -s $(BOARD_LOG) || $(BIN)/python experiments/benchmarks/board_log.py --url sqlite:///$(BOARD_LOG)
	$(BIN)/ragtrial roll-up --database sqlite:///$(BOARD_LOG)
	$(BIN)/python experiments/benchmarks/board.py --url sqlite:///$(BOARD_LOG) $(if $(ELSEWHERE),--elsewhere $(ELSEWHERE))

GROWTH ?=
bench-growth: $(VENV)/.dev ## How each step grows with its load (hours; GROWTH='--sizes 1000,10000 --steps log' for less)
	$(BIN)/python experiments/benchmarks/growth $(GROWTH)

bench-runner: $(VENV)/.dev ## Trials per second logged to SQLite
	$(BIN)/python experiments/benchmarks/runner.py

clean: ## Remove what was built and measured, not the environment
	rm -rf .ragtrial ragtrial-demo reports .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
