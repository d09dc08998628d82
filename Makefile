# Each target makes its own environment first (.venv, pinned by constraints.txt).
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check docs dist bench soak slurm generator clean

demo: .venv/demo.stamp
	$(BIN)/xdream evolve --name demo --target efficientnet-lite0:_fc:954 --references scikit-image --presentations 1000
	@echo "To go on: source .venv/bin/activate; xdream --help"

test: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: .venv/dev.stamp
	$(BIN)/ruff format --check src tests benches docs/conf.py
	$(BIN)/ruff check src tests benches docs/conf.py
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 0 -q docs README.md

# The documentation as a site: docs/_build/html/index.html. Warnings are errors.
docs: .venv/docs.stamp
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

# Wheel and sdist into dist/; the wheel alone, in a fresh environment elsewhere, runs the demo. Minutes.
dist:
	PYTHON=$(PYTHON) .ci/dist

# How fast is it here? About half an hour on two cores.
bench: .venv/dev.stamp
	$(BIN)/python benches/engine.py
	$(BIN)/python benches/engines.py
	$(BIN)/python -W ignore benches/export.py

# 10,000 generations, and 20,000 of a session over HTTP: does the memory stay as it is? About half an hour.
soak: .venv/dev.stamp
	$(BIN)/python benches/soak.py
	OMP_NUM_THREADS=1 $(BIN)/python benches/soak_session.py
	XDREAM_KILLED_SESSIONS=60 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/laboratory/session/test_kills.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --hypothesis-profile=soak tests/networks/caffe tests/laboratory/rigs tests/scoring

# Shards as jobs of a Slurm that is started for it on this machine (Debian: slurm-wlm, munge). Minutes.
slurm: .venv/dev.stamp
	XDREAM_SLURM=1 OMP_NUM_THREADS=1 tests/slurm/loopback.sh $(abspath $(BIN))/python -m pytest -n 0 -v -m slurm tests/slurm

# The generator that comes with the package, from the photographs in IMAGES (hours; goes on after a kill).
IMAGES ?= images
TRAINED := generators/natural-v1
generator: .venv/dev.stamp
	$(BIN)/xdream train-generator recipes/natural-v1.toml --out $(TRAINED) --validation $(IMAGES)/tiny64-val.zip \
	  $(patsubst %,--images $(IMAGES)/%.zip,tiny64-train-0 tiny64-train-1 tiny64-train-2 imagenet-samples-256)
	cp $(TRAINED)/natural-v1.safetensors src/xdream/generators/

clean:
	rm -rf .venv docs/_build docs/api docs/results

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[demo]'
	touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	touch $@ .venv/demo.stamp

.venv/docs.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[docs]'
	touch $@
