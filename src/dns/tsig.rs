//! Ordinary questions with a signature (RFC 8945 §5): looked at, answered as any other, and the
//! answer signed. Rare, and the one kind of question that allocates; without a key nobody gets
//! further than a refusal.

use super::answer::{Asker, judge, limit, reply, slip};
use super::cookie::Standing;
use super::desk::Desk;
use super::limit::{Kind, Sentence};
use super::message::{Ending, Packer};
use super::transfer::head;
use crate::table::Table;
use crate::transfer::{Checked, check};
use crate::wire::{Query, Rcode};

/// Answers a question whose last record is a signature.
#[cold]
#[inline(never)]
pub(super) fn answer(
    message: &[u8],
    query: &Query<'_>,
    out: &mut [u8],
    table: &Table,
    asker: &Asker,
    desk: &mut Desk,
) -> Option<usize> {
    let now = u64::from(desk.now);
    let room = limit(asker.transport, query.edns.as_ref()).min(out.len());
    let checked = check(message, table.zones().keys(), now);
    let answer = match checked {
        Checked::Good(mut signature) => {
            // What is left for the answer has to leave room for our own signature.
            let room = room.checked_sub(signature.signer.octets())?;
            let len = reply(&signature.request, out.get_mut(..room)?, table, asker, desk)?;
            let mut answer = out.get(..len)?.to_vec();
            // The id that this one goes back with is the one that it came with (RFC 8945 §5.2).
            answer.first_chunk_mut::<2>()?.copy_from_slice(message.get(..2)?);
            signature.signer.sign(&mut answer, now);
            answer
        }
        refused => {
            let rcode = if matches!(refused, Checked::Malformed) { Rcode::FORMERR } else { Rcode::NOTAUTH };
            let mut packer = Packer::new(&head(message, &query.question), room);
            packer.set_rcode(rcode);
            match judge((Kind::Error, 0), table, asker, Standing::Stranger, desk) {
                Sentence::Send => {}
                Sentence::Slip => return slip(message, query, out, table, asker, desk),
                Sentence::Drop => return None,
            }
            let mut answer = packer.finish(Ending::to(query.edns.as_ref(), false), 0);
            refused.refusal(&mut answer, now);
            desk.counts.add_rcode(rcode);
            answer
        }
    };
    out.get_mut(..answer.len())?.copy_from_slice(&answer);
    Some(answer.len())
}
