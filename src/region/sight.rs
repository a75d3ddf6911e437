//! Whether this site sees at all.
//!
//! A site whose own uplink is lost finds every region dead. So silence is never believed on its
//! own: it counts only if somebody unrelated has answered since.
//!
//! ```text
//!                     a target is silent
//!                             │
//!         nobody unrelated is probed at all ───────────────► believed at once
//!                             │
//!         somebody unrelated has answered before and since,
//!         without a gap ────────────────────────────────────► believed: our way out worked
//!                             │
//!         nobody did, and everybody is silent by now ───────► blind: not measured
//!                             │
//!         nobody did for `patience` of the slowest:
//!             those who answer now were silent, too ────────► not measured: our way out came back
//!             nobody answers at all ────────────────────────► believed: there is nobody to ask
//!
//!             all witnesses dark, two of them together;
//!             or the anchors' quorum and a witness together
//!    ┌────────┐ ─────────────────────────────────────────► ┌───────┐
//!    │ sighted│                                            │ blind │
//!    └────────┘ ◄───────────────────────────────────────── └───────┘
//!             a witness (the anchors' quorum, where there are
//!             anchors) has answered everything for `steady`
//! ```
//!
//! *Witness*: a region, or several that share an address. It is *dark* once one of its targets was
//! silent as often in a row as it takes to fail, without any other of its targets answering in
//! between. *Together*: not further apart than the slowest of the targets needs to notice. A region
//! that has been dead for days is no sign of anything when the next one dies.
//!
//! Why all of them, and not most: with two of three regions dark, the third answers. If that is a
//! mass outage, its users must be led away now; if it is half of our uplink, they are led to a
//! region that works as well. The first mistake is an outage, the second one is not. Whoever wants
//! half an uplink told from a mass outage names anchors, which decide alone then: with their quorum
//! answering no site is ever blind, and without it every silence is suspect. Anchors that have been
//! dark for long before a region fell silent say nothing about that silence; then the witnesses
//! decide as if there were none.
//!
//! One witness and no anchors: never blind, because there is nothing to compare with.
//!
//! What answers is heard, whatever it answers: a refused connection or a status 500 came from there.
//! Anchors must pass, since whoever intercepts the way out may answer in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::outlook::{CONFIRM_MAX, Outlook, Target, Who};
use crate::base::{CheckId, GroupId, Mono, RegionId};

/// Losses that are further apart than this are two losses, however slow the targets are.
const TOGETHER_MAX: Duration = Duration::from_secs(120);
/// A target that was silent for so long while others of its witness answered is broken itself.
const CHRONIC: Duration = Duration::from_secs(600);

/// What is listened to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// A check.
    Check(CheckId),
    /// The voters of a group that lie in a region.
    Voters(GroupId, RegionId),
}

/// One target, as heard.
#[derive(Clone, Copy, Debug)]
struct Ear {
    target: Target,
    answered: Option<Mono>,
    /// Since when it has answered every time.
    streak: Option<Mono>,
    /// Silences since its witness was last heard, and when the first of them began.
    silences: u32,
    since: Option<Mono>,
}

impl Ear {
    /// Since when it makes its witness dark, which was last heard at `heard`; none if it does not.
    fn dark(&self, heard: Option<Mono>) -> Option<Mono> {
        let is_credible = match (heard, self.answered) {
            (None, _) => true,
            (Some(heard), Some(answered)) => heard.since(answered) <= CHRONIC,
            (Some(_), None) => false,
        };
        self.since.filter(|_| is_credible && self.silences >= self.target.fall)
    }
}

/// Why this site takes itself for blind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blindness {
    /// Since when.
    pub since: Mono,
    /// What fell silent together, in words.
    pub words: String,
    /// Since when enough answers again.
    back: Option<Mono>,
}

/// What this site hears, and whether that can be believed.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    outlook: Outlook,
    names: Vec<String>,
    ears: BTreeMap<Source, Ear>,
    /// When each witness was last heard.
    heard: Vec<Option<Mono>>,
    /// Since when a witness answers with none of its targets falling silent; those that do not are
    /// not in it, so that in an outage the few that can vouch for us are found at once.
    clear: BTreeMap<usize, Mono>,
    /// The targets of each witness that were silent since it was last heard.
    silent: Vec<BTreeSet<Source>>,
    /// Since when each witness is dark, kept as results come in: there may be thousands of targets.
    dark: Vec<Option<Mono>>,
    anchors: Vec<Source>,
    /// How far apart losses may be noticed that happen at once: the pace of the slowest target.
    together: Duration,
    /// For how long silences of each witness, and of anchors, wait for the others at most.
    patience: BTreeMap<Who, Duration>,
    blind: Option<Blindness>,
}

impl Sight {
    /// Nothing heard yet. `name` names regions.
    pub fn new<'n>(outlook: Outlook, name: impl Fn(RegionId) -> &'n str) -> Self {
        let checks = outlook.checks.iter().filter_map(|(id, target)| Some((Source::Check(id), (*target)?)));
        let voters =
            outlook.groups.iter().map(|((group, region), target)| (Source::Voters(*group, *region), *target));
        let ears: BTreeMap<Source, Ear> = checks
            .chain(voters)
            .map(|(source, target)| {
                (source, Ear { target, answered: None, streak: None, silences: 0, since: None })
            })
            .collect();
        let names = outlook
            .witnesses
            .iter()
            .map(|regions| regions.iter().map(|region| name(*region)).collect::<Vec<_>>().join("+"))
            .collect();
        let asked = || ears.values().filter(|ear| !matches!(ear.target.who, Who::Teller(_)));
        let mut slowest: BTreeMap<Who, Duration> = BTreeMap::new();
        for ear in asked() {
            let slowest = slowest.entry(ear.target.who).or_default();
            *slowest = ear.target.patience.max(*slowest);
        }
        let patience = ears.values().map(|ear| {
            let own = ear.target.who;
            let others =
                slowest.iter().filter(|(who, _)| !is_same(own, **who)).map(|(_, patience)| *patience);
            (own, others.max().unwrap_or_default().min(CONFIRM_MAX))
        });
        let together = asked().map(|ear| ear.target.pace).max().unwrap_or_default();
        let anchors = ears.iter().filter(|(_, ear)| ear.target.who == Who::Anchor).map(|(source, _)| *source);
        let none = vec![None; outlook.witnesses.len()];
        Self {
            heard: none.clone(),
            dark: none,
            clear: BTreeMap::new(),
            silent: vec![BTreeSet::new(); outlook.witnesses.len()],
            anchors: anchors.collect(),
            together: together.min(TOGETHER_MAX),
            patience: patience.collect(),
            names,
            ears,
            blind: None,
            outlook,
        }
    }

    /// Goes on with what was heard under another configuration: `before` tells what a target was
    /// called there.
    pub fn resumed(mut self, old: &Self, before: impl Fn(Source) -> Option<Source>) -> Self {
        for (source, ear) in &mut self.ears {
            let Some(known) = before(*source).and_then(|source| old.ears.get(&source)) else { continue };
            *ear = Ear { target: ear.target, ..*known };
            if let Who::Witness(witness) = ear.target.who {
                self.heard[witness] = self.heard[witness].max(known.answered);
                if let Some(streak) = known.streak {
                    let clear = self.clear.entry(witness).or_insert(streak);
                    *clear = streak.max(*clear);
                }
                if known.silences > 0 {
                    self.silent[witness].insert(*source);
                }
            }
        }
        self.dark = (0..self.heard.len())
            .map(|witness| {
                let of = self.silent[witness].iter().filter_map(|source| self.ears.get(source));
                of.filter_map(|ear| ear.dark(self.heard[witness])).min()
            })
            .collect();
        self.blind = old.blind.clone();
        self
    }

    /// A target was asked at `started`, and has answered by now, or has not.
    pub fn hear(&mut self, source: Source, answered: bool, started: Mono, now: Mono) {
        let Some(ear) = self.ears.get_mut(&source) else { return };
        let who = ear.target.who;
        if answered {
            ear.answered = Some(now);
            ear.streak.get_or_insert(now);
            (ear.silences, ear.since) = (0, None);
            if let Who::Witness(witness) = who {
                self.heard[witness] = Some(now);
                self.dark[witness] = None;
                self.clear.entry(witness).or_insert(now);
                for source in std::mem::take(&mut self.silent[witness]) {
                    if let Some(ear) = self.ears.get_mut(&source) {
                        (ear.silences, ear.since) = (0, None);
                    }
                }
            }
            return;
        }
        // One that has been silent all along says nothing new.
        if ear.streak.take().is_some()
            && let Who::Witness(witness) = who
        {
            self.clear.remove(&witness);
        }
        // Somebody else of the same witness has answered since it was asked.
        if matches!(who, Who::Witness(witness) if self.heard[witness].is_some_and(|heard| heard > started)) {
            return;
        }
        ear.silences = ear.silences.saturating_add(1);
        ear.since.get_or_insert(started);
        if let Who::Witness(witness) = who {
            let dark = [self.dark[witness], ear.dark(self.heard[witness])];
            self.dark[witness] = dark.into_iter().flatten().min();
            self.silent[witness].insert(source);
        }
    }

    /// Nobody unrelated to this target is ever asked: its silence must be believed as it is.
    pub fn is_alone(&self, source: Source) -> bool {
        let Some(own) = self.whose(source) else { return true };
        let mut others = (0..self.heard.len()).filter(|witness| !is_same(own, Who::Witness(*witness)));
        own == Who::Anchor || (self.outlook.anchors.is_none() && others.next().is_none())
    }

    /// Whether a silence that began at `started` is the target's own: somebody unrelated vouches for
    /// our way out then, by having answered everything from before it until after. An answer after
    /// it alone may only show that the way is open again.
    pub fn believes(&self, source: Source, started: Mono) -> bool {
        let around = |answered: Option<Mono>, since: Mono| {
            answered.is_some_and(|at| at >= started) && since <= started
        };
        match (self.whose(source), self.outlook.anchors) {
            (None | Some(Who::Anchor), _) => true,
            (_, Some((_, at_least))) if self.anchors_speak(started) => {
                let vouches = |ear: &&Ear| ear.streak.is_some_and(|since| around(ear.answered, since));
                self.anchors().filter(vouches).count() >= at_least
            }
            (Some(own), _) => {
                let mut others =
                    self.clear.iter().filter(|(witness, _)| !is_same(own, Who::Witness(**witness)));
                others.any(|(witness, since)| around(self.heard[*witness], *since))
            }
        }
    }

    /// Whether somebody unrelated has answered since a silence was over.
    pub fn answers_since(&self, source: Source, ended: Mono) -> bool {
        let Some(own) = self.whose(source) else { return false };
        let others =
            self.heard.iter().enumerate().filter(|(witness, _)| !is_same(own, Who::Witness(*witness)));
        let others = others.map(|(_, heard)| *heard).chain(self.anchors().map(|ear| ear.answered));
        others.flatten().any(|at| at >= ended)
    }

    /// It is one of the site's own.
    pub fn is_anchor(&self, source: Source) -> bool {
        self.whose(source) == Some(Who::Anchor)
    }

    fn whose(&self, source: Source) -> Option<Who> {
        self.ears.get(&source).map(|ear| ear.target.who)
    }

    /// When this silence of a target must be believed or not at the latest, counted from its end.
    pub fn patience(&self, source: Source) -> Duration {
        self.whose(source).and_then(|own| self.patience.get(&own)).copied().unwrap_or_default()
    }

    /// When the silences of a target began that nobody has broken since.
    pub fn silent_since(&self, source: Source) -> Option<Mono> {
        self.ears.get(&source)?.since
    }

    /// Decides anew whether this site sees; true if that is otherwise than before.
    pub fn look(&mut self, now: Mono) -> bool {
        match self.blind.take() {
            None => {
                let words = self.darkness();
                self.blind = words.map(|words| Blindness { since: now, words, back: None });
                self.blind.is_some()
            }
            Some(mut blind) => {
                blind.back = match self.sees_enough(blind.since) {
                    true => blind.back.or(Some(now)),
                    false => None,
                };
                let over = blind.back.is_some_and(|back| now.since(back) >= self.steady());
                if !over {
                    self.blind = Some(blind);
                }
                over
            }
        }
    }

    /// Why it takes itself for blind, if it does.
    pub fn blind(&self) -> Option<&Blindness> {
        self.blind.as_ref()
    }

    // ── what is dark ──

    /// Since when too few anchors pass; none if enough do, or may.
    fn anchors_dark(&self) -> Option<Mono> {
        let (count, at_least) = self.outlook.anchors?;
        let mut dark: Vec<Mono> = self
            .anchors()
            .filter(|ear| ear.silences >= ear.target.fall)
            .filter_map(|ear| ear.since)
            .collect();
        dark.sort_unstable();
        // With this one the quorum was gone.
        dark.get(count - at_least).copied()
    }

    /// Whether the anchors have a say about a silence that began at `started`: there are some, and
    /// they were not dark already.
    fn anchors_speak(&self, started: Mono) -> bool {
        self.outlook.anchors.is_some()
            && self.anchors_dark().is_none_or(|dark| dark + self.together >= started)
    }

    fn anchors(&self) -> impl Iterator<Item = &Ear> {
        self.anchors.iter().filter_map(|source| self.ears.get(source))
    }

    /// For how long enough must answer before it is believed: time to ask everybody once.
    fn steady(&self) -> Duration {
        self.together
    }

    /// Why it must take itself for blind, if it must.
    fn darkness(&self) -> Option<String> {
        let dark: Vec<(usize, Mono)> =
            (0..self.heard.len()).filter_map(|witness| Some((witness, self.dark[witness]?))).collect();
        let apart = |a: Mono, b: Mono| a.since(b).max(b.since(a));
        let newest = dark.iter().map(|(_, since)| *since).max()?;
        if self.anchors_speak(newest) {
            let anchors = self.anchors_dark()?;
            let with: Vec<&str> = dark
                .iter()
                .filter(|(_, since)| apart(*since, anchors) <= self.together)
                .map(|(witness, _)| self.names[*witness].as_str())
                .collect();
            return (!with.is_empty()).then(|| {
                format!("{} fell silent together with the anchors of `self_check`", with.join(", "))
            });
        }
        if dark.len() < 2 || dark.len() < self.heard.len() {
            return None;
        }
        let with: Vec<&str> = dark
            .iter()
            .filter(|(_, since)| apart(*since, newest) <= self.together)
            .map(|(witness, _)| self.names[*witness].as_str())
            .collect();
        (with.len() >= 2)
            .then(|| format!("{} fell silent together, and nobody else answers", with.join(", ")))
    }

    /// Whether enough answers again for the blindness that began then to be over.
    fn sees_enough(&self, since: Mono) -> bool {
        let mut clear = (0..self.heard.len()).map(|witness| self.is_clear(witness, since));
        match self.outlook.anchors {
            Some((_, at_least)) => {
                let passing = self.anchors().filter(|ear| ear.silences == 0 && ear.answered > Some(since));
                passing.count() >= at_least || clear.all(|clear| clear)
            }
            None => clear.any(|clear| clear),
        }
    }

    /// A witness was heard since then, and none of its targets was silent after that.
    fn is_clear(&self, witness: usize, since: Mono) -> bool {
        self.heard[witness] > Some(since) && self.dark[witness].is_none()
    }
}

/// Whether one target shares the fate of another.
fn is_same(own: Who, other: Who) -> bool {
    match own {
        Who::Teller(witness) => witness.map(Who::Witness) == Some(other),
        own => own == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Source as Text;
    use crate::config::{self, Config, Surroundings};

    fn config(regions: &str) -> Config {
        let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
        let text = format!(
            "version: 1\nmode: act\nsite: {{name: a}}\nlisten: {{dns: [\"127.0.0.1:53\"]}}\n\
             defaults: {{check: {{interval: 5s, timeout: 2s, fall: 2, rise: 3}}}}\nregions:\n{regions}"
        );
        match config::parse(&Text::new("c.yaml", text), &around) {
            Ok((config, _)) => config,
            Err(mistakes) => panic!("{}", mistakes.render(false)),
        }
    }

    fn region(name: &str, address: &str) -> String {
        format!("  {name}: {{layers: {{reach: [{{tcp: {{address: \"{address}\"}}}}]}}}}\n")
    }

    fn outlook(regions: &str) -> Vec<usize> {
        Outlook::of(&config(regions)).witnesses.iter().map(Vec::len).collect()
    }

    #[test]
    fn regions_that_share_an_address_are_one_witness() {
        let [a, b, c] =
            [region("a", "192.0.2.1:80"), region("b", "192.0.2.1:81"), region("c", "c.example:80")];
        assert_eq!(outlook(&format!("{a}{b}{c}")), [2, 1]);
        assert_eq!(outlook(&format!("{}{c}", region("d", "C.example.:443"))), [2], "one name, spelt twice");
        let own = [region("a", "127.0.0.1:1"), region("b", "localhost:2"), region("c", "[::1]:3")].concat();
        assert_eq!(outlook(&own), [3], "all of them are this machine");
        // a and b share one address, b and c another: none of them is unrelated to the others.
        let both = "  b: {layers: {reach: [{tcp: {address: \"192.0.2.1:80\"}}, {tcp: {address: \"c.example:80\"}}]}}\n";
        assert_eq!(outlook(&format!("{a}{c}{both}")), [3]);
        assert_eq!(outlook(&format!("{a}  e: {{}}\n")), [1], "who is never probed is no witness");
    }

    #[test]
    fn who_tells_by_itself_needs_the_word_of_others_and_vouches_for_nobody() {
        let push = |region: &str| {
            format!(
                "  {region}: {{layers: {{service: [{{push: {{name: {region}, token: {{env: T}}, ttl: 9s}}}}]}}}}\n"
            )
        };
        let at = |second: u64| Mono(Duration::from_secs(second));
        let two = config(&format!("{}{}", region("a", "192.0.2.1:80"), push("b")));
        let mut sight = Sight::new(Outlook::of(&two), |region| two.regions.name(region));
        let (asked, teller) = (Source::Check(CheckId(0)), Source::Check(CheckId(1)));
        assert!(sight.is_alone(asked), "nobody else is asked");
        assert!(!sight.is_alone(teller) && !sight.believes(teller, at(10)));
        sight.hear(asked, true, at(5), at(5));
        sight.hear(asked, true, at(25), at(25));
        assert!(sight.believes(teller, at(10)), "we were in touch with somebody all the time");
        assert!(!sight.believes(teller, at(3)), "and not before");
        // Reports that arrive show no way out.
        sight.hear(teller, true, at(26), at(26));
        assert!(!sight.answers_since(asked, at(26)) && !sight.believes(asked, at(26)));
        // The region's own checks are no strangers.
        let own = "  a: {layers: {reach: [{tcp: {address: \"192.0.2.1:80\"}}], service: [{push: {name: b, token: {env: T}, ttl: 9s}}]}}\n";
        let one = config(own);
        let sight = Sight::new(Outlook::of(&one), |region| one.regions.name(region));
        assert!(sight.is_alone(teller), "there is nobody to ask");
        let alone = config(&format!("{own}{}", region("c", "192.0.2.3:80")));
        let mut sight = Sight::new(Outlook::of(&alone), |region| alone.regions.name(region));
        for second in [5, 25] {
            sight.hear(Source::Check(CheckId(0)), true, at(second), at(second));
        }
        assert!(!sight.is_alone(teller) && !sight.believes(teller, at(10)));
    }

    /// Every second a letter for each region: `a`nswers, `s`ilent, `.` not probed. What comes of it:
    /// `B` blind.
    fn run(seconds: &[&str]) -> (Sight, String) {
        let count = seconds[0].len();
        let text: String = (0..count).map(|n| region(&format!("r{n}"), &format!("192.0.2.{n}:80"))).collect();
        let config = config(&text);
        let mut sight = Sight::new(Outlook::of(&config), |region| config.regions.name(region));
        let mut seen = String::new();
        for (n, letters) in seconds.iter().enumerate() {
            let now = Mono(Duration::from_secs(100 + n as u64));
            for (check, letter) in letters.chars().enumerate().filter(|(_, letter)| *letter != '.') {
                let source = Source::Check(CheckId(check as u32));
                sight.hear(source, letter == 'a', Mono(now.0 - Duration::from_millis(500)), now);
            }
            sight.look(now);
            seen.push(if sight.blind().is_some() { 'B' } else { '.' });
        }
        (sight, seen)
    }

    #[test]
    fn blind_once_all_are_silent_as_often_as_it_takes_to_fail() {
        assert_eq!(run(&["aa", "ss", "ss"]).1, "..B");
        assert_eq!(run(&["aa", "ss", "sa", "ss"]).1, "....", "one of them answered in between");
        assert_eq!(run(&["aaa", "ssa", "ssa", "ssa"]).1, "....", "somebody answers");
        assert_eq!(run(&["a", "s", "s", "s"]).1, "....", "there is nothing to compare with");
        assert_eq!(run(&["ss", "ss"]).1, ".B", "nobody has answered since the start");
    }

    #[test]
    fn who_is_dark_is_kept_up_to_date() {
        let mut rng = fastrand::Rng::with_seed(9);
        let two = |name: &str, net: &str| {
            let tcp = |host: u8| format!("{{tcp: {{address: \"{net}.{host}:80\"}}}}");
            format!("  {name}: {{layers: {{reach: [{}, {}]}}}}\n", tcp(1), tcp(2))
        };
        let config = config(&[two("a", "192.0.2"), two("b", "198.51.100")].concat());
        let mut dark = 0;
        for _ in 0..100 {
            let mut sight = Sight::new(Outlook::of(&config), |region| config.regions.name(region));
            let mut now = Mono(Duration::from_secs(100));
            for _ in 0..40 {
                let started = now;
                now = now + Duration::from_millis(rng.u64(1..5000));
                let source = Source::Check(CheckId(rng.u32(0..4)));
                sight.hear(source, rng.u32(0..4) == 0, started, now);
                // What is kept as results come in is what all of them together make.
                let anew = Sight::new(sight.outlook.clone(), |_| "").resumed(&sight, Some);
                assert_eq!(sight.dark, anew.dark);
                dark += sight.dark.iter().flatten().count();
            }
        }
        assert!(dark > 500, "{dark}");
    }

    #[test]
    fn a_region_that_has_long_been_dead_is_no_sign() {
        let mut seconds = vec!["aa"];
        seconds.extend(vec!["sa"; 60]);
        seconds.extend(vec!["ss"; 60]);
        assert!(!run(&seconds).1.contains('B'));
        let mut seconds = vec!["aaa"];
        seconds.extend(vec!["saa"; 60]);
        seconds.extend(["sss", "sss"]);
        assert!(run(&seconds).1.ends_with(".B"), "the other two fell silent together");
    }

    #[test]
    fn sees_again_once_somebody_has_answered_for_a_round() {
        let mut seconds = vec!["aa", "ss", "ss"];
        seconds.extend(vec!["as"; 20]);
        // A round takes 7.25 s: an interval with its jitter, and the timeout.
        assert_eq!(run(&seconds).1, "..BBBBBBBBB............");
        let mut seconds = vec!["aa", "ss", "ss", "aa", "aa", "ss", "ss"];
        seconds.extend(vec!["aa"; 9]);
        assert_eq!(run(&seconds).1, "..BBBBBBBBBBBBB.", "it begins anew when all are silent again");
    }

    #[test]
    fn who_was_silent_too_vouches_for_nobody() {
        let at = |second: u64| Mono(Duration::from_millis(second * 1000 - 500));
        let source = Source::Check(CheckId(0));
        let (sight, _) = run(&["aa", "sa", "s.", "sa"]);
        assert!(sight.believes(source, at(101)) && sight.believes(source, at(103)));
        let (sight, _) = run(&["aa", "ss", "sa"]);
        assert!(!sight.believes(source, at(101)), "the way out is open again, and was not then");
        assert!(sight.answers_since(source, at(102)));
        let (sight, _) = run(&["aa", "s."]);
        assert!(!sight.believes(source, at(101)), "nobody has answered since");
    }
}
