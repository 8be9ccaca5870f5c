# Two commands do everything on a fresh clone, with or without Poetry: `make demo` and `make test`.
# poetry.lock is the truth; constraints.txt is its export (`make lock`), and pip installs exactly those versions.
VENV    ?= .venv
EXTRAS  ?= tasks,envs,lm,agents,report
GROUPS_ ?= dev
# The first of these that runs and is 3.11 to 3.13; `make demo PYTHON=/path/to/python` overrides the choice.
# Each is run, not looked up: a shim may be found and still refuse to start.
SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON  ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
             if $$python -c '$(SUITABLE)' >/dev/null 2>&1; then echo $$python; break; fi; done)
PIP      = $(VENV)/bin/python -m pip --disable-pip-version-check
# A further package index to take wheels from, such as PyTorch's index of CPU builds (see README).
TORCH_INDEX ?=
READY    = $(VENV)/.ready

.PHONY: install demo test lint bench lock lock-check clean
install: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Gymformer needs Python 3.11, 3.12 or 3.13, and none of python3.11, python3.12, python3.13, python3" \
	  "and python is one. Install one (Debian: apt-get install python3 python3-venv) or name it: make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: its venv module is" \
	  "missing (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet "pip>=25.1"
	$(PIP) install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --constraint constraints.txt --editable $(if $(EXTRAS),".[$(EXTRAS)]",.) $(GROUPS_:%=--group %)
	@touch $@

demo: $(READY)
	$(VENV)/bin/gymformer demo

test: $(READY)
	$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

bench: $(READY)
	@status=0; for part in classic language preferences algorithms text_environments curriculum agents; do $(VENV)/bin/python benchmarks/$$part.py all || status=1; done; $(VENV)/bin/python benchmarks/overview.py tables; exit $$status

# These two need Poetry with poetry-plugin-export.
EXPORT = poetry export --all-extras --with dev,notebook --without-hashes --format constraints.txt
lock:
	poetry lock
	$(EXPORT) --output constraints.txt

lock-check:
	poetry check --lock
	$(EXPORT) | diff - constraints.txt
	@twice=$$(sed 's/==.*//' constraints.txt | sort | uniq -d); test -z "$$twice" || { echo "locked twice: $$twice"; exit 1; }

clean:
	rm -rf $(VENV)
