# Needs only Python >= 3.11 with its venv module: no root, no uv, no Docker. `make help` lists the targets.
# PYTHON=/path/to/python chooses the interpreter; ARGS="..." goes to the command that is run.

.DEFAULT_GOAL := help
.PHONY: help up test check bench bench-peers bench-edges bench-reports profile race outage chaos fuzz capture test-vllm clean

VENV := .venv
TESTS_AT_ONCE := 3
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet --quiet install

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

up: $(VENV)/.runtime ## Run everything on this machine: make up ARGS="--engine http://127.0.0.1:8000"
	@exec $(VENV)/bin/metergate up $(ARGS)

check: $(VENV)/.dev ## Lint, types, architecture and unit tests: quick
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/python -m pytest $(wildcard tests/architecture tests/unit) $(ARGS)

# Most of the suite waits for processes, so a few tests run at once. After them come those marked `heavy`, two at
# once, which wait half of their time; then those marked `alone`. What they mean is in pyproject.toml.
# Where ARGS names tests, some of the three may have none: pytest calls that 5.
PYTEST = $(VENV)/bin/python -m pytest
ASKED = $(WITHOUT:%=--ignore=%) $(ARGS) $(if $(ARGS),|| [ $$? -eq 5 ])

test: $(VENV)/.dev ## The whole test suite
	@$(PYTEST) -m "not vllm and not heavy and not alone" -n $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder $(ASKED)
	@$(PYTEST) -m "heavy and not vllm" -n 2 --dist load --maxschedchunk 1 $(ASKED)
	@$(PYTEST) -m "alone and not vllm" $(ASKED)

test-vllm: $(VENV)/.dev ## The acceptance tests against a real vLLM on the CPU
	@PATH="$(abspath $(VENV))/bin:$$PATH" bash tests/vllm/run.sh $(ARGS)

bench: $(VENV)/.dev ## Compare metergate with nginx and the peers that are installed (a quarter of an hour)
	@$(VENV)/bin/python -m bench $(ARGS)

bench-peers: $(VENV)/.dev ## Install the peers that can be had here, for make bench
	@$(VENV)/bin/python -m bench.peers install $(ARGS)

bench-edges: $(VENV)/.dev ## The figures outside that table: streams, posting, prompts, keys, workers, floors (half an hour)
	@$(VENV)/bin/python -m bench.edges $(ARGS)

bench-reports: $(VENV)/.dev ## Usage and costs over ten million calls: every grouping, and whether all tie (twenty minutes)
	@$(VENV)/bin/python -m bench.reports $(ARGS)

profile: $(VENV)/.dev ## Where the time goes: a table and a flame graph of one phase
	@$(VENV)/bin/python -m bench.profile $(ARGS)

race: $(VENV)/.dev ## Prove the hard limits: 4 workers, 256 clients, 20 seeds (an hour and a half)
	@$(VENV)/bin/python -m race $(ARGS)

outage: $(VENV)/.dev ## Show an hour without the database at 200 calls a second (some ten minutes)
	@$(VENV)/bin/python -m race.outage $(ARGS)

chaos: $(VENV)/.dev ## Break everything under load and count every token, on both databases (twenty minutes)
	@$(VENV)/bin/python -m chaos $(ARGS)

fuzz: $(VENV)/.dev ## Fuzz the control plane by its own document, as every role, with other cases each time (ten minutes)
	@$(VENV)/bin/python -m pytest tests/integration/admin/test_schemathesis.py --hypothesis-profile=fuzz $(ARGS)

capture: $(VENV)/.dev ## How much of what a real vLLM generates is in the ledger: 300 streams, 10 kills
	@$(VENV)/bin/python -m tests.vllm.capture $(ARGS)

clean: ## Remove the virtual environment and caches; never ./data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps live in the environment they speak of: remove one and the other goes too.
$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing the development tools into $(VENV) (once)" >&2
	@$(PIP) --no-compile --require-hashes -r requirements-dev.lock # what is imported is compiled then: a third of it
	@touch $@

$(VENV)/.runtime: requirements.lock pyproject.toml $(VENV)/bin/python
	@echo "Installing the locked dependencies into $(VENV) (once)" >&2
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# The first of these that is at least 3.11 and can make environments. Each is run, not only found: a pyenv shim
# exists for versions that are not switched on, and Debian splits venv off into a package of its own.
$(VENV)/bin/python:
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || { bare="$$python"; continue; }; \
		echo "Making $(VENV) with $$("$$python" --version) (once)" >&2; \
		exec "$$python" -m venv --clear $(VENV); \
	done; \
	if [ -n "$$bare" ]; then \
		echo "metergate: $$bare cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install $$("$$bare" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')), or choose another with make PYTHON=/path/to/python" >&2; \
	else \
		echo "metergate: needs Python 3.11 or newer, and found $$(python3 --version 2>/dev/null || echo none): install one, or choose it with make PYTHON=/path/to/python" >&2; \
	fi; exit 1
