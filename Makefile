# Two commands: `make demo` and `make test`. Both set up what they need, once.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Of the embedded zoo's ten networks, to stay within four minutes on two cores.
DEMO   := lenet alexnet squeezenet mobilenet resnet efficientnet

.PHONY: demo test lint setup clean

demo: export BENCH_STORE = demo/results.db
demo: export BENCH_CACHE = demo/cache
# One thread: networks this small get slower and noisier with two. Exit status 6 says that some
# measurements are INVALID, as on a busy machine: the chart leaves them out and says so.
demo: $(READY)
	@mkdir -p demo
	$(BIN)/bench run $(DEMO:%=--model builtin:digits-%) \
	    --target cpu-ort-fp32 --target cpu-ort-int8 \
	    --target cpu-openvino-fp32 --target cpu-openvino-int8 \
	    --threads 1 --min-seconds 0.5 --max-seconds 0.5 || [ $$? -eq 6 ]
	$(BIN)/bench report --out demo
	@echo "Look at demo/*.png; the numbers are in demo/results.md."

test: lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(READY)

# Made anew when the dependencies change; the stamp is written last.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "Python 3.10 or later is needed: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[cpu,test]'
	@touch $@

clean:
	rm -rf $(VENV) demo bench-report .mypy_cache .pytest_cache .ruff_cache .hypothesis
