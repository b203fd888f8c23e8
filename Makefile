# make book and make test need Python 3.11+ and nothing else.
SHELL := bash
PYTHON ?= python3
VENV ?= .venv
PAGES ?=
JOBS ?= 2
BENCH ?=
AUDIT ?=
GPU ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
export OMP_NUM_THREADS := 1
export PYTHONHASHSEED := 0
# What is imported is compiled once, not again in the kernel of every page.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install book pdf paper records test quick lint unit slow pages portable notebooks times audit mutants bench known gpu live dist browser address clean

help: ## say what each target does
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 12
	@echo
	@echo "Without a GPU on Linux, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
	@echo "makes the first of them fetch the small build of PyTorch."

# The stamp's name is a checksum of what the environment is made from; dates do not count.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --no-compile -c constraints.txt -e '.[replication,export,book,test]'
	rm -f $(VENV)/.installed-*
	touch $@

install: $(STAMP) ## make the environment .venv

book: $(STAMP) ## build the site from the executed pages, into _build/html; executes nothing
	$(PY) tools/notebooks.py check
	rm -rf _build/html
	$(VENV)/bin/jupyter-book build book --config _config.yml --path-output . --all -W -n --keep-going

pdf: $(STAMP) ## the lessons as one PDF, _build/cnf.pdf; needs Chromium or Chrome, no LaTeX
	@$(PY) -m tools.pdf --find
	$(MAKE) book
	$(PY) -m tools.pdf

$(STAMP)-%: $(STAMP)
	$(PY) -m pip install --quiet --no-compile -c constraints.txt -e '.[$*]'
	touch $@

paper: $(STAMP)-paper ## the replication as a paper, _build/paper.pdf (by Typst, no LaTeX); a site built after it links it
	$(PY) -m tools.paper

records: $(STAMP)-records ## rows, weights and runs in the standards of others (Croissant, RO-Crate, ...), _build/records
	$(PY) -m tools.records

test: lint unit pages ## lint, unit tests, and every page executed and compared

quick: lint ## lint, and the laws of layers and densities: two minutes
	$(PY) -m pytest -q -n $(JOBS) tests/laws tests/densities tests/test_mutants_table.py

lint: $(STAMP)
	$(PY) -m ruff check .
	PYTHONPATH=. $(VENV)/bin/lint-imports
	$(PY) -m mypy
	$(PY) -m tools.lint_book
	@kept=$$(git ls-files -ci --exclude-standard 2>/dev/null); test -z "$$kept" || { echo "in the repository, but ignored: $$kept"; exit 1; }

unit: $(STAMP)
	$(PY) -m pytest -n $(JOBS) --dist worksteal tests --ignore tests/browser

slow: $(STAMP) ## the tests that `make test` leaves out; they want an idle machine
	$(PY) -m pytest -m slow -rs tests --ignore tests/browser

pages: $(STAMP)
	$(PY) tools/notebooks.py check
	env -u CNF_DATA $(PY) -m pytest -p tools.warm_kernels --nbval --nbval-current-env \
	    --nbval-cell-timeout=600 --nbval-sanitize-with tests/nbval.cfg \
	    -n $(JOBS) --dist loadfile --no-loadscope-reorder book

# Where another processor differs: products, inverses and convolutions by other kernels (MKL, oneDNN,
# OpenBLAS), elementwise functions and float32 noise without vectors, sums over two threads, which
# wait without spinning.
portable: ## unit tests and pages, with the arithmetic of another processor (x86-64)
	$(MAKE) --keep-going unit pages MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41 \
	    OPENBLAS_CORETYPE=Nehalem NPY_DISABLE_CPU_FEATURES=X86_V3,X86_V4 \
	    ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE

notebooks: $(STAMP) ## execute the pages, stale ones first; or some: PAGES='01-name 02-name'
	$(PY) tools/notebooks.py run --jobs $(JOBS) $(PAGES)

times: $(STAMP) ## execute the pages (or PAGES) on an idle machine and keep how long each takes
	$(PY) tools/notebooks.py run --times --jobs $(JOBS) $(PAGES)

address: $(STAMP) ## say where the repository is, for Colab, Binder and edits: REPOSITORY=https://github.com/OWNER/NAME
	$(PY) tools/notebooks.py address $(if $(filter undefined,$(origin REPOSITORY)),,'$(REPOSITORY)')

audit: $(STAMP) ## compute the rows of results/ again from weights and data (CNF_DATA names the data): AUDIT='--minutes 30', or --all
	$(PY) -m cnf results audit $(AUDIT)

mutants: $(STAMP) ## plant mistakes in the package one at a time; the tests must see each
	$(PY) -m tools.mutants

bench: $(STAMP)-bench ## our flow against FrEIA, nflows and normflows; eight minutes on an idle core
	$(PY) -m tools.bench $(BENCH)

known: $(STAMP) ## train on data whose likelihood is known, two minutes of one core -> results/known
	$(PY) -m tools.known

gpu: $(STAMP) ## train, score and publish the runs that need a GPU, in slices: GPU='--minutes 9'; GPU=--plan only says what is left
	$(PY) -m tools.gpu $(GPU)

live: $(STAMP) ## compile tools/live.c (by Zig) and write what the live pages run -> book/_static/live
	$(PY) -m pip install --quiet ziglang==0.13.0
	$(PY) -m tools.live --kernel

dist: $(STAMP) ## build two wheels in _build/dist: the package, and the weights of the released models
	$(PY) -m tools.dist

browser: $(STAMP) ## open every page of the built site in Chromium, some in Firefox too; screenshots in _build/screenshots
	$(PY) -m pytest -q -rs -n $(JOBS) tests/browser

clean: ## delete what was built, .venv included; runs/ and data/ stay
	rm -rf $(VENV) _build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
