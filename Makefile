# Both targets do all their own set-up in .venv, may be repeated, and say what they do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test setup clean

demo: $(VENV)/.ready
	@echo "== demo: six algorithms side by side on generated ALFWorld (about twelve minutes on two cores)"
	$(BIN)/agentgym-train compare benchmarks/suites/quick.toml --out runs/quick --workers 2

test: $(VENV)/.ready
	@echo "== test: the test suite (slow tests: $(BIN)/pytest -m slow)"
	$(BIN)/pytest -n auto -q

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "== set-up: a virtual environment in $(VENV), with the packages of constraints.txt"
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f'Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV)
	@echo "== clean: $(VENV) is gone; runs/ holds results and stays"
