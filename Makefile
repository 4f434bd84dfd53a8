# Two commands do everything: `make demo` runs the main job, `make test` passes the tests.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
CACHE := $(or $(filter /%,$(XDG_CACHE_HOME)),$(HOME)/.cache)/gcloud-pk
BOOTSTRAP := $(CACHE)/uv-$(UV_VERSION)
UV := $(or $(shell command -v uv 2>/dev/null),$(BOOTSTRAP)/bin/uv)
export UV_PYTHON_DOWNLOADS := never

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# The tests wait for control planes more than they compute, so three at a time fit two cores; a file stays in one worker.
WORKERS ?= 3

.PHONY: help setup demo demo-down test test-full unit compliance golden e2e lint bench harden-score datacenter survival soak schemas clean

help:  ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(BOOTSTRAP)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "gcloud-pk needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Give PYTHON=/path/to/python3.11" >&2; exit 5; }
	@echo "fetching uv $(UV_VERSION) (the installer, about 25 MB) from the Python package index" >&2
	@rm -rf $(BOOTSTRAP).new && $(PYTHON) -m venv $(BOOTSTRAP).new || { \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 5; }
	@$(BOOTSTRAP).new/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@rm -rf $(BOOTSTRAP) && mv $(BOOTSTRAP).new $(BOOTSTRAP)

.venv/.synced: pyproject.toml uv.lock | $(UV)
	@echo "installing gcloud-pk and what it stands on into .venv (pinned by uv.lock; about 60 MB on first use)" >&2
	@$(UV) sync --quiet --locked --compile-bytecode --python "$$(command -v $(PYTHON))"
	@touch $@

setup: .venv/.synced  ## install into .venv

demo: setup  ## the main job on the embedded control plane: requests, approvals, onboarding, proof
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

demo-down: setup  ## stop the demo's control plane and remove its data
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh down

datacenter: setup  ## a lab data centre, as root: real nodes, a cluster, a lost rack, real packets; 12 minutes, 18 with Cilium in the cache
	$(PYTEST) tests/e2e/test_datacenter_up.py tests/e2e/test_lab_datacenter_cilium.py tests/e2e/test_lab_datacenter.py --durations=10

survival: setup  ## one lab data centre, as root: its audit is audited, racks and everything are lost, etcd and all machines come back from a snapshot
	$(PYTEST) tests/e2e/test_cluster_mutations.py tests/e2e/test_datacenter_drill.py tests/e2e/test_backup_datacenter.py -m "not restarts" --durations=10

soak: setup  ## 26 drills in a row on six nodes, each rack in turn, then power cuts of everything: no acknowledged write may be lost
	$(BIN)/python -m benchmarks.soak

harden-score: setup  ## harden a lab node and let the referees judge it: OpenSCAP (BP-028, NT-28) and Lynis
	$(BIN)/python -m benchmarks.harden_score

lint: setup  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup  ## quick tests, no control plane
	$(PYTEST) tests/unit

compliance: setup  ## attacks on a registry, and its checks by hand: what an auditor would try
	$(PYTEST) tests/compliance

golden: setup  ## rendered bytes
	$(PYTEST) tests/golden

e2e: setup  ## on a real control plane
	$(PYTEST) tests/e2e -m "not slow"

test: lint  ## all tests that CI runs
	$(PYTEST) tests -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-full: lint  ## all tests, slow ones too
	$(PYTEST) tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder

bench: setup  ## measure against kubectl and a raw client
	$(BIN)/python -m benchmarks.onboard
	$(BIN)/python -m benchmarks.registry
	$(BIN)/python -m benchmarks.isolation

schemas: setup  ## write schemas/ anew from the models
	$(BIN)/gcloud-pk schema --output-dir schemas

clean:  ## remove what the tools left in the checkout
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
