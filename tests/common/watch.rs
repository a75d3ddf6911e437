//! Watching a group as the daemon does, from a host of a network: its probes at their times,
//! and what is made of every round.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pointsman::cluster::{Judgement, Memory, Round, Standing, judge};
use pointsman::config::Config;
use pointsman::io::{Clock, Net as Out};
use pointsman::probe::{Probes, Report};

use super::net::Net;
use super::now;

/// One round and its judgement, after the other.
pub struct Watch {
    rounds: Receiver<(Round, Judgement)>,
    /// Everything that came since it was last cleared.
    pub seen: Vec<(Round, Judgement)>,
}

impl Watch {
    /// Watches the only group of a configuration, from a host.
    pub fn start(net: &Net, host: usize, config: &Arc<Config>) -> Self {
        let (tell, rounds) = channel();
        let config = Arc::clone(config);
        let (id, group) = config.groups.iter().next().map(|(id, group)| (id, group.clone())).unwrap();
        net.within(host, async move {
            let cluster = &config.clusters[group.cluster];
            let (_probes, mut reports) = Probes::start(&Out::new(), &config);
            let mut memory = Memory::default();
            while let Some(report) = reports.recv().await {
                let Report::Round(round) = report else { continue };
                assert_eq!(round.group, id);
                let judgement = judge(cluster, &group, &round, &mut memory, Clock.mono());
                if tell.send((round, judgement)).is_err() {
                    return;
                }
            }
        });
        Self { rounds, seen: Vec::new() }
    }

    /// The next round that is judged so. What came before may be anything but what is named in
    /// `never`.
    #[track_caller]
    pub fn until(&mut self, wanted: Standing, never: &[Standing], within: Duration) -> (Round, Judgement) {
        self.until_so(wanted, never, within, |_, _| true)
    }

    /// The same, of which this holds too.
    #[track_caller]
    pub fn until_so(
        &mut self,
        wanted: Standing,
        never: &[Standing],
        within: Duration,
        so: impl Fn(&Round, &Judgement) -> bool,
    ) -> (Round, Judgement) {
        let started = now();
        loop {
            let next = self.rounds.recv_timeout(Duration::from_secs(15)).expect("rounds go on");
            self.seen.push(next.clone());
            let verdict = next.1.verdict;
            assert!(!never.contains(&verdict), "never {verdict:?}: {}", self.story());
            if verdict == wanted && so(&next.0, &next.1) {
                return next;
            }
            assert!(now() - started < within, "not {wanted:?} within {within:?}: {}", self.story());
        }
    }

    /// For so long, nothing but these.
    #[track_caller]
    pub fn only(&mut self, allowed: &[Standing], span: Duration) {
        let started = now();
        while now() - started < span {
            let next = self.rounds.recv_timeout(Duration::from_secs(15)).expect("rounds go on");
            self.seen.push(next.clone());
            assert!(allowed.contains(&next.1.verdict), "only {allowed:?}: {}", self.story());
        }
    }

    /// What came last, for a person.
    fn story(&self) -> String {
        let last = self.seen.iter().rev().take(12).rev();
        let words = |(round, judgement): &(Round, Judgement)| {
            let views: Vec<&str> = round.views.iter().map(|view| view.word()).collect();
            let Judgement { verdict, reason, .. } = judgement;
            format!("\n{verdict:?}: {reason} {views:?}")
        };
        let tail = self.seen.last().map(|(round, _)| format!("\n{round:#?}")).unwrap_or_default();
        last.map(words).collect::<String>() + &tail
    }
}
