# lskd: make help

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST_TESTS := tests/config/test_presets.py tests/cli/test_commands.py tests/cli/test_predict_export.py \
  tests/cli/terminal/test_console.py tests/data/sets/test_own_data.py tests/models/test_external_features.py \
  tests/models/test_pretrained.py tests/results/test_figures.py

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-cifar100 test test-lowest test-slow test-faults test-mutations test-gpu gpu-report test-browser check bench fetch-teachers headline clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## create .venv and install lskd with its development tools

# Reinstalled when pyproject.toml changes.
$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: setup ## distill a student from 100 labeled digits with KD and KD+Ours; write table and page
	$(BIN)/lskd train --preset teacher-digits
	$(BIN)/lskd compare --train --preset alone-digits100 --preset kd-digits100 --seeds 0,1,2,3,4
	$(BIN)/lskd report

demo-cifar100: setup ## the effect on CIFAR-100: resnet56 to resnet20 on 20,000 images, three seeds (half an hour or more)
	$(BIN)/lskd compare --train --preset kd-r56-r20 --teacher-checkpoint pretrained --limit-train 20000 --epochs 12 --seeds 0,1,2

test: setup ## run the test suite (no network, no GPU, about eight minutes on two cores)
	$(BIN)/python -m pytest

test-lowest: setup ## test options, presets, a training, a page and an export with the lowest versions allowed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-lowest
	$(BIN)/uv pip install --quiet --python $(VENV)-lowest/bin/python --resolution lowest-direct --editable '.[dev]'
	$(VENV)-lowest/bin/python -m pytest --disable-warnings $(LOWEST_TESTS)

test-slow: setup ## run the tests that take minutes, also those on a CUDA device if there is one
	$(BIN)/python -m pytest -m slow -n 0

test-faults: setup ## run a campaign of kills, malformed inputs, bad servers and full disks (about 90 minutes)
	$(BIN)/python -m tests.faults

test-mutations: setup ## put small mistakes into the package, one at a time, and list which test notices each (hours)
	$(BIN)/python -m tests.mutations

test-gpu: setup ## run the tests on a CUDA device: losses of the CPU, graphs, no waiting in steps, two GPUs
	$(BIN)/python -m pytest -m "gpu and not slow" -n 0

gpu-report: setup ## write doctor, GPU tests, step times, memory and kernels to gpu-report.txt
	-{ $(BIN)/lskd doctor; \
	$(BIN)/python -m pytest -m "gpu and not slow" -n 0 --durations=10; \
	$(BIN)/python -m benchmarks.step --compile; \
	$(BIN)/python -m benchmarks.parts; \
	$(BIN)/python -m benchmarks.kernels; } 2>&1 | tee gpu-report.txt

test-browser: setup ## test the report page in Chromium (Debian: apt install chromium)
	$(BIN)/python -m pytest -m browser -n 0

check: setup ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## compare the engine with a plain PyTorch loop, and print the benchmark tables that need no data
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.parts
	$(BIN)/python -m benchmarks.pairs
	$(BIN)/python -m benchmarks.methods
	$(BIN)/python -m benchmarks.transformers
	$(BIN)/python -m benchmarks.images

fetch-teachers: setup ## download the six published CIFAR-100 teachers
	$(BIN)/lskd fetch-teachers

headline: setup ## train resnet32x4 to resnet8x4 on CIFAR-100 with three seeds (needs a GPU)
	$(BIN)/lskd fetch-teachers resnet32x4
	$(BIN)/lskd compare --train --preset kd-r32x4-r8x4 --seeds 0,1,2

clean: ## remove the virtual environment and caches; runs, data and checkpoints stay
	rm -rf $(VENV) $(VENV)-lowest .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
