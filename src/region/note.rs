//! What is out of the ordinary about an answer, for those who ask for more than addresses.

use super::{Choice, Seat};
use crate::base::{Named, RegionId};

/// What is out of the ordinary about what a service answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Note {
    /// Nothing.
    #[default]
    Plain,
    /// A region that is answered cannot be measured: it is held to what was last known of it.
    Held,
    /// An operator vouches for a region that is answered.
    Forced,
    /// No region that is answered is fit to serve, or none is answered at all.
    Unfit,
}

impl Note {
    /// What is to be said of answers that lead to these regions, whichever of them a client is
    /// led to. What weighs more is said first.
    pub fn on(answered: &Choice, seats: &Named<RegionId, Seat>) -> Self {
        let [mut fit, mut forced, mut held] = [false; 3];
        answered.each_region(&mut |region| {
            let seat = &seats[region];
            fit |= seat.fit();
            forced |= seat.forced;
            held |= seat.veiled && seat.known.is_some();
        });
        match (fit, forced, held) {
            (false, ..) => Self::Unfit,
            (_, true, _) => Self::Forced,
            (_, _, true) => Self::Held,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::Health;
    use crate::region::Pick;

    #[test]
    fn the_weightiest_thing_is_said() {
        let plain = Seat {
            known: Some(Health::Healthy),
            veiled: false,
            drained: false,
            forced: false,
            held: false,
            quarantined: false,
            could_change_in: Duration::ZERO,
        };
        let mut seats = Named::default();
        let [fine, lost, forced, veiled, unseen] = [
            plain,
            Seat { known: Some(Health::NoQuorum), ..plain },
            Seat { known: Some(Health::NoQuorum), forced: true, ..plain },
            Seat { veiled: true, ..plain },
            Seat { known: None, veiled: true, ..plain },
        ]
        .map(|seat| seats.push(&format!("region{}", seats.len()), seat).unwrap());
        for (answered, expected) in [
            (&[fine][..], Note::Plain),
            (&[fine, lost], Note::Plain),
            (&[unseen], Note::Plain),
            (&[fine, veiled], Note::Held),
            (&[veiled, forced], Note::Forced),
            (&[forced], Note::Forced),
            (&[lost], Note::Unfit),
            (&[], Note::Unfit),
        ] {
            let pick = if answered.is_empty() { Pick::Nodata } else { Pick::All(answered.to_vec()) };
            assert_eq!(Note::on(&Choice::of(pick, 1), &seats), expected, "{answered:?}");
        }
    }
}
