#!/bin/sh
# Fetches what only the long tests (`make test-long`) run against and Debian 12 does not have: programs
# from other releases of Debian, by the mirror that this machine's apt uses, and Vault, which is built with
# Go (some five minutes, and gigabytes of caches of Go's). Nothing is installed; they
# are put into ${XDG_CACHE_HOME:-~/.cache}/pointsman-tests/bin, where the tests look for them.
#
#   POINTSMAN_TEST_INSTALL=no   fetches nothing; tests that lack a program say so and are skipped
set -eu

# release:package:program in it:name that the tests know it by
wanted="bullseye:consul:usr/bin/consul:consul
trixie:nats-server:usr/sbin/nats-server:nats-server-2.10
trixie:etcd-server:usr/bin/etcd:etcd-3.5
sid:nats-server:usr/sbin/nats-server:nats-server-new"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/pointsman-tests
if [ "${POINTSMAN_TEST_INSTALL:-yes}" = no ]; then
    echo "tests: not fetching (POINTSMAN_TEST_INSTALL=no); what is in $cache/bin is used"
    exit 0
fi
if [ ! -x "$cache/bin/vault" ]; then
    if command -v go >/dev/null 2>&1; then
        echo "tests: building Vault; this takes some minutes"
        build=$(mktemp -d)
        cp "$(dirname "$0")/vault/go.mod" "$(dirname "$0")/vault/tools.go" "$build"
        mkdir -p "$cache/bin"
        (cd "$build" && GOFLAGS=-mod=mod go build -tags minimal -ldflags='-s -w' -o "$cache/bin/vault" github.com/hashicorp/vault) ||
            echo "tests: Vault could not be built; the tests that need it will say so"
        rm -rf "$build"
    else
        echo "tests: no Go to build Vault with; the tests that need it will say so"
    fi
fi
if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg >/dev/null 2>&1; then
    echo "tests: this is no Debian; put the programs into $cache/bin yourself, or live with skipped tests"
    exit 0
fi
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
mkdir -p "$cache/bin"
for line in $wanted; do
    release=${line%%:*} line=${line#*:}
    package=${line%%:*} line=${line#*:}
    program=${line%%:*} name=${line#*:}
    if [ -x "$cache/bin/$name" ]; then
        continue
    fi
    echo "tests: fetching $package of Debian's $release"
    # An apt of its own, that knows this release and of nothing that is installed.
    apt=$cache/apt-$release
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/unpacked"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror%/} $release main" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<CONF
Dir::State "$apt";
Dir::State::Lists "$apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/nonexistent";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
CONF
    (
        cd "$apt"
        export APT_CONFIG="$apt/apt.conf"
        apt-get update -qq && apt-get download -qq "$package" && dpkg -x "${package}"_*.deb unpacked
    ) && cp "$apt/unpacked/$program" "$cache/bin/$name" ||
        echo "tests: $package of $release could not be fetched; the tests that need it will say so"
    rm -rf "$apt"
done
