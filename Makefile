# quickstart  install into .venv and run the pocket study: table, figure, report
# test        the tests, on the CPU
# check       lint, format, types, import contracts, docs, then the tests
# format      let ruff rewrite what it can
# clean       remove what the other targets made, the environment included
# bench-cpu   the speed comparisons that need no GPU

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
INSTALLED := $(VENV)/.installed
# A worker holds torch in memory: eight of them are enough for these tests.
WORKERS ?= 8

.PHONY: quickstart install test check ruff pyright imports docs format clean bench-cpu

quickstart: $(INSTALLED)
	$(BIN)/offmodel quickstart

install: $(INSTALLED)

# The stamp is written last, so that an interrupted installation is taken up again. -qq: pip repeats its warnings about
# a machine's own settings for each of the packages; errors still show.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "offmodel needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) (7 GB, two to three minutes, once)"
	@$(RUN) pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(RUN) pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# One thread a process: on small models two processes of one thread beat one process of two.
test: $(INSTALLED)
	@OMP_NUM_THREADS=1 $(RUN) pytest -q -n logical --maxprocesses $(WORKERS) --dist worksteal

check: ruff pyright imports docs test

ruff: $(INSTALLED)
	$(RUN) ruff check --quiet
	$(RUN) ruff format --check --quiet

pyright: $(INSTALLED)
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(RUN) pyright --pythonpath $(BIN)/python

imports: $(INSTALLED)
	$(BIN)/lint-imports

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet

format: $(INSTALLED)
	$(RUN) ruff check --quiet --fix
	$(RUN) ruff format --quiet

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests scripts benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

bench-cpu: $(INSTALLED)
	@set -- benchmarks/cpu_*.py; test -e "$$1" || { echo "no benchmark under benchmarks/ runs without a GPU yet"; exit 0; }; \
	for script in "$$@"; do OMP_NUM_THREADS=1 $(BIN)/python "$$script" || exit 1; done
