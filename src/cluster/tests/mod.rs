//! One truth table for all families: every voter in every state, over one, two and three regions, with
//! what is out of sight doing one thing or another.
//!
//! A model of the world knows whether a majority can commit (`world.rs`); each system tells of it what
//! it would, lies included (`systems.rs`); the judge hears that for long enough. Then:
//! * a group that can commit was never for a moment called lost, nor a region whose voters take part,
//! * one that cannot is called lost, unless it could be otherwise by all that is seen,
//! * what is seen to have a quorum has as many to spare as is true.

mod systems;
mod world;

use self::systems::System;
use self::world::{STATES, Unheard, Voter, World};
use super::bench::{self, SECOND};
use super::{Judgement, Linearizable, LinearizableResult, Memory, NodeView, Round, Standing, judge};
use crate::base::{GroupId, Mono, RegionId};
use crate::config::{Cluster, Group, Member};

use Standing::{Degraded, Electing, NoQuorum, Quorum, Unknown, Unreachable};

/// How the voters are spread over regions; which region is the bigger one does not matter.
const SIZES: [&[usize]; 8] = [&[3], &[2, 1], &[1, 1, 1], &[5], &[4, 1], &[3, 2], &[3, 1, 1], &[2, 2, 1]];

/// Between rounds; the time to truth is five seconds.
const PACE: std::time::Duration = std::time::Duration::from_secs(2);

/// One system that is asked round by round.
struct Watch<'a> {
    system: &'a System,
    cluster: &'a Cluster,
    group: &'a Group,
    memory: Memory,
    now: Mono,
    turn: usize,
}

impl Watch<'_> {
    fn round(&mut self, world: &World) -> Judgement {
        self.now = self.now + PACE;
        let view = |n: usize| match world.voters[n] {
            Voter::Refused => NodeView::Refused("refused".to_owned()),
            Voter::Silent if denies(n) => NodeView::Denied("who are you?".to_owned()),
            Voter::Silent => NodeView::Silent("silent".to_owned()),
            _ => NodeView::Answered((self.system.facts)(world, n)),
        };
        let views: Vec<NodeView> = (0..world.voters.len()).map(view).collect();
        let answering: Vec<usize> = (0..world.voters.len()).filter(|n| world.answers(*n)).collect();
        let linearizable = self.system.proofs.filter(|_| !answering.is_empty()).map(|can| {
            self.turn += 1;
            let member = answering[self.turn % answering.len()];
            let result = match world.voters[member] {
                _ if !can(world, member) => LinearizableResult::Unmeasured("not of this one".to_owned()),
                Voter::Up if world.takes_part(member) => LinearizableResult::Passed,
                Voter::Up | Voter::Electing => LinearizableResult::NoQuorum("no leader".to_owned()),
                _ => LinearizableResult::Hung,
            };
            Linearizable { at: self.now, member, result }
        });
        let round = Round { group: GroupId(0), views, linearizable, took: SECOND };
        judge(self.cluster, self.group, &round, &mut self.memory, self.now)
    }
}

/// Some of those that tell nothing at least say so.
fn denies(n: usize) -> bool {
    n.is_multiple_of(2)
}

/// What may be said of the group once the truth has had its time.
fn of_group(world: &World, across: bool) -> &'static [Standing] {
    let majority = world.majority();
    let (up, refused, silent) =
        (world.count(Voter::Up), world.count(Voter::Refused), world.count(Voter::Silent));
    let answering = (0..world.voters.len()).filter(|n| world.answers(*n)).count();
    let may_go_on = across && silent >= majority;
    match world.commits() && world.unheard != Unheard::Elsewhere {
        true if up > majority => &[Quorum],
        true if up == majority => &[Degraded],
        // It is there, and too little of it is seen: what is proven counts for a moment.
        true => &[Degraded, Quorum, Unknown, Electing],
        false if refused >= majority => &[NoQuorum],
        false if answering == 0 => &[Unreachable, Unknown],
        false if may_go_on => &[Unknown],
        false => &[NoQuorum],
    }
}

/// What may be said of a region, with this said of its group.
fn of_region(world: &World, region: u16, group: Standing) -> Vec<Standing> {
    let all = |so: &dyn Fn(usize) -> bool| world.in_region(region).all(so);
    let cut_off = !all(&|n| !world.answers(n));
    let takes_part = !all(&|n| !(world.voters[n] == Voter::Up && world.takes_part(n)));
    match group {
        Quorum | Degraded if takes_part => vec![group],
        Quorum | Degraded if cut_off => vec![NoQuorum],
        Quorum | Degraded if all(&|n| world.voters[n] == Voter::Refused) => vec![Degraded],
        Quorum | Degraded => vec![Unknown],
        Unknown | Electing if takes_part => vec![group],
        // Where others go on that are out of sight, those here may or may not have found out.
        Unknown | Electing if cut_off && world.commits() => vec![NoQuorum, group],
        Unknown if cut_off => vec![NoQuorum],
        other => vec![other],
    }
}

/// Holds a system to the truth in every world; tells in how many.
fn holds(system: &System) -> usize {
    let states: Vec<Voter> = match system.proofs {
        Some(_) => STATES.to_vec(),
        // What persists without a proof is an old leader beside the new one at the most.
        None => vec![Voter::Up, Voter::Refused, Voter::Silent, Voter::Old, Voter::Electing],
    };
    let cluster = bench::cluster(system.kind.clone());
    let mut worlds = 0;
    for sizes in SIZES {
        let n: usize = sizes.iter().sum();
        let across = sizes.len() > 1;
        let regions = (0u16..).zip(sizes).flat_map(|(region, size)| vec![region; *size]);
        let members = regions
            .clone()
            .enumerate()
            .map(|(n, region)| Member { region: RegionId(region), endpoint: (system.endpoint)(n) });
        let group = bench::group(members, !across);
        let mut well = Watch {
            system,
            cluster: &cluster,
            group: &group,
            memory: Memory::default(),
            now: Mono(100 * SECOND),
            turn: 0,
        };
        let healthy =
            World { voters: vec![Voter::Up; n], regions: regions.collect(), unheard: Unheard::Down };
        for _ in 0..n + 4 {
            well.round(&healthy);
        }
        assert_eq!(well.round(&healthy).verdict, Quorum);
        for world in World::all(sizes, &states) {
            if system.proofs.is_none() && world.count(Voter::Old) > 0 && !world.commits() {
                continue;
            }
            worlds += 1;
            let mut watch = Watch { memory: well.memory.clone(), ..well };
            let mut judged = watch.round(&world);
            // Every voter is asked twice for what takes a quorum.
            for _ in 0..2 * n {
                let story = || format!("{world:?}: {judged:#?}");
                let lost = |standing: Standing| matches!(standing, NoQuorum | Standing::SplitBrain);
                assert!(!(world.commits() && lost(judged.verdict)), "a lie on the way: {}", story());
                for n in (0..n).filter(|n| world.voters[*n] == Voter::Up && world.takes_part(*n)) {
                    let standing = judged.regions[&RegionId(world.regions[n])].0;
                    assert!(!lost(standing), "a lie of region {} on the way: {}", world.regions[n], story());
                }
                judged = watch.round(&world);
            }
            let allowed = of_group(&world, across);
            assert!(allowed.contains(&judged.verdict), "not {allowed:?}: {world:?}: {judged:#?}");
            for region in (0..sizes.len() as u16).filter(|_| across) {
                let allowed = of_region(&world, region, judged.verdict);
                let standing = judged.regions[&RegionId(region)].0;
                assert!(
                    allowed.contains(&standing),
                    "region {region} not {allowed:?}: {world:?}: {judged:#?}"
                );
            }
        }
    }
    worlds
}

macro_rules! truth {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            let worlds = holds(&systems::$name());
            assert!(worlds > 2_000, "only {worlds} worlds");
        }
    )*};
}

truth!(etcd, without_terms, anonymous, listed, leased, mongodb, component, peers, live);
