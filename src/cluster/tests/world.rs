//! A model of the world that knows the truth: what has become of each voter, who sees whom, and
//! whether any of them can commit.

use std::collections::BTreeSet;

/// Before anything happened.
pub const TERM: u64 = 10;

/// What has become of one voter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Voter {
    /// It lives, and sees the others that do.
    Up,
    /// Its process is gone.
    Refused,
    /// Nothing is heard of it.
    Silent,
    /// It is cut off and has not noticed: it repeats what was true last, and what takes a quorum hangs.
    Hung,
    /// The same, since a term before: it follows the wrong leader.
    Lagging,
    /// The same, and leads in a term before.
    Old,
    /// It is cut off, and knows of no leader.
    Electing,
}

pub const STATES: [Voter; 7] =
    [Voter::Up, Voter::Refused, Voter::Silent, Voter::Hung, Voter::Lagging, Voter::Old, Voter::Electing];

/// What those do of whom nothing is heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unheard {
    /// They are stopped.
    Down,
    /// They go on with those that are up; one that is up leads, if any is.
    Along,
    /// They go on with those that are up, and one of theirs leads.
    Ahead,
    /// They go on without those that are up, who are cut off.
    Elsewhere,
}

/// Voters, where they are, and what they do.
#[derive(Clone, Debug)]
pub struct World {
    pub voters: Vec<Voter>,
    pub regions: Vec<u16>,
    pub unheard: Unheard,
}

impl World {
    pub fn count(&self, voter: Voter) -> usize {
        self.voters.iter().filter(|it| **it == voter).count()
    }

    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// The truth: a majority lives and sees each other.
    pub fn commits(&self) -> bool {
        let (up, silent) = (self.count(Voter::Up), self.count(Voter::Silent));
        let together = match self.unheard {
            Unheard::Down => up,
            Unheard::Along | Unheard::Ahead => up + silent,
            Unheard::Elsewhere => silent,
        };
        together >= self.majority()
    }

    /// It is one of those that can commit.
    pub fn takes_part(&self, n: usize) -> bool {
        let able = match self.voters[n] {
            Voter::Up => self.unheard != Unheard::Elsewhere,
            Voter::Silent => self.unheard != Unheard::Down,
            _ => false,
        };
        able && self.commits()
    }

    pub fn answers(&self, n: usize) -> bool {
        !matches!(self.voters[n], Voter::Refused | Voter::Silent)
    }

    /// Who led before anything happened, in this term.
    pub fn first_leader(&self) -> usize {
        self.voters.len() - 1
    }

    /// Who leads now, and in which term; the last one that did, where none can.
    pub fn leader(&self) -> (usize, u64) {
        let able = |n: &usize| {
            self.takes_part(*n) && (self.unheard != Unheard::Ahead || self.voters[*n] == Voter::Silent)
        };
        let seen = (0..self.voters.len()).filter(able).min_by_key(|n| {
            // Nobody is elected anew while the first leader lives, and a voter that is up before others.
            (*n != self.first_leader(), self.voters[*n], *n)
        });
        match seen {
            Some(n) if n != self.first_leader() => (n, TERM + 1),
            _ => (self.first_leader(), TERM),
        }
    }

    /// Whom a voter that answers takes for the leader, and in which term; `None` for none.
    pub fn names(&self, n: usize) -> Option<(Option<usize>, u64)> {
        match self.voters[n] {
            Voter::Up if self.takes_part(n) => Some(self.leader()).map(|(leader, term)| (Some(leader), term)),
            Voter::Hung if n == self.first_leader() => Some((Some(n), TERM)),
            Voter::Hung => Some(self.leader()).map(|(leader, term)| (Some(leader), term)),
            // Each of a term of its own: no term has two leaders.
            Voter::Old => {
                let older = self.voters[..n].iter().filter(|voter| **voter == Voter::Old).count() as u64;
                Some((Some(n), TERM - 1 - older))
            }
            // An old leader, or one that is gone.
            Voter::Lagging => Some((self.voters.iter().position(|voter| *voter == Voter::Old), TERM - 1)),
            Voter::Up | Voter::Electing | Voter::Refused | Voter::Silent => None,
        }
    }

    pub fn in_region(&self, region: u16) -> impl Iterator<Item = usize> {
        (0..self.voters.len()).filter(move |n| self.regions[*n] == region)
    }

    /// All worlds with so many voters in each region and these states, but for those that differ only in
    /// which of the voters of a region, or of regions alike, is which.
    pub fn all(sizes: &[usize], states: &[Voter]) -> Vec<Self> {
        let regions: Vec<u16> = (0u16..).zip(sizes).flat_map(|(region, size)| vec![region; *size]).collect();
        let mut worlds = Vec::new();
        let mut known = BTreeSet::new();
        for code in 0..states.len().pow(regions.len() as u32) {
            let voter = |n: u32| states[code / states.len().pow(n) % states.len()];
            let voters: Vec<Voter> = (0..regions.len() as u32).map(voter).collect();
            let mut by_region: Vec<Vec<Voter>> = Vec::new();
            let mut rest = voters.as_slice();
            for size in sizes {
                let (local, others) = rest.split_at(*size);
                by_region.push(local.to_vec());
                rest = others;
            }
            by_region.iter_mut().for_each(|local| local.sort_unstable());
            by_region.sort_unstable();
            if !known.insert(by_region) {
                continue;
            }
            let world = |unheard| Self { voters: voters.clone(), regions: regions.clone(), unheard };
            let unheard = [Unheard::Down, Unheard::Along, Unheard::Ahead, Unheard::Elsewhere];
            let possible = |world: &Self| {
                let (up, silent) = (world.count(Voter::Up), world.count(Voter::Silent));
                match world.unheard {
                    Unheard::Down => true,
                    Unheard::Along => silent > 0 && up > 0 && up < world.majority() && world.commits(),
                    Unheard::Ahead => silent > 0 && up > 0 && world.commits(),
                    // Inside one region a voter that is cut off by its own word has looked for them, too.
                    Unheard::Elsewhere => sizes.len() > 1 && world.commits(),
                }
            };
            worlds.extend(unheard.map(world).into_iter().filter(possible));
        }
        worlds
    }
}
