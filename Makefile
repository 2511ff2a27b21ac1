# Everything a checkout can do. Each target sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run beside each other, in the order of tests/conftest.py; those of one guest are a group, which one process takes.
PARALLEL := --numprocesses auto --dist loadgroup --no-loadscope-reorder
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: run run-vm test test-fast lint bench bench-client client fuzz soak packages vm libvirt pictures clean

run: $(VENV)/.run
	$(BIN)/python -m tests.demo

run-vm: $(VENV)/.dev
	$(BIN)/python -m tests.vm.demo

packages: $(VENV)/.dev
	$(BIN)/python packaging/build.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not vm and not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	command -v /usr/sbin/qemu-ga >/dev/null || $(SUDO) apt-get install -y --no-install-recommends qemu-guest-agent
	$(BIN)/python -m tests.bench

bench-client: $(VENV)/.dev
	$(BIN)/python -m tests.bench_client

client: $(VENV)/.dev
	$(BIN)/python -m tests.client_source
	$(BIN)/python -m tests.manual

fuzz: $(VENV)/.dev
	-$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),60)

soak: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(or $(SECONDS),600) $(SEED)

vm: $(VENV)/.dev
	$(BIN)/python -m tests.vm.prepare

libvirt: $(VENV)/.dev
	QGA_LIBVIRT=1 $(BIN)/python -m pytest tests/vm/test_libvirt.py

pictures: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[pictures]'
	$(BIN)/python -m tests.vm.pictures

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build dist
