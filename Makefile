# What one does with a checkout. Needs GNU make and Python 3.11, 3.12 or 3.13; the rest is
# installed into .venv, here. Tools run as modules (python -m ...), since scripts in .venv/bin
# would not start from a directory with a blank in its name.

# An existing .venv is kept; PYTHON=python3.12 makes it anew if it has another version.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
QUICKSTART_DIR ?= runs/quickstart
export QUICKSTART_DIR

VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
RUN := .venv/.installed-$(VERSION)
# EXTRAS=test,torch,tpu adds the tests of PyTorch files and of the compiler for TPUs, which are
# skipped otherwise. PyTorch's default build for Linux brings some gigabytes of CUDA, and libtpu
# takes 700 MB, so nobody gets them unasked.
EXTRAS ?= test
COMMA := ,
DEV := .venv/.installed-$(subst $(COMMA),-,$(EXTRAS))-$(VERSION)
PY := .venv/bin/python

.PHONY: help quickstart pictures seist-picture test lint types docs lock clean

help:
	@echo "make quickstart  train, evaluate and predict on built-in data, into QUICKSTART_DIR"
	@echo "                 (default runs/quickstart)"
	@echo "make pictures    quickstart, and from it the pictures in docs/pictures; needs Chromium"
	@echo "make seist-picture RECORD=FILE  that of SeisT, of the networks in runs/seist_l_dpk, ..._pmp,"
	@echo "                 ..._emg, ..._dis and ..._baz (docs/pretrained.md); needs Chromium"
	@echo "make test        all tests; with EXTRAS=test,torch,tpu those of PyTorch files and TPUs too"
	@echo "make lint        style of the code (ruff)"
	@echo "make types       type checks (mypy)"
	@echo "make docs        the documentation as web pages, in site/"
	@echo "make lock        write requirements-dev.lock from .venv"
	@echo "make clean       remove .venv, site/ and caches; runs/ and data/ stay"

# -- the environment -----------------------------------------------------------------------------

$(RUN): REQUIREMENT := .
$(DEV): REQUIREMENT := .[$(EXTRAS)]
$(RUN) $(DEV): pyproject.toml
	@case "$(VERSION)" in \
	3.11|3.12|3.13) ;; \
	"") echo "error: $(PYTHON) is not a working Python. Name one of version 3.11, 3.12 or 3.13:" >&2; \
		echo "  make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1 ;; \
	*) echo "error: $(PYTHON) is Python $(VERSION), but 3.11, 3.12 or 3.13 is needed. Name one:" >&2; \
		echo "  make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1 ;; \
	esac
	@$(PY) -c 'import pip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' 2>/dev/null || \
		{ echo "Making a virtual environment in .venv with Python $(VERSION)."; \
		"$(PYTHON)" -m venv --clear .venv; }
	@echo "Installing $(REQUIREMENT) with its libraries into .venv; the first time takes a few minutes."
	@$(PY) -m pip install --quiet --quiet --disable-pip-version-check --editable "$(REQUIREMENT)"
	@touch "$@"

# -- a first result ------------------------------------------------------------------------------

quickstart: $(RUN)
	@echo
	@echo "== 1 of 3: training a picker of P and S arrivals =="
	@echo "The data are synthetic earthquakes, written now (data sets of real ones are large downloads)."
	@echo "The network is SeisMoLLM with a small, untrained GPT-2 in the middle: the published one has to"
	@echo "be downloaded and needs a GPU to train. So the scores show that all works, not how good"
	@echo "SeisMoLLM is. Running this again continues or reuses what is there."
	@$(PY) train.py --config=configs/picking.py:builtin --config.data.path="$$QUICKSTART_DIR/data" \
		--workdir="$$QUICKSTART_DIR"
	@echo
	@echo "== 2 of 3: evaluating it on earthquakes that it has not seen =="
	@$(PY) eval.py --checkpoint="$$QUICKSTART_DIR" --data="$$QUICKSTART_DIR/data" --split=test \
		--output="$$QUICKSTART_DIR" --report
	@echo
	@echo "== 3 of 3: picking a real record, the example that comes with ObsPy =="
	@$(PY) -m seismollm_jax.inference.example --output "$$QUICKSTART_DIR/record.mseed"
	@$(PY) predict.py --checkpoint="$$QUICKSTART_DIR" --input="$$QUICKSTART_DIR/record.mseed" \
		--output="$$QUICKSTART_DIR/picks.csv" --plot="$$QUICKSTART_DIR/pictures/record.png"
	@echo
	@echo "== Done. Everything is in $$QUICKSTART_DIR =="
	@echo "  data/                  the synthetic earthquakes, in the layout of STEAD"
	@echo "  checkpoints/           the trained network, the best and the latest"
	@echo "  metrics.jsonl          the course of the training; tensorboard/ for TensorBoard"
	@echo "  report.html            the test on one page: open it in a browser"
	@echo "  metrics.json           the scores on the test part"
	@echo "  predictions.csv        the picks of every test trace beside the true ones"
	@echo "  picks.csv              the picks of the real record"
	@echo "  pictures/record.png    the same as a picture; the others are those of the report"
	@echo "  pictures/training.png  the course of the training"
	@echo "Scores on the test part; a pick is a hit within 0.1 s (mae_hit_s: mean error of hits, seconds):"
	@sed -nE '/^ "scores"/,/^ \}/s/^ *"(p|s)_sample\/(precision|recall|f1|mae_hit_s)": ([0-9]\.[0-9]{1,3}).*/  \1 \2 \3/p' \
		"$$QUICKSTART_DIR/metrics.json"
	@echo "To try next:"
	@echo "  another task:"
	@echo "    $(PY) train.py --config=configs/polarity.py:builtin --config.data.path=\"$$QUICKSTART_DIR/data\" --workdir=runs/polarity"
	@echo "  your own records, in any format that ObsPy reads:"
	@echo "    $(PY) predict.py --checkpoint=\"$$QUICKSTART_DIR\" --input='FOLDER/*.mseed' --output=my_picks.csv --plot=my_record.png"
	@echo "  the published training, with STEAD and GPT-2 (docs/data.md and docs/weights.md say where to get them):"
	@echo "    $(PY) train.py --config=configs/picking.py --config.data.path=STEAD_FOLDER --workdir=runs/picking"

# The command that starts Chromium or Chrome, with options if need be: root has to add --no-sandbox.
CHROMIUM ?= chromium

pictures: quickstart
	@cp "$$QUICKSTART_DIR/pictures/record.png" docs/pictures/record.png
	@$(CHROMIUM) --headless --hide-scrollbars --window-size=1200,890 \
		--screenshot=docs/pictures/report.png "$$QUICKSTART_DIR/report.html"

SEIST ?= runs/seist_l
SEIST_EVENTS ?= runs/seist_events
export RECORD SEIST SEIST_EVENTS

seist-picture: $(RUN)
	@test -n "$$RECORD" || { echo "error: say of which record: make seist-picture RECORD=FILE" >&2; exit 1; }
	@$(PY) predict.py --picking="$${SEIST}_dpk" --polarity="$${SEIST}_pmp" --magnitude="$${SEIST}_emg" \
		--distance="$${SEIST}_dis" --back_azimuth="$${SEIST}_baz" --input="$$RECORD" \
		--output="$$SEIST_EVENTS/events.csv" --report
	@$(CHROMIUM) --headless --hide-scrollbars --window-size=1200,1135 \
		--screenshot=docs/pictures/seist_events.png "$$SEIST_EVENTS/events.html"

# -- for those who change something --------------------------------------------------------------

test: $(DEV)
	@$(PY) -m pytest -n 2 --dist loadfile

lint: $(DEV)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(DEV)
	@$(PY) -m mypy

docs: $(DEV)
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

lock: $(DEV)
	@{ echo "# Exact versions of the development environment (Python 3.11, Linux, CPU); written by make lock."; \
		$(PY) -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > requirements-dev.lock

clean:
	rm -rf .venv site build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
