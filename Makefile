# The commands of Arcetri. Needs Python >= 3.11 and make; everything else lands in .venv.

# The system's own Python where it will do: other accounts can run what is built on it, also when
# the first python3 on the path lies below a closed home. Override with PYTHON=.
CANDIDATES := /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11
FITS := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	"$$p" -c '$(FITS)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

BIN := .venv/bin
SOURCES := hub spawner accounting

.DEFAULT_GOAL := help
.PHONY: help up setup test soak lint docs bench images cluster-build cluster-up cluster-down \
	cluster-run cluster-shell cluster-image cluster-forward .hub .dev .python

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1 /p' $(MAKEFILE_LIST) | while read -r name what; do \
		printf '  make %-15s %s\n' "$$name" "$$what"; done

up: .hub ## Run the platform on this machine until Ctrl-C; options in ARGS="...", see ARGS=--help
	@exec $(BIN)/arcetri up $(ARGS)

setup: .dev ## Make the environment for everything below
	@echo "The environment in .venv is ready: make up, make test, make lint, make docs, make bench."

test: .dev ## Run every tier of tests this machine can; options for pytest in ARGS="..."
	@$(BIN)/python -m tests.support.tiers </dev/null
	@$(BIN)/python -m tests.cluster.prepare --where-possible </dev/null
	@$(BIN)/python -m tests.support.runs $(ARGS) </dev/null

soak: .dev ## Kill accounting for hundreds of rounds (ROUNDS=300), an API server for 3 minutes; crowds
	@ARCETRI_SOAK=$(or $(ROUNDS),300) $(BIN)/python -m pytest tests/accounting \
		-k "kill or die or crash" --timeout=7200 -s $(ARGS) </dev/null
	@ARCETRI_AWAY=180 $(BIN)/python -m pytest tests/cluster/test_sessions_faults.py \
		-k "away" --timeout=1200 -s $(ARGS) </dev/null
	@ARCETRI_CROWD=60 $(BIN)/python -m pytest tests/cluster/test_accounting_crowd.py \
		--timeout=600 -s $(ARGS) </dev/null
	@$(BIN)/python -m benchmarks.bounds </dev/null

lint: .dev ## Check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: .dev ## Build the documentation into docs/_build/html
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html

bench: .dev ## Measure; results in docs/, options in ARGS="..."
	@$(BIN)/python -m benchmarks $(ARGS)

CLUSTER = $(BIN)/python -m tests.cluster.command --state "$(or $(NAME),mine)"

cluster-build: .dev ## Build a real Kubernetes, once (about 15 minutes)
	@$(BIN)/python -m tests.support.tiers </dev/null
	@$(BIN)/python -m tests.cluster.prepare --to-start </dev/null

cluster-up: cluster-build ## Start a real one-node Kubernetes; several with NAME=...
	@$(CLUSTER) up

cluster-down: .dev ## End it; nothing of it is left
	@$(CLUSTER) down

cluster-run: .dev ## Run a command inside it: CMD="kubectl get nodes"
	@$(CLUSTER) run '$(subst ','\'',$(CMD))'

cluster-shell: .dev ## Open a shell inside it, with kubectl, helm and the administrator's rights
	@$(CLUSTER) shell

images: .dev ## Build and try an image: ENV=torch; push it with PUSH=registry.example.org/arcetri
	@$(BIN)/python -m tests.support.tiers </dev/null
	@$(BIN)/python -m tools.images $(ENV) $(if $(PUSH),--push "$(PUSH)") $(if $(TAG),--tag "$(TAG)")

cluster-image: .dev ## Build images and give them to the cluster: IMAGE="hub proxy"
	@$(CLUSTER) image "$(IMAGE)"

cluster-forward: .dev ## Let this machine's browser reach a page inside it: TO=HOST:PORT PORT=8000
	@$(CLUSTER) forward "$(TO)" --port "$(or $(PORT),0)"

.python:
	@test -n "$(PYTHON)" || { echo "Arcetri needs Python 3.11 or newer with its venv module" \
		"(Debian: apt-get install python3-venv); name it with make PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c '$(FITS)' 2>/dev/null || { echo "$(PYTHON) will not do: Arcetri needs Python" \
		"3.11 or newer with its venv module (Debian: apt-get install python3-venv)." >&2; exit 1; }

.hub: .python
	@"$(PYTHON)" tools/setup.py hub

.dev: .python
	@"$(PYTHON)" tools/setup.py dev
