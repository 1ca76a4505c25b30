# Penstock's build. `make` alone says what there is.

GO       ?= go
PYTHON   ?= python3
FUZZTIME ?= 10s
BENCH    ?= .
SOAKITEMS ?= 200000
export GO PYTHON

# TensorFlow's C library lies in lib/, beside bin/, and its headers in .build/.
# The worker finds the library by a path relative to itself, so that bin/ and lib/
# move together; a test binary, which Go runs elsewhere, by LD_LIBRARY_PATH. The
# flags are the same for both, or the binding would be compiled twice.
FETCH   := worker/model/tf/libtensorflow
LIB     := lib/.stamp
INCLUDE := .build/include
export CGO_CFLAGS  := -g -O2 "-I$(CURDIR)/$(INCLUDE)"
export CGO_LDFLAGS := -g -O2 "-L$(CURDIR)/lib" -Wl,-rpath,$$ORIGIN/../lib
WITH_LIB := LD_LIBRARY_PATH="$(CURDIR)/lib$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}"

# Go's own resolver and user lookup in every binary: the worker then behaves like
# the pure Go ones and shares with them all that is compiled on top of package net.
#
# Git may refuse to speak of a checkout that another user owns, as in a container:
# build without the revision then, instead of failing.
TAGS := netgo,osusergo
VCS  := $(shell git rev-parse -q --verify HEAD >/dev/null 2>&1 || echo -buildvcs=false)
export GOFLAGS := $(sort $(filter-out -tags=%,$(shell $(GO) env GOFLAGS 2>/dev/null)) -tags=$(TAGS) $(VCS))

STEP := bash .ci/step

# Modules of their own, so that what they need stays out of the product's.
MODULES  := $(patsubst %/go.mod,%,$(shell find cmd deploy queue storage worker -name go.mod))
EACH_OF_THEM = @for module in $(MODULES); do echo "$(GO) -C $$module $(1) ./..."; $(GO) -C $$module $(1) ./... || exit; done

# The fault rig is a module of its own, for the modules that Toxiproxy needs.
RIG      = $(GO) -C cmd/internal/faults build -o ../../../.build/faults . && .build/faults
RIGFLAGS = $(if $(SEED),-seed $(SEED)) $(if $(ONLY),-only $(ONLY))

##@ Use

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo

# Two jobs and more: TensorFlow's library arrives while Go compiles what does
# without it.
.PHONY: build
build: need ## bin/worker, bin/producer, bin/penstock and bin/local
	@[ -e $(LIB) ] || echo 'The first build fetches TensorFlow (274 MB) and takes a few minutes.'
	@+$(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j3) bin/penstock bin/producer bin/local bin/worker

.PHONY: demo
demo: build ## a guided tour on this machine: no AWS, no Docker
	@bin/penstock demo

.PHONY: up
up: build ## S3, SQS and a worker on this machine, until Ctrl-C
	@bin/penstock local

.PHONY: deploy
deploy: need-go ## the stack on AWS: STACK=penstock IMAGE=… PARAMETERS="Name=value …"
	@bash deploy/deploy.sh

##@ Check

.PHONY: test
test: build models ## all tests of all modules
	$(WITH_LIB) $(GO) test ./...
	$(call EACH_OF_THEM,test)

# Short: the tests that cut every call in every way cut each in one way only. All
# that they can run at the same time runs in that as well.
.PHONY: race
race: build models ## all tests under the race detector
	$(WITH_LIB) $(GO) test -race -short -timeout 20m ./...
	$(call EACH_OF_THEM,test -race -short -timeout 20m)

.PHONY: test-servers
test-servers: build ## the suites on ElasticMQ and ministack, and boto3; needs Java and Maven
	@TAGS=$(TAGS) exec bash .ci/test-servers

.PHONY: verify
verify: build models ## answers against TensorFlow for Python; needs Node.js, takes minutes
	@$(WITH_LIB) exec bash .ci/verify

.PHONY: faults faults-short
faults: build ## the fault rig; SEED=N repeats a run, ONLY=a,b picks scenarios
	@$(RIG) $(RIGFLAGS)
faults-short: build ## its short form, of a few minutes
	@$(RIG) -short $(RIGFLAGS)

.PHONY: proof-batch proof-batch-short
proof-batch: build ## batch jobs at scale, with workers killed: ten minutes
	@$(RIG) -jobs $(RIGFLAGS)
proof-batch-short: build ## its short form, of two minutes
	@$(RIG) -jobs -short $(RIGFLAGS)

.PHONY: lint
lint: need $(LIB) ## gofumpt, go vet, staticcheck, go fix; syntax of Python and shell
	@bash .ci/lint

.PHONY: lint-deploy
lint-deploy: build ## what is in deploy/: images, compose, template, rights; no AWS, no Docker
	@bash .ci/lint-deploy

.PHONY: image
image: build ## builds the container images without Docker and sees them work; needs root
	@bash deploy/image/check.sh

.PHONY: fuzz
fuzz: need $(LIB) ## every fuzz target for FUZZTIME (10s) each
	@$(WITH_LIB) bash .ci/fuzz $(FUZZTIME)

.PHONY: cover
cover: build models ## which statements the tests reach: .build/cover.html
	@$(WITH_LIB) $(GO) test -coverpkg=./... -coverprofile=.build/cover.out ./...
	@$(GO) tool cover -html=.build/cover.out -o .build/cover.html
	@$(GO) tool cover -func=.build/cover.out | tail -n 1

.PHONY: bench
bench: need $(LIB) ## the benchmarks that match BENCH (all)
	@$(WITH_LIB) $(GO) test -run='^$$' -bench='$(BENCH)' -benchmem ./...

# Its figures mean something on a machine that does nothing else.
.PHONY: bench-door
bench-door: build ## the front door: acknowledgement at 100 requests/s, upload and call to result
	@$(GO) test -run='^$$' -bench=Acknowledge -benchtime=3000x ./cmd/penstock/endtoend
	@$(GO) test -run='^$$' -bench='UploadToResult|PreferWait' -benchtime=1000x ./cmd/penstock/endtoend

.PHONY: soak
soak: need $(LIB) ## 200,000 requests through one worker: its memory must not grow
	@$(WITH_LIB) $(GO) run ./cmd/worker/soak -items $(SOAKITEMS)

##@ Deploy

.PHONY: producer-zip
producer-zip: need-go ## the Lambda function: bin/producer-arm64.zip and -amd64.zip
	@for arch in arm64 amd64; do \
	  GOOS=linux GOARCH=$$arch CGO_ENABLED=0 $(STEP) "bin/producer-$$arch.zip" bash -eu -c ' \
	    $(GO) build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -tags=$(TAGS),lambda.norpc -o "$$2" ./cmd/producer; \
	    unset GOOS GOARCH; mkdir -p bin; $(GO) run ./cmd/producer/pack -o "$$1" "$$2"' \
	    _ bin/producer-$$arch.zip .build/producer/$$arch/bootstrap || exit; \
	done
	@ls -l bin/producer-*.zip | awk '{ printf "  %-24s %.1f MB\n", $$9, $$5 / 1e6 }'

##@ Other

.PHONY: env
env: ## settings to run go by hand: eval "$(make env)"
	@printf "export %s='%s'\n" CGO_CFLAGS "$$CGO_CFLAGS" CGO_LDFLAGS "$$CGO_LDFLAGS" \
	  GOFLAGS "$$GOFLAGS" LD_LIBRARY_PATH '$(CURDIR)/lib'

.PHONY: clean
clean: ## remove what was built; keep TensorFlow's library
	rm -rf bin .build/cover.*

.PHONY: distclean
distclean: clean ## remove TensorFlow's library as well
	rm -rf lib .build

# Below: what the targets above are made of. Go knows best what is out of date, so
# it is asked every time.

.PHONY: need need-go
need:
	@bash .ci/need go cc python
need-go:
	@bash .ci/need go

# Models of other people's, 3 MB, that tests compare with Python's answers.
.PHONY: models
models: need
	@$(PYTHON) worker/model/golden/fetch.py --to .build/models

.PHONY: bin/penstock bin/producer bin/local bin/worker
bin/penstock: | need-go
	@CGO_ENABLED=0 $(STEP) $@ $(GO) build -o $@ ./cmd/penstock

# The rest waits for bin/penstock: at the same time they would compile the same
# packages once more.
bin/producer: | need-go bin/penstock
	@CGO_ENABLED=0 $(STEP) $@ $(GO) build -tags=$(TAGS),lambda.norpc -o $@ ./cmd/producer

bin/local: | need-go bin/penstock
	@CGO_ENABLED=0 $(STEP) $@ $(GO) -C cmd/local build -o ../../$@ .

bin/worker: | need bin/penstock $(LIB)
	@CGO_ENABLED=1 $(STEP) $@ $(GO) build -o $@ ./cmd/worker

$(LIB): $(FETCH)/fetch.py $(FETCH)/requirements.txt | need
	@$(PYTHON) $(FETCH)/fetch.py --lib lib --include $(INCLUDE)

# Were a file removed by hand, the stamp would still be there.
PARTS := lib/libtensorflow_cc.so.2 lib/libtensorflow_framework.so.2 lib/libtensorflow.so $(INCLUDE)/tensorflow/c/c_api.h
ifneq ($(words $(wildcard $(PARTS))),$(words $(PARTS)))
.PHONY: $(LIB)
endif
