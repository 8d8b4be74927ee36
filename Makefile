# Set-up, tests, checks and the demonstration. Needs Python >= 3.11 with its venv module, make, and the package registry.

# Real photos for the tests marked "realdata" and for the benchmarks; both do without where it is absent.
CATALENS_DATA ?= ../shared/data
export CATALENS_DATA

# Where it is set, each process compiles all of the project again: a second or two for each that a test starts.
unexport PYTHONDONTWRITEBYTECODE

# The first interpreter that is new enough; name another one with: make PYTHON=/path/to/python
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-long test-quick check setup docs screenshots prove-kill prove-stop prove-live prove-http prove-gpu prove-feeds prove-sqlite prove-backup prove-damage
.DEFAULT_GOAL := demo

# make demo SERVE=0 does the same without serving; PORT=9000 serves there.
demo: $(READY)
	$(BIN)/catalens demo $(if $(filter 0,$(SERVE)),--no-serve,--serve) $(if $(PORT),--port $(PORT))

# Two processes at once, each with whole files: on two cores a fifth sooner than one.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# All but the proofs from end to end, whose parts have tests of their own here.
test: $(READY)
	$(PYTEST) -m "not long"

# The proofs from end to end that are left out there: some minutes more.
test-long: $(READY)
	$(PYTEST) -m long

# Without the tests that take more than a few seconds each.
test-quick: $(READY)
	$(PYTEST) -m "not slow and not long"

# The served home against a plain-Python model, at length: RUNS random histories of up to STEPS steps each. Then all routes
# against the OpenAPI document: CASES of each operation and kind (2: some 5,000 requests).
prove-live: $(READY)
	CATALENS_LIVE_RUNS=$(or $(RUNS),200) CATALENS_LIVE_STEPS=$(or $(STEPS),50) \
		$(BIN)/python -m pytest tests/contracts/test_stateful.py --timeout=0
	CATALENS_LIVE_CASES=$(or $(CASES),25) $(BIN)/python -m pytest -s tests/service/test_http_schema.py --timeout=0

# The stores under the standard library's SQLite, in a process that has no other, and a store of 1 GB scrubbed in 200 MB.
prove-sqlite: $(READY)
	$(BIN)/python -c 'import sys; sys.modules["pysqlite3"] = None; import pytest; sys.exit(pytest.main())' \
		tests/indexer/core tests/indexer/catalog tests/indexer/reviews tests/indexer/fetch/test_state.py \
		tests/indexer/index/test_embedding_store.py tests/indexer/text/test_keyword_index.py \
		tests/indexer/duplicates/test_detect.py tests/indexer/operations/test_erasure.py
	CATALENS_LIVE_SCRUB_MIB=1024 $(BIN)/python -m pytest tests/indexer/core/test_sqlite_rewrite.py

# A backup while WRITERS threads write and an import runs, restored: nothing acknowledged before its time is lost.
prove-backup: $(READY)
	CATALENS_LIVE_BACKUP_WRITERS=$(or $(WRITERS),32) CATALENS_LIVE_BACKUP_SECONDS=$(or $(SECONDS),60) \
		$(BIN)/python -m pytest tests/indexer/operations/test_backup.py

# Mutants of photos of every format and mode, sent to a served home: RUNS of them.
prove-http: $(READY)
	CATALENS_LIVE_MUTANTS=$(or $(RUNS),10000) $(BIN)/python -m pytest -s tests/contracts/test_photo_mutants.py --timeout=0

# Random feeds of every format, whole and broken, at length: RUNS of each kind.
prove-feeds: $(READY)
	CATALENS_LIVE_FEEDS=$(or $(RUNS),20000) $(BIN)/python -m pytest tests/indexer/feeds/test_table.py --timeout=0

# The index on a GPU: oracle contract, halves, out of memory, CPU and back, one owner. Says what it skips.
prove-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu -rs tests/indexer/index tests/indexer/model tests/indexer/training

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pictures of docs/images, from the demonstration's sample catalog; needs chromium.
screenshots: $(READY)
	$(BIN)/python -m tools.screenshots

# The pages of docs, and the part of docs/feeds.md, that are written from the code.
docs: $(READY)
	$(BIN)/python -m tools.cli_reference docs/reference/cli.md
	$(BIN)/python -m tools.profile_reference docs/feeds.md

# SIGKILL at random moments of builds, erasures, transfers and backups, and of a service and its workers under
# clients; make prove-kill KILLS=100 takes half an hour. SEED: the first of the series of ten kills.
KILLS ?= 20
prove-kill: $(READY)
	CATALENS_KILLS=$(KILLS) CATALENS_LIVE_KILL_SEED=$(or $(SEED),0) $(BIN)/python -m pytest -s --timeout=0 \
		tests/contracts/test_service_kills.py tests/contracts/test_kills.py \
		tests/indexer/core/test_sqlite_rewrite.py tests/indexer/operations/test_backup.py

# SIGTERM under 32 clients; make prove-stop STOPS=20 takes some minutes.
STOPS ?= 20
prove-stop: $(READY)
	CATALENS_LIVE_STOPS=$(STOPS) $(BIN)/python -m pytest -s tests/contracts/test_shutdown.py --timeout=0

# Each file of a home, one at a time, missing, cut, zeroed, one bit flipped: found, and mended by the command named.
prove-damage: $(READY)
	CATALENS_LIVE_DAMAGE=all CATALENS_LIVE_DAMAGE_SEED=$(or $(SEED),1) \
		$(BIN)/python -m pytest -s --timeout=0 tests/contracts/test_damage.py

setup: $(READY)

# Run again only when the requirements change; what is already installed is kept.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "catalens needs Python 3.11 or newer: install it, or name it with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "catalens needs Python's venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $@
