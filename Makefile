# Two commands for a newcomer: `make run`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
SOURCES := $(shell find collector receivers processors exporters -name '*.pyx' -o -name '*.pxd' 2>/dev/null) setup.py

DEMO ?= 1

.PHONY: run test soak lint bench ext sanitize lock clean setup

setup: $(VENV)/.built

$(VENV)/.installed: requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	touch $@

$(VENV)/.built: $(VENV)/.installed pyproject.toml $(SOURCES)
	rm -rf butterfly_collector.egg-info  # an older list of components, which `python -m collector` would find first
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

run: setup
	$(BIN)/butterfly run -c configs/quickstart.yaml $(if $(filter 0,$(DEMO)),,--demo)

# Two at a time: many tests wait for a timer or a server. Tests of one file stay together and in order.
test: setup
	$(BIN)/python -m pytest -n $(or $(TEST_PROCESSES),2) --dist loadfile

soak: setup
	$(BIN)/python -m pytest -m soak --timeout=7200

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" cython-lint collector exporters processors receivers
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m bench

# EXT=collector.wire.scan builds one module in place; without it, all of them.
ext: $(VENV)/.installed
	BUTTERFLY_EXT=$(EXT) $(BIN)/python setup.py -q build_ext --inplace --build-temp build/temp-$(or $(EXT),all)

# Fuzzes the wire scanner, the PII scrubber, the remote-write translation, Loki's encoder and the cardinality limiter
# against protobuf under the address and undefined-behaviour sanitizers, on a copy of the sources, so that the modules
# built in place stay as they are. CPython itself leaks at exit, so leaks are not looked for.
SANITIZE_SECONDS ?= 60
sanitize: $(VENV)/.installed
	mkdir -p build/sanitize
	tar --exclude='*.so' --exclude=__pycache__ -cf - setup.py pyproject.toml collector processors/__init__.py \
	  processors/wire processors/pii_scrubber processors/cardinality_limiter exporters tests/fuzz tests/property/otlp_messages.py \
	  tests/property/prw_metrics.py tests/property/prw_reference.py tests/property/loki_re*.py tests/unit/exporters/loki/loki_push.py \
	  bench/__init__.py bench/remote_write_messages.py | tar -xf - -C build/sanitize
	cd build/sanitize && BUTTERFLY_SANITIZE=1 $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	cd build/sanitize && ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	  LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	  sh -c '$(CURDIR)/$(BIN)/python -m tests.fuzz.run --seconds $(SANITIZE_SECONDS) && \
	    $(CURDIR)/$(BIN)/python -m tests.fuzz.scrub --seconds $(SANITIZE_SECONDS) && \
	    $(CURDIR)/$(BIN)/python -m tests.fuzz.remote_write --seconds $(SANITIZE_SECONDS) && \
	    $(CURDIR)/$(BIN)/python -m tests.fuzz.loki --seconds $(SANITIZE_SECONDS) && \
	    $(CURDIR)/$(BIN)/python -m tests.fuzz.limit --seconds $(SANITIZE_SECONDS)'

lock:
	$(UV) pip compile pyproject.toml --extra dev --extra bench --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate -q -o requirements.lock

clean:
	rm -rf build $(VENV)
	find collector receivers processors exporters -name '*.so' -delete
