.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test lint dashboard clean

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1:\t\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## search on the example dataset; about five minutes on two cores
	$(BIN)/peltier demo

test: $(VENV)/installed browser ## run the tests
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed ## check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dashboard: $(VENV)/installed ## open the dashboard on 127.0.0.1:8501
	$(BIN)/peltier dashboard

clean: ## remove the virtual environment and caches; studies stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

# Installed anew when what is needed has changed.
$(VENV)/installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV); this takes some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	@touch $@

# The tests click through the dashboard in a real Chromium and run on a real PostgreSQL.
.PHONY: browser
browser:
	@tools=$$(command -v chromium || command -v chromium-browser || command -v google-chrome); \
	servers=$$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null || command -v initdb); \
	if { [ -z "$$tools" ] || [ -z "$$servers" ]; } && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium postgresql >/dev/null; \
	fi
