# `make run` gives you a printer to reach; `make test` proves that it works. CONTRIBUTING.md says more.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# What is checked is what was committed: only at a desk may the lock file follow the manifests.
CARGO_FLAGS := $(if $(CI),--locked)
# nextest runs the test binaries side by side and names the slow ones; doc tests are not its business.
NEXTEST := $(shell command -v cargo-nextest)

.PHONY: help run build test test-rust test-doc test-e2e bench bench-pages agents check lint fmt deny

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Starts a service with a virtual printer, and prints how to reach it
	exec target/debug/spoolway serve --demo

build: ## Builds the two programs
	cargo build $(CARGO_FLAGS) --package server --package agent

test: test-rust test-doc test-e2e ## Runs every test

test-rust: ## Unit, integration and property tests, and the fuzzers' corpora
	.ci/install-packages ffmpeg
ifneq ($(NEXTEST),)
	cargo nextest run $(CARGO_FLAGS) --workspace --no-fail-fast
else
	cargo test $(CARGO_FLAGS) --workspace --no-fail-fast --lib --bins --tests
endif

test-doc: ## The examples in the documentation
	cargo test $(CARGO_FLAGS) --workspace --doc

test-e2e: build ## Real OctoPrint, real Moonraker and a browser, through the real programs
	e2e/run.sh

bench: ## Compares with nginx as a plain proxy, and writes bench/results/latest.json
	.ci/install-packages nginx-light
	cargo build $(CARGO_FLAGS) --release --package server --package agent --package bench
	target/release/bench $(ARGUMENTS)

bench-pages: ## What the site's pages weigh, and how soon they can be used; writes bench/results/pages.json
	cargo build $(CARGO_FLAGS) --release --package server --package agent
	e2e/setup.sh
	SPOOLWAY_BIN_DIR=target/release e2e/.venv/bin/python bench/pages.py $(ARGUMENTS)

agents: ## The agent for PCs and Raspberry Pis, in target/agents; ARGUMENTS=TARGET… for some
	packaging/build-agents.sh $(ARGUMENTS)

check: ## Compiles everything, and no more
	cargo check $(CARGO_FLAGS) --workspace --all-targets

lint: ## Formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- --deny warnings
	$(if $(wildcard fuzz/Cargo.toml),cargo fmt --manifest-path fuzz/Cargo.toml --check)

fmt: ## Formats the code
	cargo fmt --all
	$(if $(wildcard fuzz/Cargo.toml),cargo fmt --manifest-path fuzz/Cargo.toml)

deny: ## Licences, sources and bans of the dependencies
	.ci/cargo-deny --locked check licenses bans sources
