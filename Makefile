# `make help` lists the targets. The first one that needs it makes the environment in .venv.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PATH := $(abspath $(BIN)):$(PATH)
# Threads that wait for each other sleep; spinning costs dearly where cores are shared.
export OMP_WAIT_POLICY ?= PASSIVE

# Two notebooks, or three files of tests, at a time.
WORKERS ?= 2
TESTERS ?= 3
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
THREADS := $(shell n=$$(( $(CORES) / $(WORKERS) )); echo $$(( n > 0 ? n : 1 )))
FEW_THREADS := OMP_NUM_THREADS=$(THREADS) MKL_NUM_THREADS=$(THREADS)

# Python 3.11 or later that can make environments; `make PYTHON=... demo` chooses another one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help demo quick claims claims-quick test lab bench gpu docs readme export clean install release

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(STAMP) ## the environment in .venv, with everything

$(STAMP): settings.ini setup.py pyproject.toml
	@if [ ! -x $(BIN)/python ]; then \
	  if [ -z "$(PYTHON)" ]; then \
	    echo "Found no Python 3.11 or later with venv and ensurepip (Debian: apt-get install python3-venv)." >&2; \
	    echo "If you have one under another name: make PYTHON=/path/to/python ..." >&2; exit 1; fi; \
	  echo "Making $(VENV) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv $(VENV); \
	fi
	@echo "Installing into $(VENV): PyTorch, JupyterLab and the rest (some GB the first time). Log: $(VENV)/install.log"
	@log=$(VENV)/install.log; : >$$log; \
	( while sleep 20 >/dev/null 2>&1; do t=$$(( $${t:-0} + 20 )); \
	  echo "  $$t s  $$(sed -nE 's/^ *((Collecting|Downloading|Building|Installing).{0,70}).*/\1/p' $$log | tail -n 1)"; done ) & ticker=$$!; \
	trap "kill $$ticker 2>/dev/null || true" EXIT; \
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e '.[dev,cluster,attacks]' >$$log 2>&1 || { \
	  tail -n 25 $$log >&2; echo "The installation failed; all of it is in $$log" >&2; exit 1; }
	@touch $@

demo: $(STAMP) ## train two small networks on digits and write their fragility reports to runs/demo/
	@fragility demo

quick: $(STAMP) ## the loop while you work: linter, types, house rules, clean notebooks, tests without training or browser
	@echo "== Linter, types, house rules, quick tests"
	@$(FEW_THREADS) python -m pytest -q -n $(TESTERS) -m quick

# The studies of the claims, one after the other; each resumes where it was stopped.
CLAIMS := $(filter-out studies/quick.toml,$(wildcard studies/*.toml))

claims: $(STAMP) ## the studies that answer the claims of the sources, days on two cores; needs FRAGILITY_DATA, resumes
	@for s in $(CLAIMS); do fragility grid $$s --dry-run | tail -n 2; done
	@for s in $(CLAIMS); do fragility grid $$s && fragility collect $$s; done

claims-quick: $(STAMP) ## the same on the built-in digits, in minutes
	@fragility grid studies/quick.toml && fragility collect studies/quick.toml

test: $(STAMP) ## everything: exported and clean notebooks, each notebook executed, the tests
	@echo "== Notebooks are exported and clean"
	@python -m pytest -q tests/test_notebooks_clean.py
	@echo "== Notebooks run ($(WORKERS) at a time, $(THREADS) thread(s) each)"
	@$(FEW_THREADS) TQDM_DISABLE=1 MPLBACKEND=agg nbdev_test --n_workers $(WORKERS) --timing
	@echo "== Tests ($(TESTERS) files at a time: a good part of them waits for a browser, a kernel or another process)"
	@$(FEW_THREADS) python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder --ignore=tests/test_notebooks_clean.py

lab: $(STAMP) ## open the notebooks in JupyterLab
	@jupyter lab $$([ "$$(id -u)" != 0 ] || echo --allow-root) --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/nbs/index.ipynb

bench: $(STAMP) ## the measured comparisons in benchmarks/
	@found=; for script in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do [ -e "$$script" ] || continue; found=1; echo "== $$script"; python "$$script"; done; \
	[ -n "$$found" ] || echo "There are no benchmarks yet (benchmarks/*.py)."

gpu: $(STAMP) ## on a machine with a graphics card: its tests and benchmarks, in one table and runs/gpu.json
	@python benchmarks/gpu.py --json runs/gpu.json

export: $(STAMP) ## notebooks to modules, clean notebooks, table of public names, README
	@nbdev_export
	@nbdev_clean
	@[ ! -d fragility_nb/templates ] || nbdev_clean --fname fragility_nb/templates
	@python tools/public_names.py
	@python tools/readme.py

readme: $(STAMP) ## README.md from nbs/index.ipynb
	@python tools/readme.py

docs: $(STAMP) ## the site in _docs/ (needs Quarto)
	@command -v quarto >/dev/null || { \
	  echo "The site needs the Quarto program, which is not installed: see https://quarto.org/docs/get-started/" >&2; exit 1; }
	@python tools/readme.py
	@python tools/site_files.py >/dev/null
	@PYTHONPATH="$(CURDIR)/tools" nbdev_docs --n_workers $(WORKERS)

release: $(STAMP) ## what a release would change; VERSION=0.2.0 DO=1 writes version and changelog, commits and tags
	@python tools/release.py $(VERSION) $(if $(DO),--do)

clean: ## remove what can be made again (not .venv, not runs/)
	@rm -rf _docs _proc build dist *.egg-info .pytest_cache .hypothesis nbs/nbdev.yml nbs/sidebar.yml nbs/sidebar.yml.bak \
	  nbs/gallery.qmd nbs/llms.txt nbs/reference nbs/about/changelog.qmd nbs/about/contributing.qmd \
	  nbs/images/gallery nbs/images/card.png nbs/images/vega.js
	@find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
