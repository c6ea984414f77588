# Two commands do everything: `make run` (the quick start) and `make test` (what CI runs).

CARGO ?= cargo
APT_PACKAGES = nginx-light prometheus curl wrk strace faketime
# Programs that tests use, each from one of the packages above.
TEST_PROGRAMS = nginx promtool curl wrk strace faketime

.PHONY: run test fmt lint unit docs deps admin-fuzz-test console-test console-screenshots console-tools fuzz-admin bench-smoke bench-peers bench-index bench-path bench-counts bench-store bench-keys bench-meter bench-usage bench-sealing soak release-guided clean

run:
	$(CARGO) run --release --locked -- quickstart

test: deps fmt lint unit docs admin-fuzz-test console-test bench-smoke

fmt:
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --locked --all-targets -- -D warnings

# The integration tests start the program itself.
unit:
	$(CARGO) test --locked --lib --bins --tests

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

# Installs what tests need, if it is missing and this is a Debian with the right to install.
deps:
	@missing=""; \
	for program in $(TEST_PROGRAMS); do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v $$program >/dev/null 2>&1 || missing="$$missing $$program"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	echo "installing packages for:$$missing"; \
	if [ "$$(id -u)" = 0 ]; then sudo=""; else sudo="sudo -n"; fi; \
	$$sudo apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(APT_PACKAGES) >/dev/null

# keygate beside floor and nginx, in half a minute: that it runs and prints, no timed assertion.
bench-smoke: deps
	$(CARGO) build --release --locked
	benches/peers/run --quick

# keygate, plain and built by a profile, beside nginx, HAProxy, Envoy and pingora; installs and builds them, and takes some 30
# minutes once they are built.
bench-peers:
	benches/peers/run

# A release build laid out by a profile of the load of bench-peers: target/pgo/keygate, in a quarter of an hour. What to deploy.
release-guided:
	benches/profile_guided.sh

bench-index:
	$(CARGO) bench --locked --bench index

# What the steps of a request cost in time, without sockets.
bench-path:
	$(CARGO) bench --locked --bench path -- --skip 10000000

# Instructions, system calls and misses of caches per request.
bench-counts:
	@$(MAKE) deps TEST_PROGRAMS="valgrind strace" APT_PACKAGES="valgrind strace"
	$(CARGO) build --release --locked
	benches/counts.py

# Commits one by one, from many threads and in batches; opening and loading a million keys.
bench-store:
	$(CARGO) bench --locked --bench store

# Counting in the ledger, without sockets.
bench-meter:
	$(CARGO) bench --locked --bench meter

# Sealing a million keys of one minute, and asking about a month of 10,000.
bench-usage:
	$(CARGO) bench --locked --bench usage

# What requests feel while the usage of a million keys is sealed each minute.
bench-sealing:
	$(CARGO) build --release --locked
	benches/sealing.py

# The admin API with fsync: keys one by one, in batches of 1,000, and a start with a million of them.
bench-keys:
	$(CARGO) build --release --locked
	benches/keys.py

# 30 s of load through nginx on loopback, then failed requests and growth of memory.
soak: deps
	$(CARGO) build --release --locked
	benches/soak.sh

# The admin API of a gateway that is started for it, against its own description, in a minute.
admin-fuzz-test: deps
	@python3 -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) deps TEST_PROGRAMS=python3-venv APT_PACKAGES=python3-venv
	$(CARGO) build --locked
	tests/schemathesis/check "$${CARGO_TARGET_DIR:-target}/debug/keygate"

# The console in a real browser, against a gateway that is started for it.
console-test: console-tools
	$(CARGO) build --locked
	cd tests/console && node --test --test-concurrency=1 --test-timeout=900000 --test-reporter=spec *.test.mjs

# Pictures of the console, into docs/images.
console-screenshots: console-tools
	$(CARGO) build --locked
	cd tests/console && node screenshots.mjs

# The browser, and what drives it.
console-tools:
	@$(MAKE) deps TEST_PROGRAMS=chromium APT_PACKAGES="chromium fonts-dejavu-core"
	@$(MAKE) deps TEST_PROGRAMS="node npm" APT_PACKAGES="nodejs npm"
	@$(MAKE) deps TEST_PROGRAMS=curl APT_PACKAGES=curl
	cd tests/console && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

# A running admin API against its own description: make fuzz-admin URL=http://127.0.0.1:9180 TOKEN_FILE=data/admin.token
fuzz-admin:
	tests/schemathesis/run $(URL) $(TOKEN_FILE)

clean:
	$(CARGO) clean
