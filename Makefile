# make demo    sets up and runs the main job on small real input; ends with a table, the verdict and a page
# make test    sets up and runs the tests
PYTHON ?= python3
ENV ?= lunar_lander
BIN := .venv/bin

# Where it is set, every process that starts compiles metapbt anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all test-slow fuzz test-wheel test-brax test-procgen test-ray test-loggers test-slurm lint bench docs chaos clean

demo: .venv/ready
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo.sh $(ENV)

# All but the fuzzers, which have a command of their own below.
test: .venv/ready .venv/chromium
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --ignore=tests/fuzz

# What make test shows with fewer seeds and kills, at length, and what takes longest.
test-slow: .venv/ready
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "slow and not brax" --ignore=tests/fuzz

# With what takes long: beside Ray, the wheel in an empty environment, and a thousand examples for each fuzzer.
test-all: .venv/ready .venv/brax .venv/ray
	FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest -m "not slurm"

# About a minute of it; FUZZ_EXAMPLES=10000 make fuzz goes on for hours.
fuzz: .venv/ready
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-100} $(BIN)/python -m pytest tests/fuzz

test-wheel: .venv/ready
	$(BIN)/python -m pytest -m wheel tests/wheel

# Bodies of Brax and MuJoCo, which .venv holds from then on; SLOW=1 compiles all of them, for minutes.
test-brax: .venv/brax
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "brax$(if $(SLOW),, and not slow)" --ignore=tests/fuzz

# EnvPool, which .venv holds from then on, and the two system libraries that Procgen needs.
test-procgen: .venv/procgen
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -k "procgen or envpool or drac" tests

# Ray, which .venv holds from then on: its own multi-node test cluster on this machine, and Ray Tune.
test-ray: .venv/ray
	$(BIN)/python -m pytest -m ray --ignore=tests/fuzz

# Weights & Biases and MLflow, which .venv holds from then on; nothing is sent anywhere.
test-loggers: .venv/loggers
	$(BIN)/python -m pytest tests/callbacks

# The documentation as a site, in site/; a link that leads nowhere is an error.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html (with its search: $(BIN)/python -m http.server --directory site)"

# A real Slurm on this one machine; must run as root on Debian or Ubuntu.
test-slurm: .venv/ready
	@trap 'tests/slurm/one_machine_slurm.sh stop' EXIT; \
	SLURM_CONF="$$(tests/slurm/one_machine_slurm.sh start)" && export SLURM_CONF && \
	$(BIN)/python -m pytest -m slurm tests/slurm

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck --severity=style automatic_job_runner.sh demo.sh tests/slurm/*.sh .ci/run

# Each prints a table, with its peers where they are installed (pip install "ray[rllib,tune]").
bench: .venv/ready
	$(BIN)/python -W ignore benchmarks/training.py
	$(BIN)/python -W ignore benchmarks/population.py --run
	$(BIN)/python -W ignore benchmarks/suggestion.py
	$(BIN)/python -W ignore benchmarks/population.py
	$(BIN)/python -W ignore benchmarks/memory_cost.py
	$(BIN)/python -W ignore benchmarks/toy.py
	$(BIN)/python -W ignore benchmarks/page.py

# The environment is made anew when what it is made from changes.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metapbt needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

.venv/brax: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[brax,mujoco]"
	touch $@

.venv/ray: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[ray]"
	touch $@

.venv/loggers: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[wandb,mlflow]"
	touch $@

.venv/procgen: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[procgen]"
	@$(BIN)/python -c 'import ctypes; [ctypes.CDLL(name) for name in ("libGL.so.1", "libgthread-2.0.so.0")]' 2>/dev/null || \
	  { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends libgl1 libglib2.0-0; }
	touch $@

# A browser for the tests of the report's page, from Debian or Ubuntu; where it cannot be had these tests are skipped.
.venv/chromium: .venv/ready
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update --quiet && \
	    apt-get install --quiet --yes --no-install-recommends chromium; } || \
	  echo "no Chromium: the tests of the report's page are skipped"
.venv/docs: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	touch $@

# Fifty SIGKILLs of each kind: runs, workers, a study, a Ray node. More than an hour; writes its table into the docs.
chaos: .venv/ray
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore benchmarks/chaos.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
