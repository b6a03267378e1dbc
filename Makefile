# make demo    everything, from raw scans to the pictures, on a CPU
# make test    lint, types and the test suite
# make docs    the site, with the API from the docstrings, into site/
# make gpu-check   the GPU's tests and the benchmark of a training step, on a machine with a GPU
# make siege   attacks on every command by damage, kills, full disks and more, with a table of them
# make gpu-rehearsal   the same tests on a pretended GPU, with spconv-triton's kernels interpreted, where there is no GPU
# make install the part they share: .venv with pointseg in it

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TORCH  ?= torch==2.13.0

# The demo, part by part. DEMO_TRAIN overrides keys of configs/demo.yaml: DEMO_TRAIN="train.passes=2".
DEMO_SCANS ?= --law longtail --train 80 --val 20 --test 4
DEMO_TRAIN ?=
DEMO_DATA  ?= data/demo
DEMO_RUN   ?= runs/demo
DEMO_PICTURES ?= 3

# Its environment has the GPU's libraries in it (see the README), and is left as it is.
GPU_PYTHON ?= $(BIN)/python

.PHONY: install demo test docs siege gpu-check gpu-rehearsal check format clean
.DELETE_ON_ERROR:

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@PYTHON=$(BIN)/python TORCH='$(TORCH)' sh scripts/install_torch.sh
	$(BIN)/python -m pip install --quiet --editable '.[viz]'
	@sh scripts/install_system_libraries.sh
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' || \
	  { echo "$(PYTHON) is not one of Python 3.10 to 3.14; type: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) can't make a virtual environment; type: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[viz,formats,datasets,hub,wandb,docs,dev]'
	@touch $@

demo: install
	$(BIN)/python data_prep/make_demo_scans.py --out $(DEMO_DATA)/raw $(DEMO_SCANS)
	$(BIN)/python data_prep/preprocess_scannet.py --raw $(DEMO_DATA)/raw --out $(DEMO_DATA)/prepared
	$(BIN)/python -m pointseg.train --cfg demo.yaml --resume run.dir=$(DEMO_RUN) data.root=$(DEMO_DATA)/prepared $(DEMO_TRAIN)
	$(BIN)/python -m pointseg.predict --run $(DEMO_RUN) --split test --tta rot4 --out $(DEMO_RUN)/predictions/test
	$(BIN)/python submissions/format_submission.py --predictions $(DEMO_RUN)/predictions/test --raw $(DEMO_DATA)/raw --split test --out $(DEMO_RUN)/submission.zip
	$(BIN)/python submissions/check_submission.py $(DEMO_RUN)/submission.zip --raw $(DEMO_DATA)/raw --split test
	$(BIN)/python -m pointseg.predict --run $(DEMO_RUN) --split val --tta rot4 --out $(DEMO_RUN)/predictions/val
	@for scene in $$(ls $(DEMO_DATA)/prepared/val | head -n $(DEMO_PICTURES)); do \
	  $(BIN)/python -m pointseg.visualize --scene $(DEMO_DATA)/raw/scans/$$scene/$${scene}_vh_clean_2.ply \
	    --pred $(DEMO_RUN)/predictions/val/$$scene.txt --save $(DEMO_RUN)/pictures/$$scene.png || exit 1; \
	done
	$(BIN)/python -m pointseg.evaluate --run $(DEMO_RUN) --tta rot4 --brief --json $(DEMO_RUN)/evaluation.json
	$(BIN)/python -m pointseg.report --run $(DEMO_RUN) --out $(DEMO_RUN)/report.html
	@cd $(DEMO_RUN) && echo && echo "In $(DEMO_RUN):" $$(ls -d config.yaml metrics.jsonl checkpoints/* evaluation.json submission.zip pictures/*)
	@echo "Open $(DEMO_RUN)/report.html in a browser; then try a scan of your own: \"Your own scans\" in README.md."

test: $(VENV)/installed-dev check
	$(BIN)/python -m pytest -n auto --maxprocesses 4

docs: $(VENV)/installed-docs
	$(BIN)/python scripts/site_pages.py build/pages
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "The site is in site/: open site/index.html"

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

siege: $(VENV)/installed-dev
	$(BIN)/python -m tests.siege

gpu-check:
	@$(GPU_PYTHON) -c 'import torch; torch.cuda.is_available() or exit(1)' || \
	  { echo "$(GPU_PYTHON) finds no GPU; see GPU in README.md, or type: make gpu-check GPU_PYTHON=python3" >&2; exit 1; }
	$(GPU_PYTHON) -m pytest -m gpu
	$(GPU_PYTHON) -m pointseg.benchmark step --device cuda --scenes 12 --voxels 100000 --json gpu-check.json

gpu-rehearsal: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --editable '.[triton]' triton
	POINTSEG_REHEARSAL=1 POINTSEG_REQUIRE=pretended_gpu,spconv_triton $(BIN)/python -m pytest -m gpu -n auto --maxprocesses 4

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build site data/demo runs/demo .mypy_cache .ruff_cache .pytest_cache
