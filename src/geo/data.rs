//! Values in MaxMind's format (<https://maxmind.github.io/MaxMind-DB/>, "Data Section"), as far as
//! they are wanted: a field is found by its path, and what lies beside it is passed over.
//!
//! A file may hold anything: every offset is checked, and no record is read for longer than a sane
//! one takes. (The reader on crates.io trusts sizes, and overflows on a damaged file.)

/// Values that are looked at for one path, passed over or not. A City record has about a hundred.
const VALUES_MAX: u32 = 10_000;

/// Why a value cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Bad {
    /// What is written is no value.
    Damaged(&'static str),
    /// It is a value of another kind: what it should be.
    Unlike(&'static str),
}

/// A section of values.
#[derive(Clone, Copy)]
pub(super) struct Data<'a>(pub(super) &'a [u8]);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pointer,
    Text,
    Double,
    Unsigned,
    Map,
    Array,
    /// The size is the value, and nothing follows.
    Bool,
    /// Octets, other numbers: of no use here.
    Other,
}

/// How a value begins: its size is in octets, of a map in pairs, of an array in values, and of a
/// pointer what it points to.
struct Head {
    kind: Kind,
    size: usize,
    /// Where its content begins.
    at: usize,
}

impl<'a> Data<'a> {
    /// The value of a key in a map, as an offset.
    pub(super) fn field(&self, map: usize, key: &str) -> Result<Option<usize>, Bad> {
        let map = self.follow(map)?;
        if map.kind != Kind::Map {
            return Err(Bad::Unlike("a map"));
        }
        let (mut at, mut left) = (map.at, VALUES_MAX);
        for _ in 0..map.size {
            let found = self.text(at)? == key;
            at = self.after(at, &mut left)?;
            if found {
                return Ok(Some(at));
            }
            at = self.after(at, &mut left)?;
        }
        Ok(None)
    }

    /// The value at a path of keys.
    pub(super) fn path(&self, map: usize, keys: &[&str]) -> Result<Option<usize>, Bad> {
        let mut at = map;
        for key in keys {
            match self.field(at, key)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The first value of an array.
    pub(super) fn first(&self, array: usize) -> Result<Option<usize>, Bad> {
        let array = self.follow(array)?;
        match array.kind {
            Kind::Array => Ok((array.size > 0).then_some(array.at)),
            _ => Err(Bad::Unlike("an array")),
        }
    }

    /// A text.
    pub(super) fn text(&self, at: usize) -> Result<&'a str, Bad> {
        let head = self.follow(at)?;
        match head.kind {
            Kind::Text => {
                std::str::from_utf8(self.octets(&head)?).map_err(|_| Bad::Damaged("a text is not UTF-8"))
            }
            _ => Err(Bad::Unlike("a text")),
        }
    }

    /// A number that is not negative. Leading zeros are left out: no octets are 0.
    pub(super) fn unsigned(&self, at: usize) -> Result<u64, Bad> {
        let head = self.follow(at)?;
        match head.kind {
            Kind::Unsigned if head.size <= 8 => {
                Ok(self.octets(&head)?.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
            }
            _ => Err(Bad::Unlike("a number")),
        }
    }

    /// A number with a fraction.
    pub(super) fn double(&self, at: usize) -> Result<f64, Bad> {
        let head = self.follow(at)?;
        let octets = match head.kind {
            Kind::Double => <[u8; 8]>::try_from(self.octets(&head)?).ok(),
            _ => None,
        };
        octets.map(f64::from_be_bytes).ok_or(Bad::Unlike("a number with a fraction"))
    }

    fn octets(&self, head: &Head) -> Result<&'a [u8], Bad> {
        let rest = self.0.get(head.at..).unwrap_or_default();
        rest.get(..head.size).ok_or(Bad::Damaged("a value leads out of the file"))
    }

    /// Where the next value begins.
    fn after(&self, at: usize, left: &mut u32) -> Result<usize, Bad> {
        let (mut at, mut values) = (at, 1usize);
        while values > 0 {
            *left = left.checked_sub(1).ok_or(Bad::Damaged("a record has no end"))?;
            let head = self.head(at)?;
            values -= 1;
            at = head.at;
            match head.kind {
                Kind::Map => values += head.size * 2,
                Kind::Array => values += head.size,
                Kind::Pointer | Kind::Bool => {}
                _ => at += self.octets(&head)?.len(),
            }
        }
        Ok(at)
    }

    /// The value at an offset, or the one that it points to.
    fn follow(&self, at: usize) -> Result<Head, Bad> {
        let head = self.head(at)?;
        if head.kind != Kind::Pointer {
            return Ok(head);
        }
        let head = self.head(head.size)?;
        match head.kind {
            Kind::Pointer => Err(Bad::Damaged("a pointer leads to a pointer")),
            _ => Ok(head),
        }
    }

    fn head(&self, at: usize) -> Result<Head, Bad> {
        let mut at = at;
        let mut number = |octets: usize| {
            let rest = self.0.get(at..).unwrap_or_default();
            let taken = rest.get(..octets).ok_or(Bad::Damaged("a value leads out of the file"))?;
            at += octets;
            Ok(taken.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
        };
        let control = number(1)?;
        let kind = match control >> 5 {
            0 => 7 + number(1)?,
            kind => kind,
        };
        let kind = match kind {
            1 => Kind::Pointer,
            2 => Kind::Text,
            3 => Kind::Double,
            5 | 6 | 9 => Kind::Unsigned,
            7 => Kind::Map,
            11 => Kind::Array,
            14 => Kind::Bool,
            4 | 8 | 10 | 15 => Kind::Other,
            _ => return Err(Bad::Damaged("a value is of no known kind")),
        };
        let size = match (kind, control & 31) {
            // The low five bits are the pointer's own size and its upper bits.
            (Kind::Pointer, low) => {
                let (upper, lower) = (low & 7, low >> 3);
                match lower {
                    0 => (upper << 8) + number(1)?,
                    1 => (upper << 16) + number(2)? + 2048,
                    2 => (upper << 24) + number(3)? + 526_336,
                    _ => number(4)?,
                }
            }
            (_, 29) => 29 + number(1)?,
            (_, 30) => 285 + number(2)?,
            (_, 31) => 65_821 + number(3)?,
            (_, size) => size,
        };
        Ok(Head { kind, size, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_paths() {
        // {"a": [true, "x"], "b": → {"c": 258, "d": 1.5}}, and the map pointed to before it.
        let mut bytes = vec![7 << 5 | 2, 2 << 5 | 1, b'c', 5 << 5 | 2, 1, 2, 2 << 5 | 1, b'd', 3 << 5 | 8];
        bytes.extend(1.5f64.to_be_bytes());
        let map = bytes.len();
        bytes.extend([7 << 5 | 2, 2 << 5 | 1, b'a', 2, 4, 1, 7, 2 << 5 | 1, b'x']);
        bytes.extend([2 << 5 | 1, b'b', 1 << 5, 0]);
        let data = Data(&bytes);
        let at = |keys: &[&str]| data.path(map, keys).unwrap().unwrap();
        assert_eq!(data.unsigned(at(&["b", "c"])), Ok(258));
        assert_eq!(data.double(at(&["b", "d"])), Ok(1.5));
        assert_eq!(data.first(at(&["a"])).map(|first| first.is_some()), Ok(true));
        assert_eq!(data.path(map, &["c"]), Ok(None));
        assert_eq!(data.path(map, &["a", "c"]), Err(Bad::Unlike("a map")));
        assert_eq!(data.text(at(&["b", "c"])), Err(Bad::Unlike("a text")));
    }

    #[test]
    fn what_has_no_end_is_left() {
        // An array of 16 million arrays of as many.
        let endless = [7 << 5 | 2, 2 << 5 | 1, b'a', 31, 4, 255, 255, 255].repeat(2);
        assert!(matches!(Data(&endless).field(0, "b"), Err(Bad::Damaged(_))));
        let maps = [7 << 5 | 28].repeat(100_000);
        assert!(matches!(Data(&maps).field(0, "b"), Err(Bad::Unlike(_) | Bad::Damaged(_))));
        let pointers = [1 << 5, 0, 1 << 5, 0];
        assert_eq!(Data(&pointers).text(2), Err(Bad::Damaged("a pointer leads to a pointer")));
        assert!(matches!(Data(&[2 << 5 | 31, 255, 255, 255]).text(0), Err(Bad::Damaged(_))));
        assert!(matches!(Data(&[1 << 5 | 3 << 3, 255, 255, 255, 255]).text(0), Err(Bad::Damaged(_))));
    }
}
