//! How zones are signed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Binder;
use crate::base::show_span;
use crate::config::model::{Dnssec, Store, ZoneFile};
use crate::config::read::Placed;
use crate::config::spec::{self, Span};
use crate::sign::{KeyPolicy, Layout, Lifetimes, SignatureTimes, Timing};
use crate::wire::Name;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// TTLs and waits that a person can outlive.
const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// A signature that holds for longer than this is a key that cannot be revoked for as long.
const VALIDITY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// A zone-signing key is replaced this often where nothing else is said.
const ZSK_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// The parent is asked this often where nothing else is said.
const ASK_EVERY: Duration = Duration::from_secs(3600);

impl Binder<'_> {
    pub(super) fn dnssec(
        &mut self,
        zone: &Placed<Name>,
        dnssec: Placed<spec::Dnssec>,
        store: &Store,
    ) -> Dnssec {
        let Placed { value: spec, place } = dnssec;
        let timing = self.timing(&spec);
        let policy = KeyPolicy {
            algorithm: spec.algorithm,
            layout: spec.keys,
            lifetimes: self.lifetimes(&spec, &timing),
            signatures: self.signature_times(&spec.signature),
            timing,
        };
        let directory = match &spec.directory {
            Some(directory) => self.path(directory),
            None => store.key_directory(&zone.value),
        };
        let servers = spec.parent.servers.as_ref();
        let parent = servers.map(|servers| servers.iter().filter_map(|text| self.server(text)).collect());
        let seconds = Duration::from_secs(1);
        let ask_every = self.span(&spec.parent.every, ASK_EVERY, seconds..=DAY);
        Dnssec { policy, directory, parent, ask_every, place }
    }

    /// An address of a name server; port 53 where none is said.
    fn server(&mut self, text: &Placed<String>) -> Option<std::net::SocketAddr> {
        match text.value.parse::<std::net::IpAddr>() {
            Ok(address) => Some((address, 53).into()),
            Err(_) => self.socket_address(text),
        }
    }

    fn timing(&mut self, spec: &spec::Dnssec) -> Timing {
        let standard = Timing::default();
        let second = Duration::from_secs(1);
        let mut ttl = |span: &Option<Placed<Span>>, standard| self.span(span, standard, second..=WAIT_MAX);
        let dnskey_ttl = ttl(&spec.dnskey_ttl, standard.dnskey_ttl);
        let max_ttl = ttl(&spec.max_ttl, standard.max_ttl);
        let ds_ttl = ttl(&spec.parent.ds_ttl, standard.ds_ttl);
        let mut wait =
            |span: &Option<Placed<Span>>, standard| self.span(span, standard, Duration::ZERO..=WAIT_MAX);
        Timing {
            dnskey_ttl,
            max_ttl,
            ds_ttl,
            propagation: wait(&spec.propagation, standard.propagation),
            parent_propagation: wait(&spec.parent.propagation, standard.parent_propagation),
            safety: wait(&spec.safety, standard.safety),
        }
    }

    fn lifetimes(&mut self, spec: &spec::Dnssec, timing: &Timing) -> Lifetimes {
        let given = [&spec.lifetime.ksk, &spec.lifetime.zsk].map(Option::as_ref);
        // A successor must have come, and the one before it gone, within one life.
        let least = timing.keys_known() + timing.data_known().max(timing.ds_known());
        for span in given.into_iter().flatten() {
            if span.value.0 < least {
                let (short, least) = (show_span(span.value.0), show_span(least));
                self.mistakes
                    .error(&span.place, format!("{short} is shorter than one rollover takes: {least}"))
                    .help("let keys live longer, or shorten TTLs, `propagation` and `safety`");
            }
        }
        let [ksk, zsk] = given.map(|span| span.map(|span| span.value.0));
        match (spec.keys, &spec.lifetime.zsk) {
            (Layout::KskZsk, _) => Lifetimes { csk: None, ksk, zsk: Some(zsk.unwrap_or(ZSK_LIFETIME)) },
            (Layout::Csk, None) => Lifetimes { csk: ksk, ksk: None, zsk: None },
            (Layout::Csk, Some(zsk)) => {
                self.mistakes
                    .error(&zsk.place, "with `keys: csk` there is no zsk: one key does it all")
                    .help("write `ksk` for how long that key lives, or `keys: ksk_zsk` for two keys");
                Lifetimes::default()
            }
        }
    }

    fn signature_times(&mut self, spec: &spec::Signature) -> SignatureTimes {
        let standard = SignatureTimes::default();
        let ten = Duration::from_secs(10);
        let validity = self.span(&spec.validity, standard.validity, ten..=VALIDITY_MAX);
        // Where only the validity is said, the same share of it as by default.
        let share = validity.mul_f64(standard.refresh.as_secs_f64() / standard.validity.as_secs_f64());
        let Some(refresh) = &spec.refresh else { return SignatureTimes { validity, refresh: share } };
        if refresh.value.0 >= validity {
            let (refresh_, validity) = (show_span(refresh.value.0), show_span(validity));
            self.mistakes
                .error(
                    &refresh.place,
                    format!(
                        "signatures hold for {validity} and would be made anew {refresh_} before their end"
                    ),
                )
                .help("`refresh` is the time left when a signature is replaced: well below `validity`");
            return SignatureTimes { validity: standard.validity, refresh: standard.refresh };
        }
        SignatureTimes { validity, refresh: refresh.value.0 }
    }

    fn span(
        &mut self,
        span: &Option<Placed<Span>>,
        standard: Duration,
        allowed: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(span) = span else { return standard };
        if !allowed.contains(&span.value.0) {
            let [low, high] = [allowed.start(), allowed.end()].map(|bound| show_span(*bound));
            self.mistakes
                .error(&span.place, format!("{} is not between {low} and {high}", show_span(span.value.0)));
            return standard;
        }
        span.value.0
    }

    /// Where several sites serve a zone, all must have the same keys: none of them makes any.
    pub(super) fn dnssec_on_many_sites(&mut self, zones: &[ZoneFile], sites: &[String]) {
        if sites.len() < 2 {
            return;
        }
        for zone in zones {
            let Some(dnssec) = &zone.dnssec else { continue };
            if dnssec.policy.timing.propagation < Timing::default().propagation {
                let span = show_span(dnssec.policy.timing.propagation);
                self.mistakes
                    .warn(
                        &dnssec.place,
                        format!("a propagation of {span} for {} is short for keys that travel to {} sites", zone.name, sites.len()),
                    )
                    .help("with several sites `propagation` is the time until the last of them has the new key files");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_zone_has_one_directory() {
        let store = Store::Embedded { path: PathBuf::from("state") };
        let directory = |name: &str| store.key_directory(&Name::parse(name).unwrap());
        assert_eq!(directory("gtm.example.com"), PathBuf::from("state/keys/gtm.example.com"));
        assert_eq!(
            directory("0/25.2.0.192.in-addr.arpa"),
            PathBuf::from("state/keys/0%2f25.2.0.192.in-addr.arpa")
        );
        assert_eq!(directory("."), PathBuf::from("state/keys/root"));
    }
}
