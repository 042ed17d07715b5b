# SPDX-License-Identifier: GPL-3.0-or-later
# Everything that is made lies below .build/; nothing lands in the home folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

build := .build
collections := $(build)/collections/ansible_collections/keyops
run := tests/tools/with-env
side_by_side := molecule-fleet molecule-openbao unit molecule-hsm molecule-data-recovery molecule-default ansible-lint
step = @printf '\n== %s ==\n'

.PHONY: help
help: ## Show the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: runtime
runtime:
	@tests/tools/venv $(build)/venv requirements-run.txt
	@mkdir -p $(collections)
	@ln -sfn ../../../.. $(collections)/lifecycle

.PHONY: setup
setup: runtime ## Make the development environment below .build/
	@tests/tools/venv $(build)/venv requirements-dev.txt

.PHONY: demo
demo: runtime ## Play the whole story on this machine, as an ordinary user
	$(step) "demo: generate, archive, lose, recover"
	@$(run) demo/run

.PHONY: test
test: ## Run all tests (as root: they start a fleet of SSH hosts)
	$(step) "system packages"
	@tests/tools/system-packages
	@$(MAKE) setup
	$(step) "two at a time, since they wait more than they work; each is shown when it has ended"
	@rm -rf $(build)/failed
	@$(MAKE) -j 2 --output-sync=target $(side_by_side) || tests/tools/stage --failed
	@$(MAKE) -j 2 --output-sync=target leak-hunt static || tests/tools/stage --failed
	@$(MAKE) integration

.PHONY: lint
lint: ## Run every static check
	@$(MAKE) static ansible-lint

.PHONY: static
static: setup ## Run the static checks other than ansible-lint
	@$(run) tests/tools/stage static tests/tools/lint --but ansible-lint

.PHONY: ansible-lint
ansible-lint: setup ## Run ansible-lint
	@$(run) tests/tools/stage ansible-lint tests/tools/lint ansible-lint

.PHONY: unit
unit: setup ## Run the unit tests, the host's half also on the oldest libraries
	@tests/tools/venv $(build)/venv-host requirements-host.txt
	$(step) "unit tests"
	@$(run) tests/tools/stage unit pytest -n 2 tests/unit
	$(step) "unit tests of the host's half, cryptography 38"
	@$(run) tests/tools/stage unit-host $(build)/venv-host/bin/python -m pytest -n 2 tests/unit/plugins/module_utils tests/unit/test_vectors.py

.PHONY: molecule-default
molecule-default: setup ## Run the roles on this machine, without root
	$(step) "molecule: default (this machine)"
	@$(run) tests/tools/stage molecule-default molecule test --scenario-name default

.PHONY: molecule-fleet
molecule-fleet: setup ## Run the roles on three SSH hosts (root)
	$(step) "molecule: fleet (three SSH hosts)"
	@$(run) tests/tools/stage molecule-fleet molecule test --scenario-name fleet

.PHONY: molecule-openbao
molecule-openbao: setup ## Run the roles with a vault of three OpenBao servers (root)
	$(step) "molecule: openbao (three SSH hosts, three OpenBao servers)"
	@$(run) tests/tools/stage molecule-openbao molecule test --scenario-name openbao

.PHONY: leak-hunt
leak-hunt: setup ## Search everything that a whole story leaves behind for its secrets (root)
	$(step) "leak hunt: with no other test beside it, since it looks at all that happens on this machine"
	@$(run) tests/tools/stage leak-hunt pytest tests/integration/test_leak_hunt.py

.PHONY: molecule-hsm
molecule-hsm: setup ## Run the roles with keys on SoftHSM2 tokens of two SSH hosts (root)
	$(step) "molecule: hsm (two SSH hosts, SoftHSM2)"
	@$(run) tests/tools/stage molecule-hsm molecule test --scenario-name hsm

.PHONY: molecule-data-recovery
molecule-data-recovery: setup ## Decrypt a departed owner's mail on an SSH host, with 1,000 mails (root)
	$(step) "molecule: data_recovery (two SSH hosts, 1,000 mails under three generations of keys)"
	@$(run) tests/tools/stage molecule-data_recovery molecule test --scenario-name data_recovery

.PHONY: integration
integration: setup ## Run the other integration tests (root)
	$(step) "integration tests: two files at a time, since they wait more than they work"
	@$(run) pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/integration/test_leak_hunt.py tests/integration

.PHONY: bench
bench: setup ## Measure against a loop of one-key modules over the same SSH hosts (root)
	@tests/tools/venv $(build)/venv-bench requirements-bench.txt
	$(step) "benchmark"
	@$(run) tests/benchmark/run

.PHONY: clean
clean: ## Stop the fleet and remove .build/
	@if [ -d $(build)/fleet ]; then tests/fleet/down --all; fi
	@rm -rf --one-file-system $(build)
