# Everything a person does with this checkout. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
# Tests wait more than they compute: three files at once fill two cores. A file's tests stay together, as they share servers; files run in
# the order of their folders, so that the short ones of tests/unit come last and fill what is left.
WORKERS ?= 3
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 30

.DEFAULT_GOAL := help
.PHONY: help dev check fmt test test-full chaos demo demo-stop bench sim tools agent clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fleetctl needs Python 3.11 or later; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

dev: $(STAMP) ## make .venv with everything

tools: ## get helm, kubectl, kustomize, etcd and the Kubernetes programs (once, into a cache outside of the checkout)
	@$(PYTHON) -m tests.localkube.toolchain.tools --all

check: $(STAMP) ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check fleetctl manager agent examples tests
	$(BIN)/ruff check fleetctl manager agent examples tests
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(STAMP) ## format, and fix what ruff can fix
	$(BIN)/ruff format fleetctl manager agent examples tests
	$(BIN)/ruff check --fix fleetctl manager agent examples tests

test: $(STAMP) tools ## install what the tests need and run them, without the long ones (WORKERS=n side by side, ARGS=...)
	$(PYTEST) -m "not full" $(ARGS)

test-full: $(STAMP) tools ## run every test at full depth: bad networks, the upgrade matrix, deep random tests (about an hour)
	TEST_DEPTH=full $(PYTEST) --timeout 1800 $(ARGS)

chaos: $(STAMP) tools ## every fault at every step, then kills at random for long (ROUNDS=60 SEED=n ONLY=words)
	@CHAOS=whole ROUNDS="$(ROUNDS)" SEED="$(SEED)" $(BIN)/pytest -s tests/chaos -m chaos --timeout 7200 $(if $(ONLY),-k "$(ONLY)")

demo: $(STAMP) ## a manager, a Git repository and three clusters, shown at work (QUICK=1, KEEP=1, KUBECONFIGS=a,b,c)
	@$(BIN)/python -m examples.demo

demo-stop: ## stop a demo that KEEP=1 left running
	@$(BIN)/python -m examples.demo.stop

bench: $(STAMP) tools ## measure against peers in the same run (ONLY=substring)
	@$(BIN)/python -m tests.bench $(ONLY)

sim: $(STAMP) ## play N agents against a manager and print a table (N=1000 ONLY=words PREPARE=1, tests/sim/README.md)
	@$(BIN)/python -m tests.sim --count $(or $(N),1000) $(if $(ONLY),--only $(ONLY)) $(if $(PREPARE),--prepare)

agent: $(STAMP) ## dist/fleet-agent.pyz, the agent in one file
	@$(BIN)/python -m agent.packaging.build dist/fleet-agent.pyz

clean: ## remove generated files inside the checkout (the cache of the tools stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build .demo .bench
