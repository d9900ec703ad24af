# moonkiln: each target is one command of the README, spelled out.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUN := $(BIN)/python

.PHONY: setup demo demo-rover test soak peers lint docs bench bench-peers clean

# Wheels only: no compiler is needed. The quick demo at the end fills numba's cache and shows that everything works.
setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tests/peers.txt
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --python ">=3.11" --seed $(VENV) || exit 1; \
	else \
		$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "moonkiln needs Python 3.11 or newer; set PYTHON=")' && \
		$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian or Ubuntu run 'apt-get install python3-venv' and try again"; exit 1; }; \
	fi
	$(RUN) -m pip install --quiet --only-binary :all: "setuptools>=77" wheel
	$(RUN) -m pip install --quiet --only-binary :all: --no-build-isolation --editable ".[test]"
	$(RUN) -m pip install --quiet --only-binary :all: --no-deps -r tests/peers.txt
	$(BIN)/moonkiln demo --quick --runs $$(mktemp -d)
	@touch $@

demo: setup
	$(BIN)/moonkiln demo $(if $(PART),$(PART))

demo-rover: setup
	$(BIN)/moonkiln demo --rover

# What runs on ptys, TCP and real time goes last and alone: beside a busy neighbour its reply times would be untrue.
test: setup
	$(RUN) -m pytest -n 2 -m "not soak and not real_time"
	$(RUN) -m pytest -m "real_time and not soak" $$(grep -l 'mark\.real_time' tests/test_*.py)

# Hosts and masters of others for the tests to run; without them their tests are skipped.
peers: setup
	PYTHON=$(RUN) tests/peers/install.sh

soak: setup
	$(RUN) -m pytest -m soak --timeout 3600

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(RUN) -m pytest -q tests/test_docs.py

bench: setup
	$(RUN) benchmarks/run.py

bench-peers: setup
	$(RUN) benchmarks/peers.py --install

clean:
	rm -rf $(VENV) build dist *.egg-info runs
