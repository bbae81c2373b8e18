# Each target does all of its set-up. PYTHON must be 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
NAME ?=
PYTEST = $(BIN)/python -m pytest
TYPES = $(BIN)/pyright --pythonpath $(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# byte code is written at the first import, of what is imported: half of an installation is compiling what never is
export PIP_COMPILE = 0
# so it must be written: where a machine forbids it, every process would compile torch anew, four seconds each
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test lint drills fuzz slow bench docs clean

demo: $(VENV)/.train
	$(BIN)/bandloom demo --out demo

test: $(VENV)/.dev  ## on every core; a file's tests stay together, in the order of tests/conftest.py
	$(PYTEST) -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev  ## style and types; the types take minutes of a core
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(TYPES)

drills: $(VENV)/.dev  ## kills, power-offs, restarts
	$(PYTEST) -m "drill or not drill" tests/slurm --timeout 3600
	$(PYTEST) -m drill --ignore tests/slurm --timeout 3600

fuzz: $(VENV)/.dev  ## hundreds of damaged inputs
	$(PYTEST) -m fuzz --timeout 3600

slow: $(VENV)/.dev  ## minutes, not seconds
	$(PYTEST) -m slow --timeout 3600

bench: $(VENV)/.dev  ## all of them, or one: make bench NAME=predict_rss
	$(BIN)/python -m benchmarks.harness $(NAME)

docs: $(VENV)/.dev  ## the site, every warning an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# torch and torchvision come from constraints.txt in one command, or pip takes a CUDA build
$(VENV)/.train: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[train]'
	touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@# beside each other. tensorrt-rtx builds real NVIDIA engines without a GPU; without it, its tests skip themselves
	{ $(BIN)/pip install -q -c constraints.txt 'tensorrt-rtx>=1.4' 'cuda-python>=12.6' || echo "no tensorrt-rtx here"; } & \
	$(BIN)/python -m bandloom.view.fetch_maplibre || echo "no npm here: bandloom view fetches MapLibre when it is first used"; \
	wait
	touch $@

clean:
	rm -rf $(VENV) demo runs site
