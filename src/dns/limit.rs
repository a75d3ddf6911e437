//! Response rate limiting: a server that is asked in somebody else's name floods that somebody.
//! What it sends over UDP is therefore counted by whom it goes to and what it says, as BIND does
//! (ISC-TN-2012-1):
//!
//! ```text
//!              a response               balance = min(rate, balance + rate × seconds) − 1
//!  balance ≥ 0 ├────────────► send                         never below −rate × window
//!  balance < 0 ├─ 1 of slip ─► TC=1: a client that is there comes over TCP
//!              └─ the rest ──► nothing
//! ```
//! An account is a network of clients and what answers have in common: the name that they come
//! from (of a wildcard that is the wildcard, so that names at random share one), the zone that
//! has not got the name, or that they are errors. Whoever goes on asking stays in debt.
//!
//! Each thread has a table of its own, of fixed size, and its share of the rate. Full, it forgets
//! who was quiet for longest: a flood from everywhere to everywhere is nobody's amplifier.

use std::net::IpAddr;

use crate::config::RateLimit;

/// So many accounts are kept by each thread: 1 MiB.
const ACCOUNTS_MAX: usize = SETS * WAYS;
/// Accounts are looked for in one of so many sets …
const SETS: usize = 1 << 14;
/// … of so many places each: one cache line.
const WAYS: usize = 4;

/// What answers have in common that count together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// They are errors, whatever was asked.
    Error,
    /// Records of the same name, or that it lacks a type.
    Name,
    /// They lead to the same servers.
    Referral,
    /// The same zone has no such name.
    Absent,
    /// What has changed in the same zone.
    Transfer,
}

/// What becomes of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sentence {
    /// It is sent.
    Send,
    /// In its place goes a word to come over TCP.
    Slip,
    /// Nothing is sent.
    Drop,
}

/// The accounts of one thread.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    sets: Vec<[Account; WAYS]>,
    /// Nobody's to guess, so that nobody can ask for others' accounts to be forgotten.
    keys: [u64; 3],
    /// The threads that share the rate.
    threads: u32,
}

/// Sixteen octets.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Tells it from others in its set; 0 if there is none.
    tag: u32,
    /// When it was last told.
    second: u32,
    /// Responses that may still be sent at once; below zero, what is owed.
    balance: i32,
    /// Responses withheld since it is in debt.
    withheld: u32,
}

impl Account {
    /// The balance now.
    #[inline]
    fn at(&self, now: u32, rate: i32) -> i32 {
        // A clock that is set back stands still here.
        match now.wrapping_sub(self.second).cast_signed() {
            elapsed @ 1.. => self.balance.saturating_add(rate.saturating_mul(elapsed)).min(rate),
            _ => self.balance,
        }
    }
}

impl Limiter {
    /// Takes the memory that it needs, once; for one of so many threads. Without this, nothing is
    /// limited.
    pub fn prepare(&mut self, threads: usize, rng: &mut fastrand::Rng) {
        if self.sets.is_empty() {
            debug_assert_eq!(size_of::<[Account; WAYS]>() * SETS, ACCOUNTS_MAX * 16);
            self.sets = vec![[Account::default(); WAYS]; SETS];
            self.keys = [rng.u64(..) | 1, rng.u64(..) | 1, rng.u64(..) | 1];
        }
        self.threads = u32::try_from(threads).unwrap_or(u32::MAX).max(1);
    }

    /// Whether [`Limiter::prepare`] was called.
    #[inline]
    pub fn is_ready(&self) -> bool {
        !self.sets.is_empty()
    }

    /// Counts one response and tells what becomes of it. `subject` is the node that it is about.
    #[inline]
    pub(super) fn judge(
        &mut self,
        rules: &RateLimit,
        client: IpAddr,
        kind: Kind,
        subject: u32,
        now: u32,
    ) -> Sentence {
        let hash = self.hash(network(rules, client), kind, subject);
        let threads = self.threads.max(1);
        let Some(set) = self.sets.get_mut(hash as usize % SETS) else { return Sentence::Send };
        let rate = rules.responses_per_second.div_ceil(threads).cast_signed();
        let account = find(set, (hash >> 32) as u32 | 1, now, rate);
        account.balance = account.at(now, rate);
        if now.wrapping_sub(account.second).cast_signed() > 0 {
            account.second = now;
        }
        let floor = rate.saturating_mul(rules.window.cast_signed()).saturating_neg();
        account.balance = account.balance.saturating_sub(1).max(floor);
        if account.balance >= 0 {
            account.withheld = 0;
            return Sentence::Send;
        }
        if rules.exempt.iter().any(|exempt| exempt.contains(client)) {
            return Sentence::Send;
        }
        account.withheld = account.withheld.wrapping_add(1);
        if rules.slip > 0 && account.withheld.is_multiple_of(rules.slip) {
            Sentence::Slip
        } else {
            Sentence::Drop
        }
    }

    /// Whether [`Limiter::judge`] would send anything but the response, now. Counts nothing.
    pub(super) fn withholds(
        &self,
        rules: &RateLimit,
        client: IpAddr,
        kind: Kind,
        subject: u32,
        now: u32,
    ) -> bool {
        let hash = self.hash(network(rules, client), kind, subject);
        let rate = rules.responses_per_second.div_ceil(self.threads.max(1)).cast_signed();
        let tag = (hash >> 32) as u32 | 1;
        let account = self.sets.get(hash as usize % SETS).and_then(|set| set.iter().find(|a| a.tag == tag));
        account.is_some_and(|account| account.at(now, rate) <= 0)
            && !rules.exempt.iter().any(|exempt| exempt.contains(client))
    }

    /// Not for secrets: an attacker who does not know the keys, and does not see the hash, can do
    /// no better than try.
    #[inline]
    fn hash(&self, network: u128, kind: Kind, subject: u32) -> u64 {
        let [a, b, c] = self.keys;
        let fold = |x: u64, y: u64| {
            let product = u128::from(x) * u128::from(y);
            product as u64 ^ (product >> 64) as u64
        };
        let what = u64::from(subject) << 8 | kind as u64;
        let half = fold(network as u64 ^ a, (network >> 64) as u64 ^ b);
        fold(half ^ c, what.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ a)
    }
}

/// The account of this tag, or a fresh one in the place of whoever was quiet for longest.
#[inline]
fn find(set: &mut [Account; WAYS], tag: u32, now: u32, rate: i32) -> &mut Account {
    let at = set.iter().position(|account| account.tag == tag).unwrap_or_else(|| {
        let oldest = (0..WAYS).max_by_key(|at| match set[*at].tag {
            0 => u32::MAX,
            _ => now.wrapping_sub(set[*at].second),
        });
        let at = oldest.unwrap_or_default();
        set[at] = Account { tag, second: now, balance: rate, withheld: 0 };
        at
    });
    &mut set[at]
}

/// The bits that clients of one network have in common, the family among them.
#[inline]
fn network(rules: &RateLimit, client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let host_bits = 32 - u32::from(rules.ipv4_prefix.min(32));
            u128::from(u64::from(address.to_bits()) >> host_bits) << 1
        }
        IpAddr::V6(address) => {
            let host_bits = 128 - u32::from(rules.ipv6_prefix.min(128));
            address.to_bits().checked_shr(host_bits).unwrap_or_default() << 1 | 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1_800_000_000;
    const CLIENT: &str = "192.0.2.1";

    fn rules(slip: u32) -> RateLimit {
        RateLimit {
            responses_per_second: 10,
            slip,
            window: 3,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            exempt: vec!["198.51.100.0/24".parse().unwrap()],
        }
    }

    fn limiter(threads: usize) -> Limiter {
        let mut limiter = Limiter::default();
        limiter.prepare(threads, &mut fastrand::Rng::with_seed(1));
        limiter
    }

    struct Flood {
        limiter: Limiter,
        rules: RateLimit,
    }

    impl Flood {
        fn new(slip: u32) -> Self {
            Self { limiter: limiter(1), rules: rules(slip) }
        }

        /// Of so many responses in one second: how many are sent, slipped and dropped.
        fn of(&mut self, count: usize, client: &str, subject: u32, now: u32) -> [usize; 3] {
            let client = client.parse().unwrap();
            let mut told = [0; 3];
            for _ in 0..count {
                told[self.limiter.judge(&self.rules, client, Kind::Name, subject, now) as usize] += 1;
            }
            told
        }
    }

    #[test]
    fn sends_the_rate_and_slips_some_of_the_rest() {
        let mut flood = Flood::new(2);
        assert_eq!(flood.of(10, CLIENT, 1, NOW), [10, 0, 0]);
        assert_eq!(flood.of(100, CLIENT, 1, NOW), [0, 50, 50]);
        for (slip, expected) in [(0, [10, 0, 100]), (1, [10, 100, 0]), (10, [10, 10, 90])] {
            assert_eq!(Flood::new(slip).of(110, CLIENT, 1, NOW), expected, "slip {slip}");
        }
    }

    #[test]
    fn a_flood_that_goes_on_gets_nothing_and_one_that_ends_is_forgiven() {
        let mut flood = Flood::new(0);
        for second in 0..20 {
            let sent = flood.of(100, CLIENT, 1, NOW + second)[0];
            assert_eq!(sent, if second == 0 { 10 } else { 0 }, "second {second}");
        }
        // It owes three seconds' worth, no more: they pay it, the fourth sends again.
        let mut quiet = flood.limiter.clone();
        assert_eq!(flood.of(1, CLIENT, 1, NOW + 23)[0], 1);
        std::mem::swap(&mut quiet, &mut flood.limiter);
        assert_eq!(flood.of(1, CLIENT, 1, NOW + 22)[0], 0);
        // At its leisure it may ask as before.
        assert_eq!(flood.of(12, CLIENT, 1, NOW + 40), [10, 0, 2]);
        // A steady asker at the rate is never limited.
        let mut steady = Flood::new(0);
        assert!((0..100).all(|second| steady.of(10, CLIENT, 1, NOW + second)[0] == 10));
        // Not even when the clock is set back.
        assert_eq!(steady.of(1, CLIENT, 1, NOW - 50)[2], 1);
        assert_eq!(steady.of(1, CLIENT, 1, NOW + 100)[0], 1);
    }

    #[test]
    fn what_will_be_withheld_is_known_before_it_is_counted() {
        for client in [CLIENT, "198.51.100.7"] {
            let mut flood = Flood::new(2);
            let address: IpAddr = client.parse().unwrap();
            let mut withheld = 0;
            for (second, count) in [(0, 15), (1, 15), (2, 3), (2, 0), (30, 12), (0, 5)] {
                for _ in 0..count {
                    let now = NOW + second;
                    let told = flood.limiter.withholds(&flood.rules, address, Kind::Name, 1, now);
                    let sent = flood.of(1, client, 1, now)[0] == 1;
                    assert_eq!(told, !sent, "{client} in second {second}");
                    withheld += u32::from(told);
                }
            }
            assert_eq!(withheld > 0, client == CLIENT);
        }
    }

    #[test]
    fn networks_and_subjects_have_accounts_of_their_own() {
        let mut flood = Flood::new(0);
        assert_eq!(flood.of(11, "192.0.2.1", 1, NOW), [10, 0, 1]);
        for (client, subject, shares) in [
            ("192.0.2.254", 1, true),
            ("192.0.3.1", 1, false),
            ("192.0.2.1", 2, false),
            ("::ffff:192.0.2.9", 1, true),
            ("2001:db8::1", 1, false),
        ] {
            assert_eq!(flood.of(1, client, subject, NOW)[0] == 0, shares, "{client} {subject}");
        }
        flood.of(20, "2001:db8:0:f00::1", 1, NOW);
        assert_eq!(flood.of(1, "2001:db8:0:fff::1", 1, NOW)[0], 0);
        assert_eq!(flood.of(1, "2001:db8:0:e00::1", 1, NOW)[0], 1);
        let client = "192.0.2.1".parse().unwrap();
        for kind in [Kind::Error, Kind::Referral, Kind::Absent] {
            assert_eq!(flood.limiter.judge(&flood.rules, client, kind, 1, NOW), Sentence::Send);
        }
    }

    #[test]
    fn exempt_networks_are_not_limited() {
        assert_eq!(Flood::new(2).of(1000, "198.51.100.7", 1, NOW), [1000, 0, 0]);
        assert_eq!(Flood::new(2).of(1000, "::ffff:198.51.100.7", 1, NOW), [1000, 0, 0]);
    }

    #[test]
    fn threads_share_the_rate() {
        let mut flood = Flood { limiter: limiter(4), rules: rules(0) };
        // A quarter of ten, rounded up.
        assert_eq!(flood.of(10, CLIENT, 1, NOW)[0], 3);
    }

    #[test]
    fn memory_is_bounded_and_a_flood_from_everywhere_is_outlived() {
        let mut flood = Flood::new(0);
        let before = flood.limiter.sets.capacity();
        for network in 0..1_000_000u32 {
            let client = IpAddr::from((network << 8).to_be_bytes());
            flood.limiter.judge(&flood.rules, client, Kind::Name, 1, NOW);
        }
        assert_eq!(flood.limiter.sets.capacity(), before);
        assert_eq!(flood.of(1, CLIENT, 1, NOW)[0], 1);
        // Whoever asks meanwhile is remembered: it is not the one that was quiet for longest.
        let mut forgotten = 0;
        for second in 1..=20 {
            forgotten += flood.of(20, CLIENT, 1, NOW + second)[0];
            for network in 0..2000u32 {
                let client = IpAddr::from((network << 8 | second << 24).to_be_bytes());
                flood.limiter.judge(&flood.rules, client, Kind::Name, 1, NOW + second);
            }
        }
        assert!(forgotten <= 20, "{forgotten} of 400 were sent");
    }

    #[test]
    fn accounts_are_spread_over_all_sets() {
        let limiter = limiter(1);
        let mut sets = vec![0u32; SETS];
        for network in 0..(SETS as u32 * 4) {
            let client = IpAddr::from((network << 8).to_be_bytes());
            let hash = limiter.hash(super::network(&rules(0), client), Kind::Name, 1);
            sets[hash as usize % SETS] += 1;
        }
        // Poisson with mean 4: 1.8 % empty, and 20 in one set once in ten million.
        let empty = sets.iter().filter(|count| **count == 0).count();
        assert!(empty < SETS / 30 && sets.iter().all(|count| *count < 20), "{empty} of {SETS} are empty");
    }

    #[test]
    fn nothing_is_limited_before_it_is_ready() {
        let mut idle = Limiter::default();
        assert!(!idle.is_ready());
        for _ in 0..100 {
            let sentence = idle.judge(&rules(2), CLIENT.parse().unwrap(), Kind::Name, 1, NOW);
            assert_eq!(sentence, Sentence::Send);
        }
    }
}
