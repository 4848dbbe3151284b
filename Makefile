# make demo: simulate a small night and reduce it to Level 3.   make test: every test and check.
# Both make .venv from requirements.lock first, once; PYTHON=... chooses the interpreter (>= 3.11).
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo/night
WORKERS ?= 2
# Whole nights last: by then one worker or the other has compiled what four jobs at once would all compile.
TESTS ?= tests/library tests/scripts $(wildcard tests/test_*.py) tests/workflow
# Options of tests/bench_ramp.py: checkouts of peers that no registry has, other sizes.
BENCH ?=

.PHONY: demo test lint format lock bench clean
.DELETE_ON_ERROR:

.venv/complete: requirements.lock .ci/make_venv
	PYTHON="$(PYTHON)" .ci/make_venv .venv requirements.lock
	@touch $@

.venv-bench/complete: requirements-bench.lock .ci/make_venv
	PYTHON="$(PYTHON)" .ci/make_venv .venv-bench requirements-bench.lock
	@touch $@

$(DEMO)/raw: | .venv/complete
	$(BIN)/python scripts/simulate_night.py "$(DEMO)" --preset demo --seed 1

demo: $(DEMO)/raw
	$(BIN)/snakemake -s Snakefile -d "$(DEMO)" --cores all
	@echo "products: $(DEMO)/level3   report: $(DEMO)/report.html"

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

lint: .venv/complete
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakefmt --check Snakefile rules

format: .venv/complete
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakefmt Snakefile rules

lock: .venv/complete
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group test --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --output-file requirements.lock
	$(BIN)/uv pip compile --group pyproject.toml:bench --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --output-file requirements-bench.lock

bench: .venv/complete .venv-bench/complete
	$(BIN)/python tests/bench_ramp.py $(BENCH)

clean:
	rm -rf .venv .venv-bench demo
