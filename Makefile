# `make serve` and `make test` are all a newcomer needs: Debian's python3, python3-venv, make and git suffice.
PYTHON ?= python3
ARGS ?=
# Neighbours share servers: each process takes a stretch of the tests, and then what another has not come to. They wait
# for disks and servers 40 % of the time, so there is one process more than the two cores that this is tuned for.
PYTEST_ARGS ?= -q -ra -n 3 --dist worksteal
ROUNDS ?= 100
EXAMPLES ?= 2000
LOCK_ARGS ?=

# Only what the locks name is installed: wheels with known hashes, then the project itself.
INSTALL = -m pip install --quiet --disable-pip-version-check
LOCKED = $(INSTALL) --require-hashes --only-binary=:all: -r
PROJECT = $(INSTALL) --no-deps --no-build-isolation --editable .
APT_INSTALL = apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends
COMPILE = UV_CUSTOM_COMPILE_COMMAND='make lock' .venv-lock/bin/uv --no-config --quiet pip compile $(LOCK_ARGS) \
	--universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: help setup serve test test-peers check demo bench crash storm browser peers-tools lock clean
.NOTPARALLEL:

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

setup: .venv/.test .venv-fal-client/.ready .venv-fal/.ready tests/compat/js/node_modules/.ready  ## Prepare what the tests need

serve: .venv/.server  ## Run the server on ./.entrepot (ARGS='--port 9000')
	@exec .venv/bin/entrepot serve --home ./.entrepot $(ARGS)

# Some machines keep no bytecode, and then each of the thousand processes that the tests start would compile all modules.
test: setup  ## Run all tests (PYTEST_ARGS='-k ranges')
	@.venv/bin/python -m compileall -q src
	@.venv/bin/python -m pytest $(PYTEST_ARGS)

test-peers: .venv/.test .venv-peers/.ready  ## Run other people's suites and tools (PYTEST_ARGS='-k schemathesis')
	@.venv/bin/python -m compileall -q src
	@.venv/bin/python -m pytest $(PYTEST_ARGS) tests/peers

check: .venv/.dev  ## Format, lint, types, layers
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/mypy
	@.venv/bin/python -m pytest -q tests/house/test_imports.py

demo: setup  ## Start a server and show what it does
	@exec .venv/bin/python scripts/demo.py $(ARGS)

bench: .venv/.test  ## Measure beside peers, or another revision (ARGS='--against main get-8k')
	@exec .venv/bin/python -m benchmarks.run $(ARGS)

crash: setup  ## Kill a real server over and over and look for losses (ROUNDS=100)
	@ENTREPOT_CRASH_ROUNDS=$(ROUNDS) .venv/bin/python -m pytest -q -ra --timeout 0 tests/e2e/test_crash.py \
		tests/e2e/test_crash_volume.py

storm: setup  ## Do things to a volume in ever new orders, and many at once (EXAMPLES=2000)
	@ENTREPOT_STORM_EXAMPLES=$(EXAMPLES) .venv/bin/python -m pytest -q -ra --timeout 0 tests/e2e/test_volume_model.py \
		tests/e2e/test_volume_storms.py

browser:  ## Install Chromium from Debian's packages, for the browser tests (as root)
	$(APT_INSTALL) chromium >/dev/null

peers-tools:  ## Install the download tools of the peers' tests from Debian's packages (as root)
	$(APT_INSTALL) aria2 curl ffmpeg rclone wget >/dev/null

lock: .venv-lock/.ready  ## Make the locks again (LOCK_ARGS=--upgrade for newer versions)
	$(COMPILE) pyproject.toml --extra server --extra test --extra dev --group build -o requirements/dev.lock
	$(COMPILE) pyproject.toml --extra server --extra test --group build -c requirements/dev.lock -o requirements/test.lock
	$(COMPILE) pyproject.toml --extra server --group build -c requirements/dev.lock -o requirements/server.lock
	$(COMPILE) requirements/compat-fal-client.in -o requirements/compat-fal-client.lock
	$(COMPILE) requirements/compat-fal.in -o requirements/compat-fal.lock
	$(COMPILE) requirements/peers.in -o requirements/peers.lock
	$(COMPILE) requirements/seaweedfs.in -o requirements/seaweedfs.lock

clean:  ## Remove environments and caches, never the data in .entrepot
	rm -rf .venv .venv-fal-client .venv-fal .venv-peers .venv-seaweedfs .venv-lock tests/compat/js/node_modules dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# A stamp is touched when its environment is complete, and is stale when a lock or pyproject.toml is newer.
.venv/.server: requirements/server.lock pyproject.toml | .venv/.made
	@echo 'Installing the server into .venv'
	@.venv/bin/python $(LOCKED) requirements/server.lock
	@.venv/bin/python $(PROJECT)
	@touch $@

.venv/.test: requirements/test.lock requirements/server.lock pyproject.toml | .venv/.made
	@echo 'Installing the server and the tools of the tests into .venv'
	@.venv/bin/python $(LOCKED) requirements/test.lock
	@.venv/bin/python $(PROJECT)
	@touch .venv/.server $@

.venv/.dev: requirements/dev.lock requirements/test.lock requirements/server.lock pyproject.toml | .venv/.made
	@echo 'Installing the server and all tools into .venv'
	@.venv/bin/python $(LOCKED) requirements/dev.lock
	@.venv/bin/python $(PROJECT)
	@touch .venv/.server .venv/.test $@

.venv-fal-client/.ready: requirements/compat-fal-client.lock | .venv-fal-client/.made
	@echo 'Installing the stock client into .venv-fal-client'
	@.venv-fal-client/bin/python $(LOCKED) requirements/compat-fal-client.lock
	@touch $@

.venv-fal/.ready: requirements/compat-fal.lock | .venv-fal/.made
	@echo 'Installing the stock toolkit into .venv-fal'
	@.venv-fal/bin/python $(LOCKED) requirements/compat-fal.lock
	@touch $@

.venv-peers/.ready: requirements/peers.lock | .venv-peers/.made
	@echo 'Installing schemathesis and openapi-python-client into .venv-peers'
	@.venv-peers/bin/python $(LOCKED) requirements/peers.lock
	@touch $@

# A peer of the benchmarks, large: only who asks for it gets it.
.venv-seaweedfs/.ready: requirements/seaweedfs.lock | .venv-seaweedfs/.made
	@echo 'Installing SeaweedFS into .venv-seaweedfs'
	@.venv-seaweedfs/bin/python $(LOCKED) requirements/seaweedfs.lock
	@touch $@

# Node is no need of a newcomer: without it the tests of the JavaScript client are skipped, and say so.
tests/compat/js/node_modules/.ready: tests/compat/js/package-lock.json
	@if command -v npm > /dev/null; then \
		echo 'Installing the stock JavaScript client into tests/compat/js/node_modules'; \
		npm ci --prefix tests/compat/js --no-audit --no-fund --ignore-scripts --loglevel=error && touch $@; \
	else echo 'There is no npm: the JavaScript client is not installed, its tests are skipped'; fi

.venv-lock/.ready: | .venv-lock/.made
	@.venv-lock/bin/python $(INSTALL) uv==0.13.9
	@touch $@

%/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Entrepot needs Python 3.11 or newer. Name one with: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'This Python has no venv. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@$(PYTHON) -m venv --clear $*
	@touch $@
