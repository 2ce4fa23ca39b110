# The entry points. Each installs missing packages if it can (as root, or by sudo without a password); otherwise it says what to install.
#
#   ATOMIC_SERVERS  servers to test on, each "path" or "name=path"; default: redis-server and valkey-server in PATH and servers/*/bin/server
#   FILTER          run only the tests whose names contain it
#   PORT            port of `make run`; default: a free port
#   BENCH           options of the benchmark
#   ATOMIC_PEER     the module of redis-cell, for the rows of `make bench` that compare with it
#   COUNT           options of the count
#   BUSY            busy loops of `make test-load`
#   CASES           cases of `make cleanroom`: bare, llvm, short
#   ASAN_OPTIONS    more AddressSanitizer options for `make sanitize`, "name=value:name=value"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# cargo may be missing from PATH in a shell that is not a login shell.
export PATH := $(PATH):$(HOME)/.cargo/bin
export RUST_BACKTRACE ?= 0
BUSY ?= 16
# Tests spend most of their time waiting for a server.
export RUST_TEST_THREADS ?= 4

# The unit tests use the system allocator: the server's allocator aborts outside a server.
SYSTEM_ALLOC := --no-default-features
MODULE := target/module/libredis_atomic.so
RELEASE := target/release/libredis_atomic.so
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
SANITIZE := $(CURDIR)/target/sanitize
SANITIZED = $(SANITIZE)/$(HOST)/debug/libredis_atomic.so
SOURCES := $(shell find src lua -type f 2>/dev/null) Cargo.toml Cargo.lock build.rs

# The shim is loaded before the runtime, which would report a wrong link order. The runtime needs the C++ library when it starts.
# Leak detection is off: a signal ends the servers. A refused allocation returns a null pointer, as the servers expect.
ASAN := verify_asan_link_order=0:detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1:quarantine_size_mb=64
ASAN := $(ASAN):handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_abort=2

.PHONY: help run build check test test-load sanitize cleanroom long bench count fmt clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 18

run: ## Build, start a server with the module and print commands to try (PORT=n, or a free port)
	@scripts/install.sh build server
	@cargo build --release --lib
	@exec scripts/run.sh $(RELEASE) $(PORT)

build: ## Build the release module and print its path
	@scripts/install.sh build
	@cargo build --release --lib
	@echo "$(CURDIR)/$(RELEASE)"

check: ## Check formatting, lints and the architecture rules
	@scripts/install.sh build lint
	cargo fmt --check
	cargo clippy --all-targets $(SYSTEM_ALLOC) --features fault-injection -- -D warnings
	cargo test $(SYSTEM_ALLOC) --quiet --test it -- tidy::

# Prepares what the integration tests need besides the module.
define ready
	@scripts/install.sh server apps
	@[ -n "$${ATOMIC_SERVERS:-}" ] || scripts/servers.sh || echo "testing on the installed servers only" >&2
	@scripts/apps.sh
endef

test: check $(MODULE) ## Run the checks, then unit, doc and integration tests on every server (FILTER=name, ATOMIC_SERVERS=paths)
	$(ready)
	ATOMIC_MODULE="$(CURDIR)/$(MODULE)" cargo test $(SYSTEM_ALLOC) --no-fail-fast $(FILTER)

test-load: $(MODULE) ## Run the tests on two cores beside busy loops, about an hour (BUSY=loops, FILTER=name, ATOMIC_SERVERS=paths)
	$(ready)
	cargo test $(SYSTEM_ALLOC) --no-run
	ATOMIC_MODULE="$(CURDIR)/$(MODULE)" scripts/under-load.sh $(BUSY) cargo test $(SYSTEM_ALLOC) --no-fail-fast $(FILTER)

# The module and its C++ are instrumented; the servers are not, but load gcc's runtime. Any report ends the server at once, even that of
# a crash: the server's own crash report would read all memory, the sanitizer's included.
sanitize: ## Run the integration tests with the module under AddressSanitizer (FILTER=name, ATOMIC_SERVERS=paths)
	@scripts/install.sh build sanitize
	$(ready)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address nice cargo build --lib $(SYSTEM_ALLOC) --features fault-injection \
	  --target $(HOST) --target-dir $(SANITIZE)
	@gcc -shared -fPIC -O1 -Wall -Wextra -Wl,-soname,libjemalloc.so.2 -o $(SANITIZE)/shim.so scripts/sanitize/shim.c
	ATOMIC_MODULE=$(SANITIZED) \
	ATOMIC_PRELOAD=$(SANITIZE)/shim.so:$$(realpath "$$(gcc -print-file-name=libasan.so)"):libstdc++.so.6 \
	ASAN_OPTIONS=$(ASAN):$${ASAN_OPTIONS:-} nice cargo test $(SYSTEM_ALLOC) --no-fail-fast --test it $(FILTER)

cleanroom: ## Run the README's two commands on a fresh minimal Debian, as root, about an hour (CASES="bare llvm short")
	@scripts/install.sh cleanroom
	@scripts/cleanroom.sh $(CASES)

# What takes too long for .ci/run, the shortest part first.
long: ## Run the long checks, about three hours: count, sanitize, test-load, cleanroom
	$(MAKE) count
	$(MAKE) sanitize
	$(MAKE) test-load
	$(MAKE) cleanroom

# The release build, made again: a build for tests may have put another one in its place.
define release
	@rm -f $(RELEASE) target/release/deps/libredis_atomic.so
	cargo build --release --lib
endef

bench: ## Measure on a real server and write docs/benchmarks.json, .md and .svg (BENCH="--server PATH --rounds N --only NAME --update")
	@scripts/install.sh build server apps
	@scripts/apps.sh
	$(release)
	ATOMIC_MODULE="$(CURDIR)/$(RELEASE)" cargo bench --bench server -- $(BENCH)

count: ## Count instructions and cache misses and compare with docs/count.json (COUNT="--server PATH --only NAME" or "--write")
	@scripts/install.sh build server count
	@scripts/servers.sh >&2
	$(release)
	ATOMIC_MODULE="$(CURDIR)/$(RELEASE)" cargo bench --bench server -- count $(COUNT)

fmt: ## Format the sources
	cargo fmt

clean: ## Remove all build output; keep the servers in servers/
	cargo clean

# The module under test. `cargo test` builds the same file in target/debug with another allocator, and cargo would consider that one up
# to date. So the old file is removed first. The result is copied elsewhere, and moved into place in one step because servers map it.
$(MODULE): $(SOURCES)
	@scripts/install.sh build
	@rm -f target/debug/libredis_atomic.so target/debug/deps/libredis_atomic.so
	cargo build --lib --features fault-injection
	@mkdir -p $(@D)
	@cp target/debug/libredis_atomic.so $@.new
	@mv $@.new $@
