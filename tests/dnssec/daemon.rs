//! The daemon as an operator runs it: it signs when it starts, when a region flips and in good
//! time before signatures end, and a validating resolver never notices.

use std::net::TcpListener;
use std::time::Duration;

use pointsman::wire::RecordType;

use crate::common::daemon::Daemon;
use crate::common::unbound::Unbound;
use crate::common::until;
use crate::resolvers::{addresses, is_secure, resolve};

const EU: &str = "192.0.2.10";
const US: &str = "198.51.100.10";

#[test]
fn a_daemon_signs_and_signs_anew() {
    if !Unbound::is_installed() {
        return;
    }
    let [eu, us] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let mut daemon = Daemon::prepare("signed");
    let [eu, us] = [&eu, &us].map(|region| region.local_addr().unwrap());
    daemon.write(
        "pointsman.yaml",
        &format!(
            "version: 1
mode: act
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
zones:
  - name: gtm.example.com
    file: gtm.example.com.zone
    dnssec: {{signature: {{validity: 12s, refresh: 8s}}, dnskey_ttl: 2s, max_ttl: 300s}}
defaults: {{check: {{interval: 200ms, timeout: 150ms, fall: 2, rise: 2}}}}
regions:
  eu-west: {{layers: {{reach: [{{tcp: {{address: \"{eu}\"}}}}]}}}}
  us-east: {{layers: {{reach: [{{tcp: {{address: \"{us}\"}}}}]}}}}
services:
  storefront:
    names: [storefront.gtm.example.com, gtm.example.com]
    policy: {{failover: [eu-west, us-east]}}
    answers: {{eu-west: {{a: [{EU}]}}, us-east: {{a: [{US}]}}}}
    ttl: {{min: 1s, max: 2s}}
    failback: {{auto: {{after: 500ms}}}}
store: {{embedded: {{path: state}}}}
"
        ),
    );
    daemon.start();
    until("both regions to be healthy", Duration::from_secs(30), || {
        ["eu-west", "us-east"].iter().all(|region| daemon.health(region) == "healthy")
    });
    // A parent hears of a key only when caches know it; what the daemon shows does for a start.
    let keys = resolve(daemon.dns(), "gtm.example.com", RecordType::DNSKEY);
    let keys = keys.sections[0].iter().filter(|record| record.rtype == RecordType::DNSKEY);
    let anchors: Vec<_> = keys.map(|key| key.to_string().replace('\t', " ")).collect();
    assert_eq!(anchors.len(), 1);
    let unbound = Unbound::validating("gtm.example.com", daemon.dns(), &anchors).unwrap();
    let secure = |text: &str, rtype: RecordType| {
        let message = resolve(unbound.address, text, rtype);
        assert!(is_secure(&message), "{text} {rtype}:\n{message}\n{}", daemon.log());
        addresses(&message)
    };
    let everything = |region: &str| {
        assert_eq!(secure("storefront.gtm.example.com", RecordType::A), [region]);
        assert_eq!(secure("gtm.example.com", RecordType::A), [region]);
        for (text, rtype) in [
            ("gtm.example.com", RecordType::SOA),
            ("ns1.gtm.example.com", RecordType::AAAA),
            ("storefront.gtm.example.com", RecordType::AAAA),
            ("nothing.gtm.example.com", RecordType::A),
        ] {
            secure(text, rtype);
        }
    };
    let expire = || std::thread::sleep(Duration::from_millis(2300));
    everything(EU);
    let drained = daemon.cli(&["region", "drain", "eu-west", "--reason", "a drill", "--expires", "1h"]);
    assert!(drained.succeeded(), "{drained}");
    until("the flip", Duration::from_secs(20), || daemon.addresses("storefront.gtm.example.com") == [US]);
    expire();
    everything(US);
    let released = daemon.cli(&["region", "release", "eu-west", "--reason", "the drill is over"]);
    assert!(released.succeeded(), "{released}");
    until("the failback", Duration::from_secs(20), || daemon.addresses("storefront.gtm.example.com") == [EU]);
    expire();
    everything(EU);
    // Longer than a signature holds.
    let made = || daemon.log().matches("dnssec.signed").count();
    until("signatures to be made for the fifth time", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(500));
        everything(EU);
        made() >= 5
    });
    assert!(daemon.metric("pointsman_dnssec_signatures").unwrap() > 10.0);
    // A reload signs before it takes over.
    let before = made();
    daemon.hang_up();
    until("the reload", Duration::from_secs(20), || {
        daemon.log().contains("daemon.reloading") && made() > before
    });
    everything(EU);
    daemon.stop();
}

#[test]
fn a_zone_that_is_signed_already_is_not_signed_again() {
    let daemon = Daemon::prepare("signed-twice");
    daemon.write(
        "gtm.example.com.zone",
        "$TTL 300\n@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.53\n@ DNSKEY 256 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=\n",
    );
    let config = |dnssec: &str| {
        format!(
            "version: 1
mode: answer
site: {{name: fra1}}
listen: {{dns: [\"127.0.0.1:0\"], control: control.sock}}
zones: [{{name: gtm.example.com, file: gtm.example.com.zone{dnssec}}}]
store: {{embedded: {{path: state}}}}
"
        )
    };
    daemon.write("pointsman.yaml", &config(", dnssec: {}"));
    let said = daemon.cli(&["check"]);
    assert!(
        !said.succeeded()
            && said.to_string().contains("a record of type DNSKEY in a zone that is signed here"),
        "{said}"
    );
    daemon.write("pointsman.yaml", &config(""));
    let said = daemon.cli(&["check"]);
    assert!(!said.to_string().contains("signed here"), "{said}");
}
