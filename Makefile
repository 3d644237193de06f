# make demo     set up and watch a molecule move (SYSTEM=h2o_benzene, or any other complex of models/)
# make test     set up and run every check
# make clean    remove what the two made

PYTHON ?= python3
VENV   ?= .venv
SYSTEM ?= h2o_benzene
BIN    := $(VENV)/bin
# What pip builds and installs; a change here installs again.
BUILT  := pyproject.toml constraints.txt $(wildcard delta_server/gdml/compiled/*.[ch])
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

# Tests run side by side, each with one thread, without OpenMP, which nothing can be forked from, and with large pages,
# which spare a virtual machine a tenth of its time; compiled modules are kept, whatever the environment says.
ALONE  := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1 NUMBA_THREADING_LAYER=workqueue \
          GLIBC_TUNABLES=glibc.malloc.hugetlb=1 PYTHONDONTWRITEBYTECODE=

.PHONY: demo test clean

demo: $(VENV)/.demo
	$(BIN)/delta-sgdml run inputs/$(SYSTEM)/demo.xml models/$(SYSTEM)/manifest.yaml --dir demo/$(SYSTEM)
	$(BIN)/delta-sgdml analyze energies demo/$(SYSTEM)

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & types=$$!; $(ALONE) $(BIN)/python -m pytest -n 3 --dist worksteal; tests=$$?; \
	wait $$types && exit $$tests

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python $(BUILT)
	$(PIP) -e '.[ipi,analysis]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python $(BUILT)
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) demo build dist *.egg-info delta_server/gdml/compiled/*.so
	rm -rf .hypothesis .pytest_cache .mypy_cache .ruff_cache
