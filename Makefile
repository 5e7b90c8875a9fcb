# The developer's verbs. Each sets up all it needs in .venv, without sudo, from the locks; pip's own configuration decides
# where packages come from. CI runs exactly these.
.DEFAULT_GOAL := help
.PHONY: help demo test check chaos bench docs lock setup-run setup-dev setup-bench
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
# Two processes: the suite waits on fsync and on child processes for much of its time, and the floor is a 2-core machine.
TEST_JOBS ?= 2
PYTEST_ARGS ?=

help:
	@echo "make demo    set up, then plan, research, write and check a week offline, in .copydesk/"
	@echo "make test    set up, then every test, those of the command line, the README and the wheel included"
	@echo "make check   ruff format --check, ruff check, mypy"
	@echo "make chaos   the long crash loops, and the mutations that the tests must catch"
	@echo "make bench   ours beside the peer or the floor, in one run"
	@echo "make docs    write the generated parts of docs/ again"
	@echo "make lock    resolve the three requirements*.lock files again"

demo: setup-run
	@$(PY) run_agents.py demo

test: setup-dev
	@$(PY) -m pytest -n $(TEST_JOBS) --dist worksteal $(PYTEST_ARGS)

check: setup-dev
	@status=0; \
	$(PY) -m ruff format --check . || status=1; \
	$(PY) -m ruff check . || status=1; \
	$(PY) -m mypy || status=1; \
	exit $$status

chaos: setup-dev
	@$(PY) -m tests.chaos

bench: setup-bench
	@status=0; for file in benchmarks/[a-z]*.py; do \
		printf '\n== %s\n' "$$file"; PYTHONPATH=. $(PY) "$$file" || status=1; \
	done; exit $$status

docs: setup-dev
	@$(PY) docs/generate.py

# Hashes pin the content, so the locks name no place to load it from.
LOCK = .venv-lock/bin/uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header --no-annotate --no-emit-index-url
lock: $(PY)
	@test -x .venv-lock/bin/uv || { $(PY) -m venv .venv-lock && .venv-lock/bin/python -m pip install -q uv; }
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) pyproject.toml --group pyproject.toml:dev -c requirements.lock -o requirements-dev.lock
	@$(LOCK) /dev/null --group pyproject.toml:bench -c requirements-dev.lock -o requirements-bench.lock

# $(1): the lock. Installed again only when its content changed since; the development lock holds the running one.
install = cmp -s $(1) $(VENV)/$(1) || { echo "installing $(1) into $(VENV)" >&2; \
	$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r $(1) && cp $(1) $(VENV)/$(1); }

setup-run: $(PY)
	@cmp -s requirements-dev.lock $(VENV)/requirements-dev.lock || { $(call install,requirements.lock); }

setup-dev: $(PY)
	@$(call install,requirements-dev.lock)

setup-bench: setup-dev
	@$(call install,requirements-bench.lock)

# A python counts when it runs, is 3.11 or newer, and can make a virtual environment with pip in it. `pip --version` is the
# last thing that works when the set-up was whole: one that was interrupted is made again.
$(PY): .FORCE
	@if [ -x $(PY) ] && $(PY) -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	found=; \
	for name in python3.11 python3.12 python3.13 python3.14 python3; do \
		for python in $$(type -ap $$name); do \
			"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
			found="$$python"; \
			"$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue; \
			rm -rf $(VENV) && "$$python" -m venv $(VENV) && exit 0; \
		done; \
	done; \
	if [ -n "$$found" ]; then \
		version=$$("$$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "error: $$found cannot make a virtual environment: install its venv module, e.g. apt-get install python$$version-venv" >&2; \
	else \
		echo "error: no Python 3.11 or newer on PATH: install one, e.g. apt-get install python3.11 python3.11-venv" >&2; \
	fi; exit 1

.PHONY: .FORCE
.FORCE:
