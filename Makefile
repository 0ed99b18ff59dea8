# Each target makes .venv when it is missing. An existing .venv keeps the torch it has.
TORCH ?= torch==2.13.0
PYTHON ?= python3
VENV ?= .venv
DEMO_STEPS ?= 200
# Tests use one thread each, so several run side by side.
PYTEST ?= python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

BIN := $(VENV)/bin
CSRC := $(shell find csrc -type f)
CXX_FILES := $(filter %.h %.cpp %.cu %.cuh,$(CSRC))
BUILD_FILES := pyproject.toml setup.py build_backend/backend.py

.PHONY: demo test bench lint cuda-build clean

demo: $(VENV)/.installed
	rm -rf runs/demo
	$(BIN)/rotfast train msr --problem rotated-digits --model single --preset recommended \
		--steps $(DEMO_STEPS) --run runs/demo
	$(BIN)/rotfast plot runs/demo

test: $(VENV)/.installed
	$(BIN)/$(PYTEST)

bench: $(VENV)/.installed
	$(BIN)/python -m pytest benchmarks --benchmark-only

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/mypy

# The whole CUDA extension; needs a toolkit and a CUDA torch, but no GPU.
cuda-build:
	$(MAKE) .venv-cuda VENV=.venv-cuda TORCH=torch
	.venv-cuda/bin/python -m pip install "setuptools>=77.0.3" ninja pybind11 numpy
	ROTFAST_CUDA=1 .venv-cuda/bin/python -m pip install --no-build-isolation --no-deps -e .
	.venv-cuda/bin/python checks/cuda_kernels.py

$(VENV):
	$(PYTHON) -m venv $@
	$(BIN)/python -m pip install "$(TORCH)" || { rm -rf $@; exit 1; }

$(VENV)/.installed: $(BUILD_FILES) $(CSRC) | $(VENV)
	$(BIN)/python -m pip install -e ".[demo,recipes,test]"
	touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	$(BIN)/python -m pip install -e ".[demo,recipes,test,lint]"
	touch $@

clean:
	rm -rf build *.egg-info .venv-cuda rotfast/*.so
