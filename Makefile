# Two commands, each enough on a machine with Python 3.11 or newer, git and make:
#   make course   environment, tiny benchmark, a run of every chapter, then the site: build/site/index.html
#   make test     environment, ruff, pytest, then the chapters
# make site builds the site from the kept notebooks alone;  make lab opens chapter 00 in JupyterLab;  make clean removes
# what these made.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ENV    := $(VENV)/.installed

.PHONY: course site test lab tiny clean

course: tiny
	$(BIN)/python ci/course.py

site: $(ENV)
	$(BIN)/python ci/book.py

# One thread in each worker, because there is a worker for each core.
test: tiny
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto
	$(BIN)/python ci/course.py

# On this computer only, with the token that Jupyter makes at each start. (Root, in a container, has to allow it.)
lab: tiny
	$(BIN)/jupyter lab --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00_start_here.ipynb

# Makes the tiny benchmark if it is missing.
tiny: $(ENV)
	$(BIN)/python -m ifsl.tiny

# The stamp is touched last, so that an interrupted installation is repeated at the next call.
$(ENV): pyproject.toml ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ifsl needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Installing the packages into $(VENV) (about 7 GB of disk, mostly PyTorch; a few minutes, only this once) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint ci/constraints.txt --editable '.[course,test]'
	@touch $@

clean:
	rm -rf build data/tiny $(VENV)
