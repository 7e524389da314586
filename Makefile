# Everything that klink needs to be built, shown and tested. `make help` lists it.
# Nothing is installed on the machine: tools that Debian has and this machine lacks
# are unpacked below $(KLINK_CACHE).

GO          ?= go
KLINK_CACHE ?= $(CURDIR)/.cache
GOLANGCI_VERSION = v2.15.0
FUZZTIME    ?= 30s
MUTANTS     ?= 1
HAMMER_SECONDS ?= 60
HAMMER_THREADS ?= 2
HAMMER_SEED    ?= 1
SOAK_CYCLES ?= 100000
STACKS_STEPS   ?= 300
STACKS_SEED    ?= 1
ARCH        := $(if $(filter aarch64 arm64,$(shell uname -m)),arm64,amd64)

export KLINK_CACHE
export CGO_ENABLED = 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: bin/klink ## build bin/klink

.PHONY: bin/klink
bin/klink:
	@$(GO) build -trimpath -o bin/klink ./cmd/klink

.PHONY: run
run: bin/klink ## show the main job: load, see the calls move, unload from the middle
	@ARCH=$(ARCH) scripts/tour.sh

.PHONY: test
test: tools ## run every test that needs no special rights
	$(GO) test ./...

.PHONY: test-race
test-race: tools ## the same under the race detector
	CGO_ENABLED=1 $(GO) test -race ./...

.PHONY: test-arm64
test-arm64: ## run the tests on an aarch64 Linux kernel, emulated if need be
	@GO="$(GO)" scripts/vm.sh

.PHONY: tools
tools: ## bring the cross binutils that the tests compare with
	@scripts/tools.sh ld-arm64

.PHONY: check
check: fmt-check vet lint generated test cross ## what CI runs

.PHONY: fmt-check
fmt-check:
	@files=$$(gofmt -l cmd internal); if [ -n "$$files" ]; then echo "gofmt: $$files"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...

.PHONY: lint
lint: $(KLINK_CACHE)/golangci-lint-$(GOLANGCI_VERSION) ## golangci-lint, built once by the Go tool
	@$< run ./...

$(KLINK_CACHE)/golangci-lint-$(GOLANGCI_VERSION):
	@echo "building golangci-lint $(GOLANGCI_VERSION)" >&2
	@mkdir -p $(KLINK_CACHE)/golangci-lint
	@GOBIN=$(KLINK_CACHE)/golangci-lint $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(KLINK_CACHE)/golangci-lint/golangci-lint $@

.PHONY: generated
generated: ## compare generated files and fixtures with their sources
	$(GO) mod tidy -diff
	@scripts/tools.sh compilers
	@scripts/objs.sh --check
	@scripts/runner.sh --check
	@scripts/kpi.sh --check

.PHONY: cross
cross: ## the whole tree, tests too, compiles for aarch64
	GOOS=linux GOARCH=arm64 $(GO) vet ./...

.PHONY: objs
objs: ## rebuild the fixtures in testdata/objs
	@scripts/tools.sh compilers
	@scripts/objs.sh

.PHONY: runner
runner: ## rebuild the program that executes module code
	@scripts/tools.sh compilers
	@scripts/runner.sh

.PHONY: kpi
kpi: ## rebuild klink's own kernel object
	@scripts/tools.sh compilers
	@scripts/kpi.sh

.PHONY: golden
golden: bin/klink ## rewrite the golden texts; look at the diff
	$(GO) test ./cmd/klink ./internal/cli ./internal/reloc -update

.PHONY: corpus
corpus: bin/klink tools ## link the objects of CORPORA (scripts/corpus.sh), both machines, and compare every byte with GNU ld
	@scripts/corpus.sh fetch $(CORPORA)
	@scripts/corpus.sh link $(CORPORA)
	@$(GO) run ./internal/testing/corpus $$(scripts/corpus.sh paths $(CORPORA))

.PHONY: stacks
stacks: tools ## load musl's libc.a member by member at random, both machines, and compare each symbol and site with a model
	@scripts/corpus.sh fetch musl
	@$(GO) run ./internal/testing/stacks -steps $(STACKS_STEPS) -seed $(STACKS_SEED) musl-amd64=$(KLINK_CACHE)/corpus/musl/amd64/libc.a musl-arm64=$(KLINK_CACHE)/corpus/musl/arm64/libc.a

.PHONY: depends
depends: ## load each Linux module with what it depends on, both machines, and compare with its .modinfo
	@scripts/corpus.sh fetch linux-cloud linux-headers
	@$(GO) run ./internal/testing/depends $(foreach m,amd64 arm64,linux-cloud-$(m)=$(KLINK_CACHE)/corpus/linux-cloud/$(m),$(KLINK_CACHE)/corpus/linux-headers/$(m)/Module.symvers)

.PHONY: corpus-rare
corpus-rare: tools ## the same with the rare relocation types: the assemblers' and linkers' own tests, and every field's edges
	@scripts/rare.sh fetch
	@scripts/tools.sh rare
	@eval "$$(scripts/tools.sh env)" && $(GO) run ./internal/testing/rare $(KLINK_CACHE)/corpus/rare && $(GO) run ./internal/testing/probes

.PHONY: hammer
hammer: ## call through every kind of site while modules come and go, HAMMER_SECONDS long
	@$(GO) run ./internal/testing/hammer -seconds $(HAMMER_SECONDS) -threads $(HAMMER_THREADS) -seed $(HAMMER_SEED)

.PHONY: soak
soak: ## load and unload SOAK_CYCLES times under traffic, and look for anything that grows
	@$(GO) run ./internal/testing/hammer -cycles $(SOAK_CYCLES) -threads $(HAMMER_THREADS) -seed $(HAMMER_SEED)

.PHONY: bench
bench: bin/klink ## measure against ld.lld, GNU ld and llvm-jitlink in turns, and the host; see BENCHMARKING.md
	@scripts/tools.sh bench
	@scripts/corpus.sh fetch linux-cloud
	@scripts/bench.sh

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME; a table at the end
	@GO="$(GO)" scripts/fuzz.sh $(FUZZTIME)

.PHONY: mutants
mutants: ## change every field of every fixture, and parse, link, load and unload each file, or one of MUTANTS
	$(GO) test ./internal/elfload ./internal/link ./internal/kernel -run TestFixtureMutants -timeout 4h -v -args -mutants $(MUTANTS)

.PHONY: clean
clean: ## remove what was built; the cache stays
	rm -rf bin
