//! Saying no with one record: compact denial of existence (RFC 9824).
//!
//! Each NSEC record stands at the name that was asked for and leads to the very next name there
//! could be, so that it speaks of that name alone: of the types that are there, or, by the type
//! NXNAME, of the name's absence. Nobody can walk the zone along such records, and what a cache
//! concludes from them (RFC 8198) never touches another name.

use crate::wire::{NAME_OCTETS_MAX, RecordType, write_bitmap};

/// What an NSEC record that says that a name does not exist has in its bitmap (RFC 9824 §3.1):
/// RRSIG, NSEC, NXNAME.
pub const NXNAME_BITMAP: [u8; 19] = [0, 17, 0, 0, 0, 0, 0, 0b11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];

/// Appends the RDATA of an NSEC record at `owner`.
pub fn push_nsec(owner: &[u8], bitmap: &[u8], out: &mut Vec<u8>) {
    push_successor(owner, out);
    out.extend_from_slice(bitmap);
}

/// Appends the bitmap of a name that has these types; RRSIG and NSEC are there always.
pub fn push_bitmap(types: &mut Vec<RecordType>, out: &mut Vec<u8>) {
    types.extend([RecordType::RRSIG, RecordType::NSEC]);
    write_bitmap(types, out);
}

/// Appends the next name there could be in canonical order: the owner with a label of one zero
/// octet before it, or if that is too long, what RFC 4471 §3.1.1 makes of it.
fn push_successor(owner: &[u8], out: &mut Vec<u8>) {
    if owner.len() + 2 <= NAME_OCTETS_MAX {
        out.extend([1, 0]);
        out.extend_from_slice(owner);
        return;
    }
    // No name fits below this one: the next one is a sibling, or an ancestor's.
    let mut rest = owner;
    while let Some((&len, after)) = rest.split_first() {
        let Some((label, above)) = after.split_at_checked(usize::from(len)) else { break };
        if len == 0 {
            break;
        }
        if rest.len() < NAME_OCTETS_MAX && usize::from(len) < crate::wire::LABEL_OCTETS_MAX {
            out.push(len + 1);
            out.extend_from_slice(label);
            out.push(0);
            out.extend_from_slice(above);
            return;
        }
        if let Some(last) = label.iter().rposition(|octet| *octet != 0xff) {
            out.push(last as u8 + 1);
            out.extend_from_slice(&label[..last]);
            // Upper-case letters do not occur: after `@` comes `[`.
            out.push(if label[last] == b'@' { b'[' } else { label[last] + 1 });
            out.extend_from_slice(above);
            return;
        }
        rest = above;
    }
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;

    fn successor(owner: &[u8]) -> Name {
        let mut out = Vec::new();
        push_successor(owner, &mut out);
        Name::from_wire(&out).unwrap()
    }

    #[test]
    fn absence_is_three_types() {
        let mut out = Vec::new();
        push_bitmap(&mut vec![RecordType::NXNAME], &mut out);
        assert_eq!(out, NXNAME_BITMAP);
    }

    #[test]
    fn the_next_name_is_the_next_name() {
        assert_eq!(successor(Name::parse("a.x").unwrap().as_wire()), Name::parse(r"\000.a.x").unwrap());
        let label = |octet: u8, len: usize| [&[len as u8][..], &vec![octet; len]].concat();
        let tail = [label(b'a', 63), label(b'a', 63), label(b'a', 63)].concat();
        for first in [
            label(b'b', 61),
            label(b'b', 60),
            [label(b'b', 59), vec![]].concat(),
            [&[61][..], &[b'b'; 60], b"@"].concat(),
            label(0xff, 61),
            [label(0xff, 58), label(b'a', 1)].concat(),
        ] {
            let owner = Name::from_wire(&[&first[..], &tail, &[0]].concat()).unwrap();
            let next = successor(owner.as_wire());
            assert!(next > owner, "{owner} {next}");
            assert!(next.as_wire().len() <= NAME_OCTETS_MAX);
        }
    }
}
