//! What a signer needs to know of a zone's keys at one moment.

use std::sync::Arc;
use std::time::Duration;

use super::{Algorithm, SigningKey};
use crate::wire::Name;

/// CDS and CDNSKEY that ask the parent to take every DS away (RFC 8078 §4, erratum 5049).
const CDS_DELETE: [u8; 5] = [0, 0, 0, 0, 0];
const CDNSKEY_DELETE: [u8; 5] = [0, 0, 3, 0, 0];

/// A key and what it is used for now.
#[derive(Clone, Debug)]
pub struct KeyUse {
    /// The key.
    pub key: Arc<SigningKey>,
    /// Its DNSKEY record is in the zone.
    pub published: bool,
    /// It signs the DNSKEY, CDS and CDNSKEY sets.
    pub signs_keys: bool,
    /// It signs all other sets.
    pub signs_zone: bool,
    /// The parent is asked to point at it, by CDS and CDNSKEY.
    pub for_parent: bool,
}

/// How long signatures hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignatureTimes {
    /// From the making of a signature to its end.
    pub validity: Duration,
    /// A signature that ends sooner than this is made anew.
    pub refresh: Duration,
}

impl Default for SignatureTimes {
    /// Two weeks, made anew five days before the end: a weekend and more to repair what broke.
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self { validity: Duration::from_secs(14 * DAY), refresh: Duration::from_secs(5 * DAY) }
    }
}

/// A zone's keys at one moment, as a signer takes them. There is at least one that signs the
/// DNSKEY set and one that signs the rest; whichever signs is published.
#[derive(Clone, Debug)]
pub struct ZoneKeys {
    zone: Name,
    dnskey_ttl: u32,
    times: SignatureTimes,
    dnskeys: Vec<Box<[u8]>>,
    cds: Vec<Box<[u8]>>,
    cdnskeys: Vec<Box<[u8]>>,
    key_signers: Vec<Arc<SigningKey>>,
    zone_signers: Vec<Arc<SigningKey>>,
}

/// Why keys do not make a signed zone.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ZoneKeysError {
    /// Nobody could validate anything.
    #[error("no key signs the DNSKEY set")]
    NoKeySigner,
    /// Nobody could validate anything but keys.
    #[error("no key signs the zone's data")]
    NoZoneSigner,
    /// Its private half is not there.
    #[error("key {0} is in the zone, and its private half is missing")]
    Missing(u16),
    /// Its signatures could not be validated.
    #[error("key {0} signs and is not published")]
    Unpublished(u16),
    /// A validator may insist that every published algorithm signs everything (RFC 4035 §2.2).
    #[error("keys for {0} are published, and none of them signs {1}")]
    AlgorithmMissing(Algorithm, &'static str),
}

impl ZoneKeys {
    /// Puts keys together. The parent is asked to point at those that are `for_parent`; to forget
    /// the zone if `unsign`; nothing is asked of it if neither is said.
    ///
    /// # Errors
    /// A validator could not follow.
    pub fn new(
        zone: Name,
        uses: &[KeyUse],
        unsign: bool,
        dnskey_ttl: u32,
        times: SignatureTimes,
    ) -> Result<Self, ZoneKeysError> {
        let those = |is: fn(&KeyUse) -> bool| {
            uses.iter().filter(move |one| is(one)).map(|one| Arc::clone(&one.key)).collect::<Vec<_>>()
        };
        let published = those(|one| one.published);
        let key_signers = those(|one| one.signs_keys);
        let zone_signers = those(|one| one.signs_zone);
        if key_signers.is_empty() {
            return Err(ZoneKeysError::NoKeySigner);
        }
        if zone_signers.is_empty() {
            return Err(ZoneKeysError::NoZoneSigner);
        }
        // While an algorithm comes, its signatures are there before its keys are (RFC 6781 §4.1.4):
        // a key may sign unpublished as long as a published key of another algorithm does too.
        for one in uses.iter().filter(|one| !one.published && (one.signs_keys || one.signs_zone)) {
            let covered = |signers: &[Arc<SigningKey>]| {
                signers.iter().any(|signer| published.iter().any(|key| key.tag() == signer.tag()))
            };
            let comes = published.iter().all(|key| key.algorithm() != one.key.algorithm());
            if !comes || !covered(&key_signers) || !covered(&zone_signers) {
                return Err(ZoneKeysError::Unpublished(one.key.tag()));
            }
        }
        for algorithm in published.iter().map(|key| key.algorithm()) {
            for (signers, what) in [(&key_signers, "the DNSKEY set"), (&zone_signers, "the zone's data")] {
                if !signers.iter().any(|key| key.algorithm() == algorithm) {
                    return Err(ZoneKeysError::AlgorithmMissing(algorithm, what));
                }
            }
        }
        let (cds, cdnskeys) = match unsign {
            true => (vec![Box::from(CDS_DELETE)], vec![Box::from(CDNSKEY_DELETE)]),
            false => {
                let wanted = those(|one| one.for_parent);
                (
                    sorted(wanted.iter().map(|key| key.ds_rdata(&zone).into()).collect()),
                    sorted(wanted.iter().map(|key| key.dnskey_rdata().into()).collect()),
                )
            }
        };
        let dnskeys = sorted(published.iter().map(|key| key.dnskey_rdata().into()).collect());
        Ok(Self { zone, dnskey_ttl, times, dnskeys, cds, cdnskeys, key_signers, zone_signers })
    }

    /// One key that does everything, and that the parent is asked to point at.
    pub fn one(zone: Name, key: Arc<SigningKey>, dnskey_ttl: u32, times: SignatureTimes) -> Self {
        let alone = KeyUse { key, published: true, signs_keys: true, signs_zone: true, for_parent: true };
        Self::new(zone, &[alone], false, dnskey_ttl, times).expect("it signs all, and is published")
    }

    /// The zone.
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// The TTL of the DNSKEY, CDS and CDNSKEY sets, in seconds.
    pub fn dnskey_ttl(&self) -> u32 {
        self.dnskey_ttl
    }

    /// How long signatures hold, and when they are made anew.
    pub fn times(&self) -> SignatureTimes {
        self.times
    }

    /// The RDATA of the DNSKEY set, in canonical order.
    pub fn dnskeys(&self) -> &[Box<[u8]>] {
        &self.dnskeys
    }

    /// The RDATA of the CDS set, in canonical order; empty: there is none.
    pub fn cds(&self) -> &[Box<[u8]>] {
        &self.cds
    }

    /// The RDATA of the CDNSKEY set, in canonical order; empty: there is none.
    pub fn cdnskeys(&self) -> &[Box<[u8]>] {
        &self.cdnskeys
    }

    /// Who signs the DNSKEY, CDS and CDNSKEY sets: each of them.
    pub fn key_signers(&self) -> &[Arc<SigningKey>] {
        &self.key_signers
    }

    /// Who signs every other set: each of them. One, but for a change of algorithms.
    pub fn zone_signers(&self) -> &[Arc<SigningKey>] {
        &self.zone_signers
    }
}

impl PartialEq for ZoneKeys {
    /// Whether both give the same records and the same signers, so that signatures need not be made
    /// anew.
    fn eq(&self, other: &Self) -> bool {
        let same = |mine: &[Arc<SigningKey>], theirs: &[Arc<SigningKey>]| {
            mine.len() == theirs.len()
                && mine.iter().zip(theirs).all(|(a, b)| a.dnskey_rdata() == b.dnskey_rdata())
        };
        self.zone == other.zone
            && self.dnskey_ttl == other.dnskey_ttl
            && self.times == other.times
            && self.dnskeys == other.dnskeys
            && self.cds == other.cds
            && self.cdnskeys == other.cdnskeys
            && same(&self.key_signers, &other.key_signers)
            && same(&self.zone_signers, &other.zone_signers)
    }
}

fn sorted(mut set: Vec<Box<[u8]>>) -> Vec<Box<[u8]>> {
    set.sort_unstable();
    set.dedup();
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::Flags;

    fn key(algorithm: Algorithm, flags: Flags) -> Arc<SigningKey> {
        Arc::new(SigningKey::generate(algorithm, flags, &ring::rand::SystemRandom::new()).unwrap().0)
    }

    fn used(key: &Arc<SigningKey>, published: bool, signs_keys: bool, signs_zone: bool) -> KeyUse {
        KeyUse { key: Arc::clone(key), published, signs_keys, signs_zone, for_parent: signs_keys }
    }

    fn zone(uses: &[KeyUse]) -> Result<ZoneKeys, ZoneKeysError> {
        ZoneKeys::new(Name::parse("example").unwrap(), uses, false, 3600, SignatureTimes::default())
    }

    #[test]
    fn a_pair_shares_the_work() {
        let ksk = key(Algorithm::Ed25519, Flags::SecureEntryPoint);
        let zsk = key(Algorithm::Ed25519, Flags::Zone);
        let keys = zone(&[used(&ksk, true, true, false), used(&zsk, true, false, true)]).unwrap();
        assert_eq!(keys.dnskeys().len(), 2);
        assert_eq!(keys.cds(), [ksk.ds_rdata(keys.zone()).into()]);
        assert_eq!(keys.cdnskeys(), [ksk.dnskey_rdata().into()]);
        assert_eq!(keys.key_signers()[0].tag(), ksk.tag());
        assert_eq!(keys.zone_signers()[0].tag(), zsk.tag());
        assert_eq!(keys, keys.clone());
        assert_ne!(keys, ZoneKeys::one(keys.zone().clone(), ksk, 3600, SignatureTimes::default()));
    }

    #[test]
    fn what_nobody_could_validate_is_no_value() {
        let old = key(Algorithm::EcdsaP256Sha256, Flags::SecureEntryPoint);
        let new = key(Algorithm::Ed25519, Flags::SecureEntryPoint);
        assert_eq!(zone(&[used(&old, true, false, true)]), Err(ZoneKeysError::NoKeySigner));
        assert_eq!(zone(&[used(&old, true, true, false)]), Err(ZoneKeysError::NoZoneSigner));
        assert_eq!(zone(&[used(&old, false, true, true)]), Err(ZoneKeysError::Unpublished(old.tag())));
        // Published before its signatures are there: the wrong order for another algorithm …
        let wrong = zone(&[used(&old, true, true, true), used(&new, true, true, false)]);
        assert_eq!(wrong, Err(ZoneKeysError::AlgorithmMissing(Algorithm::Ed25519, "the zone's data")));
        // … and the right one.
        assert!(zone(&[used(&old, true, true, true), used(&new, false, false, true)]).is_ok());
        assert!(zone(&[used(&old, true, true, true), used(&new, true, true, true)]).is_ok());
    }

    #[test]
    fn the_parent_can_be_asked_to_forget() {
        let csk = key(Algorithm::Ed25519, Flags::SecureEntryPoint);
        let name = Name::parse("example").unwrap();
        let uses = [used(&csk, true, true, true)];
        let keys = ZoneKeys::new(name, &uses, true, 3600, SignatureTimes::default()).unwrap();
        assert_eq!(keys.cds(), [Box::<[u8]>::from([0, 0, 0, 0, 0])]);
        assert_eq!(keys.cdnskeys(), [Box::<[u8]>::from([0, 0, 3, 0, 0])]);
    }
}
