# make demo   fresh clone → the main job, with emulated providers and no account
# make test   fresh clone → the whole test suite (make coverage: the same, and what it covers)
# make long   stories that take minutes: kills, full disks, backfills stopped in every way, of two stages, under a budget
# make check  lint, format, types and import contracts
# make chaos  200 kills of runs at moments of every kind and a backfill under fire, and what became of them (20 to 30 minutes)
# make bench  the figures of the README, measured again (minutes; nothing else should run)

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo env test long coverage check chaos bench lock clean

demo: env
	$(BIN)/facesweep demo

test: .venv/dev
	$(BIN)/pytest -n 3 --dist loadfile

long: .venv/dev
	$(BIN)/pytest -n 4 --dist loadfile -m long

# Half as long again; children of the command line are not counted.
coverage: .venv/dev
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered

check: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: .venv/dev
	$(BIN)/python -m tests.chaos

bench: .venv/dev
	$(BIN)/python -m benchmarks

env: .venv/run

# The environment is built again only when a lock file or the package's own metadata changed.
.venv/run: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --no-deps --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/dev: requirements-dev.lock .venv/run
	$(PIP) install --quiet --no-deps --require-hashes -r requirements-dev.lock
	touch $@

# Resolve the dependencies of pyproject.toml anew (needs uv); the files name versions and hashes, no host.
UV_COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links
lock:
	$(UV_COMPILE) --group build -o requirements.lock
	$(UV_COMPILE) --group build --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf .venv demo
