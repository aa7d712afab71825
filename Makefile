# make run    builds KeyPulse and runs everything in one process, with data in ./data
# make test   runs all tests, with small counts; make soak runs them with full ones
# make help   lists the rest

GO      ?= go
TOOLS   := bin/tools
ENGINE  := deploy/engine/node_modules/.fetched
PAGE    := dashboard/dist/app/index.html
KAFKA   := internal/broker/brokertest/kafka/target/.fetched
TESTED  := ./...

GOFUMPT_VERSION  := v0.12.0
GOLANGCI_VERSION := v2.15.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: run
run: build ## build and run everything in one process; data in ./data
	bin/keypulse up

.PHONY: build
build: engine $(PAGE) ## build bin/keypulse, the dashboard in it
	$(GO) build -trimpath -o bin/keypulse ./cmd/keypulse

.PHONY: engine
engine: need-go $(ENGINE) ## fetch the ClickHouse engine that the lock file pins

# The stamp is made only after fetch.sh has seen the library: npm itself ends well without an optional package.
$(ENGINE): deploy/engine/package-lock.json deploy/engine/fetch.sh
	@sh deploy/engine/fetch.sh
	@touch $@

.PHONY: dashboard
dashboard: $(PAGE) ## build the dashboard with the npm packages that its lock file pins

# --ignore-scripts: nothing of a package runs but the tools that are called here.
$(PAGE): dashboard/node_modules/.fetched $(shell find dashboard/src -type f) $(wildcard dashboard/*.html dashboard/*.ts dashboard/*.mjs dashboard/*.json)
	@cd dashboard && npm run --silent build
	@touch $@

dashboard/node_modules/.fetched: dashboard/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null || { echo "Node.js 20.19 or later, with npm, is missing: the dashboard is built with it. Install it, then run make again." >&2; exit 1; }
	@cd dashboard && npm ci --ignore-scripts --no-audit --no-fund --progress=false --loglevel=error
	@touch $@

.PHONY: need-go
need-go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go 1.26 or later (golang.org/dl), then run make again." >&2; exit 1; }

.PHONY: test
test: engine dashboard test-tools ## run all tests with small counts
	$(GO) test -timeout 9m $(TESTED)

.PHONY: race
race: engine dashboard test-tools ## the same under the race detector, where goroutines meet
	$(GO) test -race -timeout 20m ./bench ./ingest ./internal/... ./notify ./processor ./query ./sink

.PHONY: soak
soak: engine dashboard test-tools ## run the same tests with full counts
	KEYPULSE_SOAK=1 $(GO) test -timeout 12h $(TESTED)

# What Apache Kafka may answer differently from the embedded broker. -p 1: each package has a broker of its own.
.PHONY: test-kafka
test-kafka: engine test-tools $(KAFKA) ## run the tests of the log against Apache Kafka (needs Java 17 and Maven)
	KEYPULSE_TEST_BROKER=kafka $(GO) test -count 1 -p 1 -timeout 9m ./internal/broker ./internal/judged ./internal/quota ./notify ./processor ./sink
	KEYPULSE_TEST_BROKER=kafka $(GO) test -count 1 -timeout 5m -run 'EveryIngestNode|RateLimitOver|TwoWriters|MigrateTwice|ClickHouseAway' ./cmd/keypulse

$(KAFKA): internal/broker/brokertest/kafka/pom.xml
	@command -v java >/dev/null && command -v mvn >/dev/null || { echo "Java 17 or Maven is missing: install them (Debian: apt-get install openjdk-17-jre-headless maven), then run make again." >&2; exit 1; }
	@mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=target/jars -DincludeScope=runtime
	@touch $@

.PHONY: bench
bench: engine ## run the benchmarks of the parts
	$(GO) test -run '^$$' -bench . -benchmem $(TESTED)

# The tests run the README's snippets, in the languages that users have them in, read the log with kcat, and open the dashboard in
# Chromium.
.PHONY: test-tools
test-tools:
	@for tool in curl kcat python3 node chromium; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
		packages=$$(echo $$missing | sed 's/\bnode\b/nodejs/'); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends $$packages; \
		else \
			echo "The tests need$$missing: install them (Debian: apt-get install $$packages), then run make again." >&2; exit 1; \
		fi; \
	fi

.PHONY: lint
lint: need-go $(TOOLS)/golangci-lint ## vet and lint
	$(GO) vet ./...
	$(TOOLS)/golangci-lint run ./...

.PHONY: fmt
fmt: need-go $(TOOLS)/gofumpt ## format
	$(TOOLS)/gofumpt -modpath keypulse -w $$(git ls-files '*.go')

.PHONY: check
check: lint test race ## what must pass before a commit

$(TOOLS)/golangci-lint:
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(TOOLS)/gofumpt:
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)

.PHONY: clean
clean: ## remove what was built; the data stay
	rm -rf bin dashboard/dist/app dashboard/node_modules
