# Four commands that each work alone on a fresh machine with Python 3.11 or 3.12 and make:
#   make try     install onnxruntime and turn one photo into its sunset with the model that is already there
#   make demo    set up, train a small model on the built-in scenes, export it, turn unseen sunrises into sunsets
#   make test    set up and run the whole suite
#   make docs    set up and build the documentation site
# `make try` installs into .venv-edge, which is small, the others into .venv. Both are reused, and brought up to date when
# pyproject.toml or constraints.txt change.
# On 3.13 they try: the pins are not checked there.

# The photo that `make try` takes, and where its sunset goes.
PHOTO ?= docs/photo.jpg
SUNSET ?= sunset.jpg
# Where the demo writes.
OUT ?= runs/demo
# Its training: scenes are seen uncropped, since where the sun goes depends on where the picture ends. It plans for its
# time; the hard limit is for machines that become slower on the way.
DEMO_TRAIN ?= --data.synthetic-pairs 1024 --data.repeats 1 --data.augment.crop 0 --train.minutes 5 \
	--train.sample-every 2 --train.max-minutes 6
# Index with CPU builds of torch; empty means pip's own default index (on Linux a CUDA build of several GB).
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
# The Python that .venv is made with; empty means: the first that works.
PYTHON ?=
# Processes that run the tests. More than two want several GB of memory each.
PYTEST_WORKERS ?= 2
# More arguments for pytest, such as `make test PYTEST_ARGS='-k edge'`.
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
EDGE := .venv-edge
INSTALL := -m pip install -q --disable-pip-version-check --no-input
PIP := $(BIN)/python $(INSTALL)
INSTALL_LOG := $(VENV)/install.log
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help try demo test docs check lint types imports format install clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

try: $(EDGE)/.installed ## turn a photo into its sunset with the model that is there: make try PHOTO=photo.jpg SUNSET=sunset.jpg
	@$(EDGE)/bin/python -m export.edge "$(PHOTO)" "$(SUNSET)"

demo: $(VENV)/.installed-all ## set up, train on the built-in scenes, export, and make a picture of unseen sunrises turned to sunsets
	@if [ -e "$(OUT)" ] && [ ! -e "$(OUT)/.demo" ]; then \
		echo "error: $(OUT) holds something else than an earlier demo; remove it, or name another folder with OUT=" >&2; \
		exit 2; fi; rm -rf "$(OUT)"; mkdir -p "$(OUT)"; touch "$(OUT)/.demo"
	@echo "demo 1/3: train a small model on the built-in scenes"
	@$(BIN)/python -m jax_impl.train quick --output-dir "$(OUT)" $(DEMO_TRAIN)
	@echo "demo 2/3: export ONNX files, each checked"
	@$(BIN)/python -m export.to_onnx "$(OUT)" --title "Dawn to dusk" --output "$(OUT)/artifact"
	@echo "demo 3/3: turn sunrises it was not trained on into sunsets with that file"
	@$(BIN)/python -m jax_impl.evaluate --artifact "$(OUT)/artifact/onnx/model.onnx" \
		--data.path synthetic --split val --output-dir "$(OUT)/evaluation"
	@echo "sunrise | generated sunset | true sunset | simple baselines: $(OUT)/evaluation/contact_sheet.png"

test: $(VENV)/.installed-dev ## set up and run the whole suite
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

# The variable switches off a notice about another program.
docs: $(VENV)/.installed-docs ## set up and build the documentation site into build/docs; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "documentation: build/docs/index.html"

check: lint types imports ## lint, types and import rules

lint: $(VENV)/.installed-dev ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## pyright
	@$(BIN)/pyright

imports: $(VENV)/.installed-dev ## import-linter: who may import whom
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

install: $(VENV)/.installed-dev ## set up .venv with everything

clean: ## remove .venv, caches and the folder of the demo
	if [ -e "$(OUT)/.demo" ]; then rm -rf "$(OUT)"; fi
	rm -rf $(VENV) $(EDGE) dist build .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A name on PATH is not enough: version managers leave names there that do not run.
# Where Python comes without ensurepip (Debian's without python3-venv), the system's pip fills the new environment.
$(BIN)/pip $(EDGE)/bin/pip:
	@venv="$(@:/bin/pip=)"; python=; \
	for name in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3.13 python3 python); do \
		if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; \
		then python="$$name"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: $(if $(PYTHON),$(PYTHON) is not a working Python 3.11 to 3.13,no Python 3.11 to 3.13 found)" \
			"- install one, or name it: make PYTHON=/path/to/python3" >&2; exit 2; \
	fi; \
	echo "set up: $$venv with $$("$$python" --version)"; \
	if "$$python" -c 'import ensurepip' 2>/dev/null; then "$$python" -m venv $$venv; \
	else "$$python" -m venv --without-pip $$venv && "$$python" -m pip --python $$venv/bin/python install -q pip; fi || \
	{ rm -rf $$venv; echo "error: cannot make $$venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }

# torch alone and without its dependencies: its own index holds only few other packages.
$(VENV)/.installed-torch: constraints.txt | $(BIN)/pip
	@echo "set up: $(TORCH)"
	@if [ -n "$(TORCH_INDEX_URL)" ] && $(PIP) --no-deps --retries 1 --timeout 30 "$(TORCH)" \
		--index-url "$(TORCH_INDEX_URL)" >$(INSTALL_LOG) 2>&1; then :; else \
		if [ -n "$(TORCH_INDEX_URL)" ]; then \
			echo "set up: no $(TORCH) at $(TORCH_INDEX_URL), taking the default index's build"; fi; \
		$(PIP) --no-deps "$(TORCH)" >$(INSTALL_LOG) 2>&1 || { cat $(INSTALL_LOG) >&2; exit 2; }; fi
	@touch $@

$(VENV)/.installed-all: pyproject.toml constraints.txt $(VENV)/.installed-torch
	@echo "set up: the packages that the demo needs"
	@$(PIP) -c constraints.txt -e '.[all]' >$(INSTALL_LOG) 2>&1 || { cat $(INSTALL_LOG) >&2; exit 2; }
	@touch $@

# The wider set holds the narrower one, so that a demo after a test installs nothing.
$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.installed-torch
	@echo "set up: the packages that the tests need"
	@$(PIP) -c constraints.txt -e '.[all,dev]' >$(INSTALL_LOG) 2>&1 || { cat $(INSTALL_LOG) >&2; exit 2; }
	@touch $(VENV)/.installed-all $@

# Needs none of the others: mkdocstrings reads the sources without importing them.
$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "set up: the packages that the documentation needs"
	@$(PIP) -c constraints.txt -e '.[docs]' >$(VENV)/install-docs.log 2>&1 || \
		{ cat $(VENV)/install-docs.log >&2; exit 2; }
	@touch $@

$(EDGE)/.installed: pyproject.toml constraints.txt | $(EDGE)/bin/pip
	@echo "set up: onnxruntime, numpy and Pillow"
	@$(EDGE)/bin/python $(INSTALL) -c constraints.txt -e '.[edge]' >$(EDGE)/install.log 2>&1 || \
		{ cat $(EDGE)/install.log >&2; exit 2; }
	@touch $@
