//! Sets of record types as bitmaps in windows (RFC 4034 §4.1.2).

use super::RecordType;

/// Appends the bitmap of a set of types.
pub fn write_bitmap(types: &mut Vec<RecordType>, out: &mut Vec<u8>) {
    types.sort_unstable();
    types.dedup();
    for window in types.chunk_by(|a, b| a.0 >> 8 == b.0 >> 8) {
        let mut bits = [0u8; 32];
        let mut len = 0;
        for rtype in window {
            let bit = usize::from(rtype.0 & 255);
            bits[bit / 8] |= 0x80 >> (bit % 8);
            len = bit / 8 + 1;
        }
        out.extend([(window[0].0 >> 8) as u8, len as u8]);
        out.extend_from_slice(&bits[..len]);
    }
}

/// The types in a bitmap, in order.
pub fn read_bitmap(bitmap: &[u8]) -> impl Iterator<Item = RecordType> {
    windows(bitmap).flat_map(|(window, bits)| {
        let base = u16::from(window) << 8;
        (0..bits.len() * 8)
            .filter(|bit| bits[bit / 8] & 0x80 >> (bit % 8) != 0)
            .map(move |bit| RecordType(base | bit as u16))
    })
}

/// Whether these octets are a bitmap: windows in order, each with 1 to 32 octets and none of
/// them idle at its end.
pub fn is_bitmap(octets: &[u8]) -> bool {
    let mut last = None;
    let mut len = 0;
    for (window, bits) in windows(octets) {
        if last >= Some(window) || bits.len() > 32 || bits.last().is_none_or(|last| *last == 0) {
            return false;
        }
        last = Some(window);
        len += bits.len() + 2;
    }
    len == octets.len()
}

fn windows(bitmap: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bitmap;
    std::iter::from_fn(move || {
        let [window, len, after @ ..] = rest else { return None };
        let (bits, after) = after.split_at_checked(usize::from(*len))?;
        rest = after;
        Some((*window, bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_4034() {
        // "NSEC host.example.com. ( A MX RRSIG NSEC TYPE1234 )", §4.3
        let mut types = vec![
            RecordType(1234),
            RecordType::A,
            RecordType::MX,
            RecordType::RRSIG,
            RecordType::NSEC,
            RecordType::A,
        ];
        let mut out = Vec::new();
        write_bitmap(&mut types, &mut out);
        let mut expected = vec![0x00, 0x06, 0x40, 0x01, 0x00, 0x00, 0x00, 0x03, 0x04, 0x1b];
        expected.resize(10 + 26, 0);
        expected.push(0x20);
        assert_eq!(out, expected);
        assert!(is_bitmap(&out));
        assert_eq!(read_bitmap(&out).collect::<Vec<_>>(), types);
    }

    #[test]
    fn refuses_what_is_no_bitmap() {
        assert!(is_bitmap(&[]));
        for bad in [&[0][..], &[0, 0], &[0, 1, 0], &[0, 2, 0x40], &[1, 1, 1, 0, 1, 1], &[0, 1, 1, 0, 1, 1]] {
            assert!(!is_bitmap(bad), "{bad:?}");
        }
        assert!(!is_bitmap(&[&[0, 33][..], &[1; 33]].concat()));
    }
}
