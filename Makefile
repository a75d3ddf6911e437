# Everything a developer needs has a short name here; each is one command that also runs alone.

.PHONY: demo fuzz test test-long lint doc deny bench bench-peers clean

# The main job, in under a minute, with nothing else installed.
demo:
	cargo run --release -- demo

# Installs what the tests run against (see tests/install-tools.sh), then passes them all.
test:
	./tests/install-tools.sh
	cargo test --locked --no-fail-fast

# The same with TIMES as many tries of every randomised test. CI runs twice as many as `make test`.
# Then the long matrix of real clusters, one binary for each family of systems.
TIMES ?= 20
LONG = --test raft --test etcd --test rabbitmq --test kafka --test canary --test galera --test mysql_gr --test redis_sentinel --test patroni --test cassandra --test logins
test-long:
	./tests/install-tools.sh --long
	./tests/install-tools-long.sh
	POINTSMAN_TEST_TIMES=$(TIMES) cargo test --release --locked --no-fail-fast
	cargo test --release --locked --no-fail-fast $(LONG) -- --ignored --test-threads 2

# Looks for inputs that break what reads from networks and files, SECONDS of it for each target.
# Needs the nightly toolchain and `cargo install cargo-fuzz`; the tests run the same targets, on seeds
# and changed seeds, with neither.
SECONDS ?= 60
fuzz:
	for target in packet proxy tsig zone_file; do \
	    mkdir -p tests/fuzz/corpus/$$target && \
	    cargo +nightly fuzz run --fuzz-dir tests/fuzz $$target \
	        tests/fuzz/corpus/$$target tests/fuzz/seeds/$$target -- \
	        -max_total_time=$(SECONDS) -max_len=4096 -timeout=20 || exit 1; \
	done

lint:
	cargo fmt --all -- --check
	cargo clippy --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

deny:
	cargo deny --locked check bans licenses sources

# CPU per query beside a bare echo loop, in the same run; then what a table and what checks take.
bench:
	cargo bench --bench udp_load
	cargo bench --bench table
	cargo bench --bench checks

# The same beside gdnsd, Knot, NSD, PowerDNS and BIND, which it installs (about 20 minutes).
bench-peers:
	cargo bench --bench peers -- --install
	cargo bench --bench peers -- zone dynamic --share
	cargo bench --bench peers -- zone dynamic --flood

clean:
	cargo clean
