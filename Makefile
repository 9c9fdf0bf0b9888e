# Everything goes through a virtual environment of its own. With a Python that is already furnished:
#   make test PYTHON=python3 SKIP_INSTALL=1
VENV ?= .venv
BASE ?= python3
PYTHON ?= $(VENV)/bin/python
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = false
ifndef SKIP_INSTALL
INSTALLED = $(VENV)/.installed
endif

.PHONY: setup browser strace test lint types test-long gpu-test gpu-test-long gpu-results gpu-peers pareto pareto-all bench study docs clean

setup: $(INSTALLED)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(BASE) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $@

# A recipe that fails does not keep the others from the table; the exit code tells.
pareto: setup
	@status=0; $(PYTHON) -m compress run --fitting recipes/bert_*.yaml > /dev/null || status=$$?; \
	$(PYTHON) -m compress pareto results && exit $$status

pareto-all: setup
	@status=0; $(PYTHON) -m compress run --fitting recipes/*.yaml > /dev/null || status=$$?; \
	$(PYTHON) -m compress pareto results && exit $$status

test: setup lint types browser strace
	HF_HUB_OFFLINE=1 $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Tests of the page need a browser; where none can be had they are skipped, and say so.
browser:
	@if command -v chromedriver > /dev/null; then exit 0; fi; \
	if ! command -v apt-get > /dev/null; then echo "no apt-get here: install chromium and chromedriver to test the page"; exit 0; fi; \
	root=""; if [ "$$(id -u)" != 0 ]; then \
	  sudo -n true 2> /dev/null || { echo "not root: apt-get install chromium chromium-driver lets the page be tested"; exit 0; }; root="sudo -n"; fi; \
	$$root apt-get update -qq && $$root apt-get install -y -qq --no-install-recommends chromium chromium-driver > /dev/null \
	  || echo "chromium could not be installed; the page's tests are skipped"

# So does the test of what is sent; strace sees every connection that a run tries to open.
strace:
	@if command -v strace > /dev/null; then exit 0; fi; \
	if ! command -v apt-get > /dev/null; then echo "no apt-get here: install strace to test that nothing is sent"; exit 0; fi; \
	root=""; if [ "$$(id -u)" != 0 ]; then \
	  sudo -n true 2> /dev/null || { echo "not root: apt-get install strace lets it be tested that nothing is sent"; exit 0; }; root="sudo -n"; fi; \
	$$root apt-get update -qq && $$root apt-get install -y -qq --no-install-recommends strace > /dev/null \
	  || echo "strace could not be installed; the test that nothing is sent is skipped"

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: setup
	$(PYTHON) -m mypy

test-long: setup
	HF_HUB_OFFLINE=1 $(PYTHON) -m pytest -m 'long and not gpu'

gpu-test: setup
	HF_HUB_OFFLINE=1 $(PYTHON) -m pytest -m 'gpu and not long'

gpu-test-long: setup
	HF_HUB_OFFLINE=1 $(PYTHON) -m pytest -m 'gpu and long'

# The next missing session of the reference results; each is meant to take less than ten minutes.
gpu-results: setup
	$(PYTHON) -m benchmarks.gpu_results

gpu-peers: setup
	$(PYTHON) -m benchmarks.gpu_peers

bench: setup
	$(PYTHON) -m benchmarks.bench
	$(PYTHON) -m benchmarks.bench_kernels

study: setup
	$(PYTHON) -m benchmarks.study --out results/reference/energy-study.md

docs: setup
	$(PYTHON) -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache site
