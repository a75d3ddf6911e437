//! LOC records: a place on the globe (RFC 1876).

use std::fmt;

use super::words::{Word, Words};

/// Degrees are kept as thousandths of a second of arc off this middle (RFC 1876 §2).
const MIDDLE: u32 = 1 << 31;
/// Altitudes are kept in centimetres above a point 100 km below the ellipsoid.
const DEEPEST: i64 = 10_000_000;
/// Sizes and precisions when the text leaves them out: 1 m, 10 km, 10 m (RFC 1876 §3).
const DEFAULTS: [u64; 3] = [100, 1_000_000, 1_000];

/// How long the RDATA is: 16 octets in version 0, the only one there is.
pub(super) fn wire_len(rest: &[u8]) -> Option<usize> {
    (rest.first() == Some(&0)).then_some(16)
}

/// Reads `51 30 12.748 N 0 7 39.6 W 0.00m 1m 10000m 10m`; minutes, seconds and what follows
/// the altitude may be left out.
pub(super) fn parse<'a>(words: &mut impl Words<'a>, out: &mut Vec<u8>) -> Result<(), String> {
    let latitude = angle(words, 90, [b'N', b'S'])?;
    let longitude = angle(words, 180, [b'E', b'W'])?;
    let altitude = words.next_word()?.ok_or("LOC lacks an altitude, like 12.00m")?;
    let altitude = centimetres(&altitude)? + DEEPEST;
    let altitude =
        u32::try_from(altitude).map_err(|_| "the altitude is not between -100000m and 42849672.95m")?;
    let mut sizes = [0; 3];
    for (size, default) in sizes.iter_mut().zip(DEFAULTS) {
        let metres = words.next_word()?.map(|word| centimetres(&word)).transpose()?;
        let metres = metres.map_or(Ok(default), u64::try_from);
        *size = metres.ok().and_then(pack).ok_or("sizes and precisions lie between 0m and 90000000m")?;
    }
    out.push(0);
    out.extend(sizes);
    for value in [latitude, longitude, altitude] {
        out.extend(value.to_be_bytes());
    }
    Ok(())
}

/// Writes what [`parse`] reads, everything spelt out.
pub(super) fn write(octets: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    let Some(&[_, size, horizontal, vertical, ref rest @ ..]) = octets.first_chunk::<16>() else {
        return Err(fmt::Error);
    };
    let (values, _) = rest.as_chunks::<4>();
    let [latitude, longitude, altitude] = values else { return Err(fmt::Error) };
    for (value, [plus, minus]) in [(latitude, ['N', 'S']), (longitude, ['E', 'W'])] {
        let value = u32::from_be_bytes(*value);
        let off = value.abs_diff(MIDDLE);
        let side = if value >= MIDDLE { plus } else { minus };
        let (degrees, minutes, millis) = (off / 3_600_000, off / 60_000 % 60, off % 60_000);
        write!(f, "{degrees} {minutes} {}.{:03} {side} ", millis / 1000, millis % 1000)?;
    }
    let altitude = i64::from(u32::from_be_bytes(*altitude)) - DEEPEST;
    let sign = if altitude < 0 { "-" } else { "" };
    write!(f, "{sign}{}.{:02}m", altitude.abs() / 100, altitude.abs() % 100)?;
    for size in [size, horizontal, vertical] {
        // One digit and a power of ten: from a metre on there are no parts of one.
        let centimetres = u64::from(size >> 4) * 10u64.pow(u32::from(size & 15));
        match centimetres / 100 {
            0 => write!(f, " 0.{centimetres:02}m")?,
            metres => write!(f, " {metres}m")?,
        }
    }
    Ok(())
}

/// Degrees, minutes, seconds and a side.
fn angle<'a>(words: &mut impl Words<'a>, degrees_max: u64, sides: [u8; 2]) -> Result<u32, String> {
    let mut thousandths = 0;
    // Thousandths of a second in a degree, a minute, a second.
    let units = [(3_600_000, degrees_max), (60_000, 59), (1000, 59)];
    for position in 0..=3 {
        let word = words.next_word()?.ok_or("LOC is cut short: degrees, minutes, seconds, N or S, E or W")?;
        if position > 0
            && let [side] = word.text
            && let Some(side) = sides.iter().position(|known| known.eq_ignore_ascii_case(side))
        {
            if thousandths > degrees_max * 3_600_000 {
                return Err(format!("an angle is at most {degrees_max} degrees"));
            }
            return Ok(if side == 0 { MIDDLE + thousandths as u32 } else { MIDDLE - thousandths as u32 });
        }
        let Some((unit, max)) = units.get(position) else { break };
        thousandths += match *unit {
            1000 => decimals(word.text, 3).filter(|value| *value < 60_000),
            unit => decimals(word.text, 0).filter(|value| value <= max).map(|value| value * unit),
        }
        .ok_or_else(|| format!("`{}` is not part of an angle up to {degrees_max} degrees", word.shown()))?;
    }
    Err(format!("`{}` or `{}` must follow the angle", char::from(sides[0]), char::from(sides[1])))
}

/// A length in metres, its `m` optional, in centimetres.
fn centimetres(word: &Word<'_>) -> Result<i64, String> {
    let text = word.text.strip_suffix(b"m").unwrap_or(word.text);
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = decimals(digits, 2).and_then(|value| i64::try_from(value).ok());
    let value = value.ok_or_else(|| format!("`{}` is not a length like 12.50m", word.shown()))?;
    Ok(if negative { -value } else { value })
}

/// A decimal number times ten to the `places`; more places than that are refused.
fn decimals(text: &[u8], places: usize) -> Option<u64> {
    let (whole, fraction) = match text.iter().position(|octet| *octet == b'.') {
        Some(dot) if dot + 1 < text.len() => (&text[..dot], &text[dot + 1..]),
        Some(_) => return None,
        None => (text, &b""[..]),
    };
    if fraction.len() > places {
        return None;
    }
    let fraction = [fraction, &b"000"[..places - fraction.len()]].concat();
    let fraction = if fraction.is_empty() { 0 } else { super::words::decimal(&fraction)? };
    Some(super::words::decimal(whole)? * 10u64.pow(places as u32) + fraction)
}

/// Centimetres as a digit and a power of ten, rounded down (RFC 1876 §2).
fn pack(centimetres: u64) -> Option<u8> {
    let (mut mantissa, mut exponent) = (centimetres, 0);
    while mantissa > 9 {
        mantissa /= 10;
        exponent += 1;
    }
    (exponent <= 9).then_some((mantissa as u8) << 4 | exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, String> {
        let words: Vec<_> = text.split(' ').map(|word| Word::plain(word.as_bytes())).collect();
        let mut out = Vec::new();
        parse(&mut words.iter(), &mut out).map(|()| out)
    }

    #[test]
    fn reads_and_writes_the_examples_of_rfc_1876() {
        for (text, full) in [
            ("42 21 54 N 71 06 18 W -24m 30m", "42 21 54.000 N 71 6 18.000 W -24.00m 30m 10000m 10m"),
            ("42 21 43.952 N 71 5 6.344 W -24m 1m 200m", "42 21 43.952 N 71 5 6.344 W -24.00m 1m 200m 10m"),
            ("52 14 05 N 00 08 50 E 10m", "52 14 5.000 N 0 8 50.000 E 10.00m 1m 10000m 10m"),
            ("32 7 19 S 116 2 25 E 10m 0.5m 1m 1m", "32 7 19.000 S 116 2 25.000 E 10.00m 0.50m 1m 1m"),
            ("0 N 180 w 0", "0 0 0.000 N 180 0 0.000 W 0.00m 1m 10000m 10m"),
        ] {
            let wire = read(text).unwrap();
            let mut shown = String::new();
            write(&wire, &mut shown).unwrap();
            assert_eq!(shown, full);
            assert_eq!(read(full).unwrap(), wire);
        }
    }

    #[test]
    fn refuses_what_is_nowhere() {
        for bad in [
            "91 N 0 E 0m",
            "90 0 0.001 N 0 E 0m",
            "1 60 N 0 E 0m",
            "1 1 60 N 0 E 0m",
            "1 1 1.0001 N 0 E 0m",
            "1 1 1 1 N 0 E 0m",
            "1 N 181 E 0m",
            "1 E 1 N 0m",
            "N 1 E 0m",
            "1 N 1 E",
            "1 N 1 E -100001m",
            "1 N 1 E 1m -1m",
            "1 N 1 E 1m 100000000m",
            "1 N 1 E 1.m",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
