# One command per wish; `make` alone lists them. Needs Python 3.11 and make, nothing else.

PYTHON ?= $(shell command -v python3.11 || echo python3)
EXTRAS ?= ml,ocr,dicom,queue,train,dev
IMAGE ?=
BIN := .venv/bin
STAMP := .venv/.installed-$(EXTRAS)
# Tests write to memory where 4 GB of it are free: on a disk, a database waits for it at every commit.
MEMORY := $(shell df -Pk /dev/shm 2>/dev/null | awk '$$6 == "/dev/shm" && $$4 > 4000000 { print $$6 }')
PYTEST := TMPDIR=$(or $(TMPDIR),$(MEMORY),/tmp) $(BIN)/pytest

.DEFAULT_GOAL := help
.PHONY: help install demo test soak bench check serve

help: ## List these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)$$/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(STAMP) ## Build ./.venv with .venv/bin/ustri

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch "$@"

demo: install ## Show an image become a report in the browser (IMAGE=path for your own)
	$(BIN)/ustri demo $(if $(IMAGE),"$(IMAGE)")

test: install ## Run the tests, but for the long ones
	$(PYTEST) -m "not soak"

soak: install ## Run the long tests, and those of properties on examples that were never tried
	$(PYTEST) -m soak
	$(PYTEST) -m "hypothesis and not soak" --hypothesis-profile=search

bench: install ## Measure this machine into docs/performance.md and docs/deployment.md
	$(BIN)/python -m tests.app.stacked $(BIN)/ustri bench --json docs/performance.json --pages docs \
	  --postgresql DATABASE --redis REDIS

check: install ## Lint, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: install ## Run the service at http://127.0.0.1:8000/
	$(BIN)/ustri serve
