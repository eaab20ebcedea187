# Everything a developer, CI or somebody trying the relay types. Needs npm (any Node.js that can
# run it), make and bash; what else is missing is installed. The project runs on its own Node.js
# 24, which comes as the npm package `node`.

SHELL := /usr/bin/env bash
# No globbing by the shell: node expands TESTS.
.SHELLFLAGS := -euf -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run demo cluster-demo test torture fuzz vectors bench check build built fmt clean pack deb sbom release deps redis test-tools bench-tools

BIN := node_modules/.bin
NODE := $(BIN)/node
# Tools start with `#!/usr/bin/env node`: let them find ours.
OURS := PATH="$(CURDIR)/$(BIN):$$PATH"
# Tests start the program hundreds of times: half of a start is compiling.
COMPILED := NODE_COMPILE_CACHE="$(CURDIR)/node_modules/.cache/compiled"
TESTS ?= test/**/*.test.ts
VECTORS ?= test/fixtures/vectors
# Empty: `fixtures` in VECTORS or beside it, else test/fixtures/certs.
FIXTURES ?=
# Tests wait more than they compute: one file more at a time than there are cores.
JOBS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) + 1 )))
# What a release is made of.
PACKAGES := dist-packages
REPORTER := --test-reporter=./test/support/reporter.ts

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

run: redis built ## start the relay on 127.0.0.1:2525 with an embedded Redis
	@exec $(NODE) dist/main.js start

# Two at once must not take dist from each other: it is built only where it has to be.
demo: redis built ## a tour on loopback: mail to eight domains, and what became of it (KEEP=1: stays up)
	@exec $(NODE) test/demo/main.ts $(if $(filter-out 0,$(KEEP)),--keep)

test: deps redis test-tools check ## install what is missing, check, run all tests (TESTS=, JOBS=)
	@$(OURS) $(COMPILED) $(NODE) --test $(REPORTER) --test-concurrency=$(JOBS) --test-timeout=600000 $(TESTS)

vectors: deps ## run test vectors against the modules (VECTORS=DIR, FIXTURES=DIR)
	@$(OURS) $(NODE) test/support/vectors/run.ts "$(VECTORS)" "$(FIXTURES)"

torture: deps redis ## crash campaign (ROUNDS=200, SEED=, MESSAGES=250, ONLY=names, LONG=1, DISK=small|real, JSON=1)
	@$(OURS) exec $(NODE) test/torture/main.ts

fuzz: deps ## mutated input for every parser (FUZZ_SECONDS=10 each, TARGET=, FUZZ_SEED=, REPLAY=)
	@$(OURS) $(NODE) test/fuzz/main.ts

# A MAIN of yours (src/main.ts, or that of another checkout) spares the build.
bench: redis bench-tools $(if $(MAIN),deps,built) ## compare speed with Postfix and Haraka (SCENARIOS= PEERS= ROUNDS= N= PROFILE=1, see docs/performance.md)
	@exec $(NODE) test/bench/main.ts

# Needs no root and no internet; ends by itself in about a minute.
cluster-demo: redis built ## three relays on one Redis, one killed under load, and the ledger at the end
	@$(OURS) exec $(NODE) test/cluster-demo/main.ts

check: deps ## lint, format, types, architecture, conformance, generated files, documents
	@$(OURS) biome check --diagnostic-level=warn --error-on-warnings
	@$(OURS) tsc -p tsconfig.json
	@$(OURS) tsc -p src/admin/page/tsconfig.json
	@$(OURS) $(NODE) --test --test-reporter=dot test/unit/architecture.test.ts test/unit/conformance.test.ts test/unit/generated-files.test.ts test/unit/docs.test.ts

# A relay that runs from dist keeps its files until the new ones are there.
build: deps ## compile src/ to dist/, the admin page among it
	@rm -rf dist.new
	@$(OURS) tsc -p tsconfig.build.json --outDir dist.new
	@$(OURS) $(NODE) src/admin/page/build.ts dist.new/page
	@touch dist.new/.complete
	@rm -rf dist.old && if [[ -e dist ]]; then mv dist dist.old; fi && mv dist.new dist && rm -rf dist.old

# Unless nothing changed since the last build that came to its end.
built: deps
	@flock Makefile bash -c '[[ -e dist/.complete && -z $$(find src package-lock.json tsconfig*.json -newer dist/.complete -print -quit) ]] || $(MAKE) --no-print-directory build'

fmt: deps ## format and fix what can be fixed
	@$(OURS) biome check --write

pack: built ## make the npm package, below dist-packages/
	@mkdir -p $(PACKAGES)
	@$(OURS) npm pack --loglevel=error --pack-destination $(PACKAGES) | sed 's|^|$(PACKAGES)/|'

deb: built ## make the Debian package, with its own Node.js, below dist-packages/
	@$(OURS) deploy/debian/build.sh $(PACKAGES)

sbom: deps ## list all that runs, as CycloneDX, below dist-packages/
	@mkdir -p $(PACKAGES)
	@$(OURS) deploy/sbom.sh --with-node > $(PACKAGES)/stsrelay-$$($(NODE) -p 'require("./package.json").version').cdx.json

release: ## all of them, with their digests: see docs/release.md
	@rm -rf $(PACKAGES)
	@$(MAKE) --no-print-directory pack deb sbom
	@cd $(PACKAGES) && set +f && sha256sum * > SHA256SUMS && cat SHA256SUMS

clean: ## remove what was built and installed
	rm -rf dist $(PACKAGES) node_modules

deps:
	@deploy/install-node-packages.sh

redis:
	@deploy/install-system-packages.sh redis-server

# Tests that need one of these say so and are skipped by name where it cannot be installed.
test-tools:
	@deploy/install-system-packages.sh --optional swaks libnet-ssleay-perl postfix python3 python3-dkim unbound bind9-utils prometheus jq chromium haproxy

# The bench leaves out, by name, relays that are not there.
bench-tools:
	@deploy/install-system-packages.sh gcc libc6-dev libssl-dev
	@deploy/install-system-packages.sh --optional postfix strace postfix-mta-sts-resolver
