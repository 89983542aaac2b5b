# Everything a developer needs; nothing but Python 3.11+ and make has to be there first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Python keeps what it has compiled: the tests start the application some two hundred times.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test test-prefix test-postgresql soak hosts scale ceilings fuzz attacks bench mutants check serve format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     the whole product at work, with a Bitrix24 portal of its own"
	@echo "make test     all tests"
	@echo "make test-prefix  the tests with a browser once more, behind nginx and below a path"
	@echo "make test-postgresql  those of faults, crashes and live answers once more, on PostgreSQL"
	@echo "make soak     the fault suite for longer: ARGS='--minutes 60 --workers 2'"
	@echo "make hosts    two hosts on PostgreSQL behind nginx, killed, hung and restarted in turn: ARGS='--seed 1'"
	@echo "make scale    a store of a million messages beside one of a thousand, measured"
	@echo "make fuzz     generated nonsense for client, engine and doors: ARGS='--minutes 10 --seed 1'"
	@echo "make attacks  what an adversary would do, with figures: ARGS='flood idle'"
	@echo "make bench    all figures beside the vendor's tutorials, an hour; in two to four minutes: QUICK=1"
	@echo "make ceilings what several hosts share on PostgreSQL, and how much of it there is"
	@echo "make mutants  small random faults, and whether tests find them: ARGS='--number 40 delivery'"
	@echo "make check    format, lint and types"
	@echo "make serve    the application for production, as config.toml says"
	@echo "make install  .venv with all that serving needs"

install: .venv/installed

# The pip that a Python brings may be years old; a newer one chooses among releases in half the time.
define MAKE_VENV
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
@$(PYTHON) -m venv .venv || { echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
-@$(PIP) --no-compile --upgrade pip
endef

.venv/installed: pyproject.toml constraints.txt
	$(MAKE_VENV)
	$(PIP) --editable .
	@touch $@

# All at once, and of the packages only what the tests use is compiled, when they do.
.venv/installed-dev: pyproject.toml constraints.txt
	$(MAKE_VENV)
	$(PIP) --no-compile --editable '.[dev]'
	@touch .venv/installed $@

demo: .venv/installed
	@$(BIN)/python -m sandbox.demo $(ARGS)

serve: .venv/installed
	@$(BIN)/gunicorn

# The processes wait about as long as they work: four keep two cores busy.
test: .venv/installed-dev
	@$(BIN)/python tests/install_browser.py
	@$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-prefix: .venv/installed-dev
	@$(BIN)/python tests/install_browser.py
	@SITETEST_FRONT=nginx $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# Tests that are about the file of the other database are left out.
test-postgresql: .venv/installed-dev
	@SITETEST_STORE=postgresql $(BIN)/pytest --numprocesses 2 --dist loadfile $(ARGS) tests/test_live.py \
		tests/test_live_edges.py tests/test_faults.py tests/test_crash.py tests/test_round_trip.py tests/test_backlog.py \
		tests/test_retries.py tests/test_events.py tests/test_deletions.py tests/test_files.py tests/test_floods.py \
		tests/test_sessions.py tests/test_uploads.py tests/test_shared_visitors.py tests/test_slow_clients.py \
		tests/test_last_event_id.py tests/test_outgoing.py tests/commands/test_transfer.py \
		tests/commands/test_tutorial.py tests/commands/test_visitors.py tests/commands/test_endings.py

soak: .venv/installed-dev
	@$(BIN)/python tests/soak.py $(ARGS)

# `bench` has the form of an operator's answer.
hosts: .venv/installed-dev
	@PYTHONPATH=. $(BIN)/python tests/two_hosts.py $(ARGS)

scale: .venv/installed-dev
	@$(BIN)/python tests/scale.py $(ARGS)

fuzz: .venv/installed-dev
	@$(BIN)/python tests/fuzz.py $(ARGS)

attacks: .venv/installed-dev
	@$(BIN)/python tests/attacks/all.py $(ARGS)

bench: .venv/installed-dev
	@$(BIN)/python tests/install_browser.py
	@PYTHONPATH=tests $(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

ceilings: .venv/installed-dev
	@$(BIN)/python -m bench.ceilings

mutants: .venv/installed-dev
	@$(BIN)/python tests/mutants.py $(ARGS)

check: .venv/installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python tests/audit.py

format: .venv/installed-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache *.egg-info build
