# The commands of this project. CI runs .ci/run, which has the same checks.

# How long `make fuzz` runs each fuzz target.
FUZZTIME ?= 30s

.PHONY: all build test race lint vuln fuzz test-long test-victorialogs test-loki bench bench-vlagent ci clean

all: build test lint

build: ## a static binary, bin/log_capturer
	CGO_ENABLED=0 go build -trimpath -o bin/log_capturer ./cmd/log_capturer

test: ## every test; needs a Docker Engine
	go test ./...

race: ## every test under the race detector
	bash .ci/run race

lint: ## the linter, in the version that CI uses
	bash .ci/run lint

vuln: ## known vulnerabilities in what we depend on
	bash .ci/run vuln

fuzz: ## each fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) bash .ci/run fuzz

test-long: ## what may take longer than go test's ten minutes a package
	FUZZTIME=5m bash .ci/run race fuzz

bench: ## what the agent costs (docs/performance.md); half an hour, and nothing else may run
	go run ./tests/load/bench -keep catchup-file catchup-api steady idle api-rotation scale

bench-vlagent: ## the same files through vlagent, which is built for it
	cd tests/load/vlagent && go build -o ../../../bin/vlagent github.com/VictoriaMetrics/VictoriaLogs/app/vlagent
	PATH="$(CURDIR)/bin:$$PATH" go run ./tests/load/bench -keep compare steady

test-victorialogs: ## the sinks against a real VictoriaLogs
	bash .ci/run victorialogs

test-loki: ## the Loki sink against Loki itself, which takes minutes to build
	bash .ci/run loki

ci: ## all that CI does
	bash .ci/run

clean:
	rm -rf bin log_capturer-data
