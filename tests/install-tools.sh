#!/bin/sh
# Installs what the tests run against, from Debian 12's own packages. Says what it installs,
# asks for root if it must, and starts none of the services that come with the packages.
#
#   --long                      also what only the long tests need (`make test-long`)
#   POINTSMAN_TEST_INSTALL=no   installs nothing; tests that lack a tool say so and are skipped
set -eu

# package:program, or file, that shows it is there
wanted="etcd-server:etcd
etcd-client:etcdctl
rabbitmq-server:/usr/lib/rabbitmq/bin/rabbitmq-server
postgresql-15:/usr/lib/postgresql/15/bin/postgres
mariadb-server:mariadbd
galera-arbitrator-4:garbd
rsync:rsync
patroni:patroni
redis-server:redis-server
redis-sentinel:redis-sentinel
zookeeper:/usr/share/zookeeper/bin/zkServer.sh
default-jre-headless:java
nats-server:nats-server
unbound:unbound
bind9-dnsutils:dig
bind9-utils:dnssec-dsfromkey
ldnsutils:ldns-key2ds
openssl:openssl
knot-dnsutils:kdig
curl:curl
haproxy:haproxy
nginx-light:nginx
python3-pymongo:/usr/lib/python3/dist-packages/pymongo/__init__.py
python3-grpcio:/usr/lib/python3/dist-packages/grpc/__init__.py
util-linux:setpriv
procps:sysctl
knot:knotd
nsd:nsd
bind9:named
zonemaster-cli:zonemaster-cli
dnsviz:dnsviz
prometheus:promtool
prometheus-alertmanager:prometheus-alertmanager
iproute2:ip
iptables:iptables
systemd:systemd-analyze
ca-certificates:update-ca-certificates"
if [ "${1:-}" = --long ]; then
    # Cassandra, Elasticsearch, Kafka and OpenSearch come from Maven Central.
    wanted="$wanted
maven:mvn
default-jdk-headless:javac"
fi

missing=""
for line in $wanted; do
    package=${line%%:*} program=${line#*:}
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null 2>&1 || [ -e "$program" ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "tests: every tool is there"
    exit 0
fi
if [ "${POINTSMAN_TEST_INSTALL:-yes}" = no ]; then
    echo "tests: not installing (POINTSMAN_TEST_INSTALL=no); missing:$missing"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "tests: no apt-get here; install these yourself, or live with skipped tests:$missing"
    exit 0
fi
echo "tests: installing$missing"
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
# policy-rc.d is how Debian lets one say "do not start services" (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod 755 $policy
    trap '$sudo rm -f $policy' EXIT INT TERM
fi
# The packages may be older than the lists that this machine has.
$sudo apt-get update -qq || echo "tests: apt-get update failed; trying with the lists there are"
# shellcheck disable=SC2086 # a list of packages
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
