# One screen. Everything lives in .venv; nothing outside this folder is touched but the model cache.
SHELL := /bin/sh
VENV  := .venv
BIN   := $(VENV)/bin
RUN   := $(VENV)/.installed
DEV   := $(VENV)/.installed-dev
NODE  := tests/node
PYTHON ?= $(shell for v in 3.14 3.13 3.12 3.11 3; do command -v python$$v; done 2>/dev/null | while read p; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo "$$p" && break; done)

.PHONY: help setup setup-dev up test test-all check docs bench bench-all lock clean
help:            ## this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' Makefile | sed 's/:.*##/\t/' | expand -t 12

setup: $(RUN)    ## create .venv and install what running needs
setup-dev: $(DEV)

up: setup        ## start the platform at http://127.0.0.1:8600
	@$(BIN)/penstock up

test: $(DEV)     ## the suite
	$(BIN)/python -m pytest -m "not long"

test-all: $(DEV) ## the suite with the long proofs
	$(BIN)/python -m pytest --timeout 900

check: $(DEV)    ## lint, format, types, import directions, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py tests/test_docs.py tests/config/test_schema.py

docs: $(DEV)     ## write the generated documents anew
	$(BIN)/python docs/generate.py

bench: $(DEV)    ## measure Penstock beside its peers, under 15 minutes; ONLY=stream for one suite
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

bench-all: $(DEV) ## measure all of it, for as long as it takes
	$(BIN)/python -m bench --all

lock:            ## resolve pyproject.toml and package.json into their lock files (needs uv)
	uv pip compile pyproject.toml $(LOCK) --group build -o requirements.lock
	uv pip compile pyproject.toml $(LOCK) --group build --group test --group check -o requirements-dev.lock
	$(NPM) install --package-lock-only --omit-lockfile-registry-resolved
LOCK := --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate

clean:           ## delete .venv
	rm -rf $(VENV) $(NODE)/node_modules

NPM = PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(NODE) --omit=optional --ignore-scripts --no-audit --no-fund --loglevel error
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing. Debian/Ubuntu: sudo apt install python3 python3-venv   macOS: brew install python"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "python3-venv is missing: sudo apt install python3-venv"; exit 1; }
	@test "$$(uname)" != Linux || "$(PYTHON)" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || { echo "libgomp1 is missing: sudo apt install libgomp1"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
$(RUN): requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(RUN)
$(DEV): requirements-dev.lock $(NODE)/package-lock.json $(RUN)
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(NPM) install --no-save --force # the versions and hashes of the lock file; a package for Linux does not stop a Mac
	@touch $(DEV)
