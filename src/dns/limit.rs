//! Response rate limiting: a server that is asked in somebody else's name floods that somebody.
//! What it sends over UDP is therefore counted by whom it goes to and what it says, as BIND does
//! (ISC-TN-2012-1):
//!
//! ```text
//!                               not before `now`                 now + 1 s   now + 1 s + window
//!  each response moves "paid up" ├───────────── send ─────────────┤──── withhold ────┤ no further
//!  by 1/rate seconds to the right
//!
//!  withheld ├─ 1 of slip ─► TC=1: a client that is there comes over TCP
//!           └─ the rest ──► nothing
//! ```
//! An account is one moment: until when what was sent has used up the rate. It may lie a second
//! ahead; beyond that the network is in debt, and whoever goes on asking stays there. (This is the
//! generic cell rate algorithm of ITU-T I.371, with a clock of whole seconds.)
//!
//! A response has two of them. One is of the network of clients and of what answers have in
//! common: the name that they come from (of a wildcard that is the wildcard, so that names at
//! random share one), the zone that has not got the name, or that they are errors. The other is of
//! the network alone, for whoever asks for many names. What the first one withholds does not count
//! on the second: a flood about one name shall not cost its victim all others.
//!
//! All threads share one table, since the kernel gives each flow to one of them: divided, the rate
//! would be the thread's share for whoever has but one port. An account is one word, changed by
//! compare and exchange; nobody waits, and of a flood that stays in debt nothing is written at all.
//! The table has a fixed size. Full, it forgets who was quiet for longest: a flood from everywhere
//! to everywhere is nobody's amplifier.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fastrand::Rng;

use crate::config::RateLimit;

/// So many accounts are kept: 1 MiB.
const ACCOUNTS_MAX: usize = SETS * WAYS;
/// Accounts are looked for in one of so many sets …
const SETS: usize = 1 << 14;
/// … of so many places each: one cache line.
const WAYS: usize = 8;
/// So often a thread tries to write where others write too. Each time that it fails another one
/// has succeeded; then the answer is judged by what was seen last, and not counted.
const TRIES_MAX: usize = 8;

/// Moments are counted in this part of a second: the dearest rate that can be configured is met
/// to 4 %, a thousand per second to a millionth.
const SECOND: u64 = 1 << 28;
/// Moments are known up to so many units, twelve days; what is further off counts as long ago.
const MOMENTS: u64 = 1 << 48;
/// A clock that is set back by no more than this stands still here; by more, it forgives.
const SET_BACK_MAX: u64 = 60 * SECOND;

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
    /// Nothing but the network that they go to.
    All,
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

/// The accounts, which all that are cloned from one share.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    accounts: Arc<OnceLock<Accounts>>,
}

#[derive(Debug)]
struct Accounts {
    sets: Box<[Set]>,
    /// Nobody's to guess, so that nobody can ask for others' accounts to be forgotten.
    keys: [u64; 3],
}

/// Each word has a tag that tells it from others in its set in the upper 16 bits (0: there is
/// none), and below that the moment until which it is paid up.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

/// The terms of one account.
#[derive(Clone, Copy)]
struct Terms {
    now: u64,
    /// What a response costs.
    cost: u64,
    /// So far ahead an account gets.
    ahead_max: u64,
}

impl Terms {
    #[inline]
    fn new(responses_per_second: u32, window: u32, now: u32) -> Self {
        Self {
            now: u64::from(now) * SECOND % MOMENTS,
            cost: (SECOND / u64::from(responses_per_second.max(1))).max(1),
            ahead_max: (u64::from(window) + 1) * SECOND,
        }
    }

    /// How far ahead of now the moment of an account is.
    #[inline]
    fn ahead(&self, account: u64) -> u64 {
        let ahead = account.wrapping_sub(self.now) % MOMENTS;
        if ahead <= self.horizon() { ahead } else { 0 }
    }

    /// What seems to be further ahead than this is past.
    #[inline]
    fn horizon(&self) -> u64 {
        self.ahead_max + SET_BACK_MAX
    }

    /// Whether what comes to be so far ahead is sent.
    #[inline]
    fn permit(ahead: u64) -> bool {
        ahead <= SECOND
    }
}

impl Limiter {
    /// Takes the memory that it needs, once. Without this, nothing is limited.
    pub fn prepare(&self, rng: &mut Rng) {
        self.accounts.get_or_init(|| {
            debug_assert_eq!(size_of::<Set>() * SETS, ACCOUNTS_MAX * 8);
            Accounts {
                sets: (0..SETS).map(|_| Set::default()).collect(),
                keys: [rng.u64(..) | 1, rng.u64(..) | 1, rng.u64(..) | 1],
            }
        });
    }

    /// Whether [`Limiter::prepare`] was called.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.accounts.get().is_some()
    }

    /// Counts one response and tells what becomes of it. `subject` is the node that it is about;
    /// chance says which of those that are withheld slip, so that no two floods keep step.
    #[inline]
    pub(super) fn judge(
        &self,
        rules: &RateLimit,
        client: IpAddr,
        (kind, subject): (Kind, u32),
        now: u32,
        rng: &mut Rng,
    ) -> Sentence {
        let Some(accounts) = self.accounts.get() else { return Sentence::Send };
        let network = network(rules, client);
        let alike = Terms::new(rules.responses_per_second, rules.window, now);
        let all = Terms::new(rules.all_per_second, rules.window, now);
        if accounts.charge(accounts.hash(network, kind, subject), alike)
            && accounts.charge(accounts.hash(network, Kind::All, 0), all)
            || is_exempt(rules, client)
        {
            return Sentence::Send;
        }
        if rules.slip > 0 && rng.u32(..rules.slip) == 0 { Sentence::Slip } else { Sentence::Drop }
    }

    /// Whether [`Limiter::judge`] would send anything but the response, now. Counts nothing.
    pub(super) fn withholds(
        &self,
        rules: &RateLimit,
        client: IpAddr,
        (kind, subject): (Kind, u32),
        now: u32,
    ) -> bool {
        let Some(accounts) = self.accounts.get() else { return false };
        let network = network(rules, client);
        let alike = Terms::new(rules.responses_per_second, rules.window, now);
        let all = Terms::new(rules.all_per_second, rules.window, now);
        (accounts.is_spent(accounts.hash(network, kind, subject), alike)
            || accounts.is_spent(accounts.hash(network, Kind::All, 0), all))
            && !is_exempt(rules, client)
    }
}

impl Accounts {
    /// Counts one response, and tells whether it is sent.
    #[inline]
    fn charge(&self, hash: u64, terms: Terms) -> bool {
        let (Set(set), tag) = self.place(hash);
        let mut ahead = 0;
        for _ in 0..TRIES_MAX {
            let (account, was) = find(set, tag, &terms);
            let before = if was >> 48 == tag { terms.ahead(was) } else { 0 };
            ahead = before + terms.cost;
            let moment = (terms.now + ahead.min(terms.ahead_max)) % MOMENTS;
            let after = (tag << 48) | moment;
            // Order does not matter: an account says nothing of any other memory.
            if after == was
                || account.compare_exchange_weak(was, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                break;
            }
        }
        Terms::permit(ahead)
    }

    /// Whether one more response would not be sent.
    fn is_spent(&self, hash: u64, terms: Terms) -> bool {
        let (Set(set), tag) = self.place(hash);
        let known = set.iter().map(|account| account.load(Ordering::Relaxed)).find(|word| word >> 48 == tag);
        known.is_some_and(|account| !Terms::permit(terms.ahead(account) + terms.cost))
    }

    /// Where an account is, and its tag.
    #[inline]
    fn place(&self, hash: u64) -> (&Set, u64) {
        (&self.sets[hash as usize % SETS], hash >> 48 | 1)
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

/// The account of this tag and what it says, or in its stead the one that was quiet for longest.
#[inline]
fn find<'s>(set: &'s [AtomicU64; WAYS], tag: u64, terms: &Terms) -> (&'s AtomicU64, u64) {
    let mut quietest = (&set[0], 0, u64::MAX);
    for account in set {
        let word = account.load(Ordering::Relaxed);
        if word >> 48 == tag {
            return (account, word);
        }
        // A free place before all, then what is past, then what is ahead.
        let rank = match word {
            0 => 0,
            _ => word.wrapping_sub(terms.now).wrapping_sub(terms.horizon() + 1) % MOMENTS + 1,
        };
        if rank < quietest.2 {
            quietest = (account, word, rank);
        }
    }
    (quietest.0, quietest.1)
}

#[inline]
fn is_exempt(rules: &RateLimit, client: IpAddr) -> bool {
    rules.exempt.iter().any(|exempt| exempt.contains(client))
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
            all_per_second: 100,
            slip,
            window: 3,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            exempt: vec!["198.51.100.0/24".parse().unwrap()],
        }
    }

    struct Flood {
        limiter: Limiter,
        rules: RateLimit,
        rng: Rng,
    }

    impl Flood {
        fn new(slip: u32) -> Self {
            let (limiter, mut rng) = (Limiter::default(), Rng::with_seed(1));
            limiter.prepare(&mut rng);
            Self { limiter, rules: rules(slip), rng }
        }

        fn judge(&mut self, client: IpAddr, about: (Kind, u32), now: u32) -> Sentence {
            self.limiter.judge(&self.rules, client, about, now, &mut self.rng)
        }

        /// Of so many responses in one second: how many are sent, slipped and dropped.
        fn of(&mut self, count: usize, client: &str, subject: u32, now: u32) -> [usize; 3] {
            let client = client.parse().unwrap();
            let mut told = [0; 3];
            for _ in 0..count {
                told[self.judge(client, (Kind::Name, subject), now) as usize] += 1;
            }
            told
        }
    }

    #[test]
    fn sends_the_rate_and_slips_some_of_the_rest() {
        let mut flood = Flood::new(2);
        assert_eq!(flood.of(10, CLIENT, 1, NOW), [10, 0, 0]);
        assert_eq!(flood.of(10, CLIENT, 1, NOW)[0], 0);
        // 5000 tosses of a coin: five standard deviations are 177. For one in ten they are 106.
        for (slip, slipped, spread) in [(0, 0, 0), (1, 5000, 0), (2, 2500, 177), (10, 500, 106)] {
            let told = Flood::new(slip).of(5010, CLIENT, 1, NOW);
            assert_eq!(told[0], 10, "slip {slip}");
            assert!(told[1].abs_diff(slipped) <= spread, "slip {slip}: {told:?}");
        }
    }

    #[test]
    fn rates_are_met() {
        for rate in [1, 3, 7, 10, 999] {
            let mut flood = Flood::new(0);
            (flood.rules.responses_per_second, flood.rules.all_per_second) = (rate, 10_000_000);
            for second in 0..5 {
                let sent = flood.of(rate as usize, CLIENT, 1, NOW + second)[0];
                assert_eq!(sent, rate as usize, "{rate}");
            }
            assert_eq!(flood.of(1, CLIENT, 1, NOW + 4)[0], 0, "{rate}");
        }
        // To a thousandth for all but the highest.
        let sent = |rate: u32| SECOND / Terms::new(rate, 1, NOW).cost;
        assert!((1..100_000).all(|rate| sent(rate).abs_diff(rate.into()) <= u64::from(rate) / 1000));
        assert!((10_000_000..10_400_000).contains(&sent(10_000_000)));
    }

    #[test]
    fn a_flood_that_goes_on_gets_nothing_and_one_that_ends_is_forgiven() {
        let mut flood = Flood::new(0);
        for second in 0..20 {
            let sent = flood.of(100, CLIENT, 1, NOW + second)[0];
            assert_eq!(sent, if second == 0 { 10 } else { 0 }, "second {second}");
        }
        // It owes three seconds' worth, no more: they pay it, the fourth sends again.
        let one = |flood: &Flood, second| {
            let client = CLIENT.parse().unwrap();
            !flood.limiter.withholds(&flood.rules, client, (Kind::Name, 1), NOW + second)
        };
        assert!(one(&flood, 23) && !one(&flood, 22));
        // At its leisure it may ask as before.
        assert_eq!(flood.of(12, CLIENT, 1, NOW + 40), [10, 0, 2]);
        // A steady asker at the rate is never limited.
        let mut steady = Flood::new(0);
        assert!((0..100).all(|second| steady.of(10, CLIENT, 1, NOW + second)[0] == 10));
    }

    #[test]
    fn a_clock_that_is_set_owes_nobody_and_stays_nobodys_debt() {
        let mut flood = Flood::new(0);
        assert_eq!(flood.of(10, CLIENT, 1, NOW)[0], 10);
        // Set back a little it stands still; by much, all is forgiven.
        assert_eq!(flood.of(1, CLIENT, 1, NOW - 50)[0], 0);
        assert_eq!(flood.of(1, CLIENT, 1, NOW + 20)[0], 1);
        assert_eq!(flood.of(10, CLIENT, 1, NOW - 1_000_000)[0], 10);
        // However long an account was quiet: for a year of days, and across the end of 32 bits.
        for start in [NOW, u32::MAX - 3 * 86_400] {
            for days in 1..=400 {
                let mut flood = Flood::new(0);
                flood.of(1000, CLIENT, 1, start);
                assert_eq!(flood.of(11, CLIENT, 1, start.wrapping_add(days * 86_400))[0], 10, "{days}");
            }
        }
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
                    let told = flood.limiter.withholds(&flood.rules, address, (Kind::Name, 1), now);
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
            assert_eq!(flood.judge(client, (kind, 1), NOW), Sentence::Send);
        }
    }

    #[test]
    fn who_asks_for_many_names_has_one_account_for_all() {
        let mut flood = Flood::new(0);
        let address: IpAddr = CLIENT.parse().unwrap();
        let mut sent = 0;
        for name in 0..1000 {
            let told = flood.limiter.withholds(&flood.rules, address, (Kind::Name, name), NOW);
            let got = flood.of(1, CLIENT, name, NOW)[0];
            assert_eq!(told, got == 0, "name {name}");
            sent += got;
        }
        assert_eq!(sent, 100);
        // Neighbours pay for it, others do not.
        assert_eq!(flood.of(1, "192.0.2.99", 5000, NOW)[0], 0);
        assert_eq!(flood.of(1, "192.0.3.1", 5000, NOW)[0], 1);
        assert_eq!(flood.of(1000, "198.51.100.7", 5000, NOW)[0], 1000);
        // Some are told to come over TCP.
        let mut slipping = Flood::new(2);
        let slipped: usize = (0..1000).map(|name| slipping.of(1, CLIENT, name, NOW)[1]).sum();
        assert!((400..500).contains(&slipped), "{slipped}");
    }

    #[test]
    fn a_flood_about_one_name_leaves_its_victim_the_others() {
        let mut flood = Flood::new(0);
        for second in 0..20 {
            assert!(flood.of(5000, CLIENT, 1, NOW + second)[0] <= 10);
            assert_eq!(flood.of(10, CLIENT, 2, NOW + second)[0], 10);
        }
    }

    #[test]
    fn exempt_networks_are_not_limited() {
        assert_eq!(Flood::new(2).of(1000, "198.51.100.7", 1, NOW), [1000, 0, 0]);
        assert_eq!(Flood::new(2).of(1000, "::ffff:198.51.100.7", 1, NOW), [1000, 0, 0]);
    }

    #[test]
    fn threads_share_accounts() {
        let flood = Flood::new(0);
        let sent: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|seed| {
                    let (limiter, rules) = (flood.limiter.clone(), rules(0));
                    let rng = Rng::with_seed(seed);
                    let mut own = Flood { limiter, rules, rng };
                    scope.spawn(move || own.of(10_000, CLIENT, 1, NOW)[0])
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        // Where four write at once all the time, one of them may give up in the end, and guess.
        assert!((10..=12).contains(&sent), "{sent}");
    }

    #[test]
    fn memory_is_bounded_and_a_flood_from_everywhere_is_outlived() {
        let mut flood = Flood::new(0);
        for network in 0..1_000_000u32 {
            let client = IpAddr::from((network << 8).to_be_bytes());
            flood.judge(client, (Kind::Name, 1), NOW);
        }
        assert_eq!(size_of_val(&*flood.limiter.accounts.get().unwrap().sets), ACCOUNTS_MAX * 8);
        assert_eq!(flood.of(1, CLIENT, 1, NOW)[0], 1);
        // Whoever asks meanwhile is remembered: it is not the one that was quiet for longest.
        let mut forgotten = 0;
        for second in 1..=20 {
            forgotten += flood.of(20, CLIENT, 1, NOW + second)[0];
            for network in 0..2000u32 {
                let client = IpAddr::from((network << 8 | second << 24).to_be_bytes());
                flood.judge(client, (Kind::Name, 1), NOW + second);
            }
        }
        assert!(forgotten <= 20, "{forgotten} of 400 were sent");
    }

    #[test]
    fn accounts_are_spread_over_all_sets() {
        let flood = Flood::new(0);
        let accounts = flood.limiter.accounts.get().unwrap();
        let mut sets = vec![0u32; SETS];
        for network in 0..(SETS as u32 * 4) {
            let client = IpAddr::from((network << 8).to_be_bytes());
            let hash = accounts.hash(super::network(&rules(0), client), Kind::Name, 1);
            sets[hash as usize % SETS] += 1;
        }
        // Poisson with mean 4: 1.8 % empty, and 20 in one set once in ten million.
        let empty = sets.iter().filter(|count| **count == 0).count();
        assert!(empty < SETS / 30 && sets.iter().all(|count| *count < 20), "{empty} of {SETS} are empty");
    }

    #[test]
    fn nothing_is_limited_before_it_is_ready() {
        let (idle, mut rng) = (Limiter::default(), Rng::with_seed(1));
        assert!(!idle.is_ready());
        for _ in 0..100 {
            let sentence = idle.judge(&rules(2), CLIENT.parse().unwrap(), (Kind::Name, 1), NOW, &mut rng);
            assert_eq!(sentence, Sentence::Send);
        }
    }
}
