//! BSON, as far as commands of MongoDB and their answers need it (bsonspec.org, version 1.1): a
//! reader that is bounded in depth and number, and a writer.

/// Documents inside documents. `replSetGetConfig` has four.
const DEPTH_MAX: usize = 16;
/// Elements of one document and all inside it: memory for each is many times what it takes on the
/// wire.
const ELEMENTS_MAX: usize = 16_384;

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A floating-point number.
    Double(f64),
    /// Text.
    Text(String),
    /// A document.
    Document(Document),
    /// Several values.
    Array(Vec<Value>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An ObjectId.
    Id([u8; 12]),
    /// Yes or no.
    Bool(bool),
    /// Nothing.
    Null,
    /// A whole number of 32 or 64 bits.
    Number(i64),
    /// A position in the log: seconds, and a counter within the second.
    Timestamp(u32, u32),
    /// A type that is skipped: dates, regular expressions, code, decimals and the like.
    Other,
}

/// A document: names and values, in their order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Document(Vec<(String, Value)>);

impl Document {
    /// The same with one more element.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }

    /// What stands under a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Text under a name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number under a name, in whichever of the three forms servers use.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Number(number) => Some(*number),
            Value::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(*number as i64),
            _ => None,
        }
    }

    /// Whether what stands under a name is true, or a number other than 0.
    pub fn is(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Bool(true))) || self.number(name).is_some_and(|n| n != 0)
    }

    /// A document under a name.
    pub fn document(&self, name: &str) -> Option<&Document> {
        match self.get(name)? {
            Value::Document(document) => Some(document),
            _ => None,
        }
    }

    /// Several values under a name; none if there is no array.
    pub fn array(&self, name: &str) -> &[Value] {
        match self.get(name) {
            Some(Value::Array(values)) => values,
            _ => &[],
        }
    }

    /// In BSON.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut self.0.iter().map(|(name, value)| (name.as_str(), value)), &mut bytes);
        bytes
    }

    /// From BSON that is one document and nothing else. `None`: it is not, or beyond a limit.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes, elements: 0 };
        let document = reader.document(DEPTH_MAX)?;
        reader.rest.is_empty().then_some(Self(document))
    }
}

fn write<'a>(elements: &mut dyn Iterator<Item = (&'a str, &'a Value)>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for (name, value) in elements {
        let kind = match value {
            Value::Double(_) => 1,
            Value::Text(_) => 2,
            Value::Document(_) => 3,
            Value::Array(_) => 4,
            Value::Bytes(_) => 5,
            Value::Id(_) => 7,
            Value::Bool(_) => 8,
            Value::Null | Value::Other => 10,
            Value::Number(number) if i32::try_from(*number).is_ok() => 16,
            Value::Number(_) => 18,
            Value::Timestamp(..) => 17,
        };
        out.push(kind);
        // A name ends at the first zero; ours have none.
        out.extend(name.bytes().filter(|byte| *byte != 0));
        out.push(0);
        match value {
            Value::Double(number) => out.extend_from_slice(&number.to_le_bytes()),
            Value::Text(text) => {
                out.extend_from_slice(&length(text.len() + 1));
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            Value::Document(document) => {
                write(&mut document.0.iter().map(|(name, value)| (name.as_str(), value)), out);
            }
            Value::Array(values) => {
                let names: Vec<String> = (0..values.len()).map(|n| n.to_string()).collect();
                write(&mut names.iter().map(String::as_str).zip(values), out);
            }
            Value::Bytes(bytes) => {
                out.extend_from_slice(&length(bytes.len()));
                out.push(0); // the generic subtype
                out.extend_from_slice(bytes);
            }
            Value::Id(id) => out.extend_from_slice(id),
            Value::Bool(yes) => out.push(u8::from(*yes)),
            Value::Null | Value::Other => {}
            Value::Number(number) => match i32::try_from(*number) {
                Ok(short) => out.extend_from_slice(&short.to_le_bytes()),
                Err(_) => out.extend_from_slice(&number.to_le_bytes()),
            },
            Value::Timestamp(seconds, counter) => {
                out.extend_from_slice(&counter.to_le_bytes());
                out.extend_from_slice(&seconds.to_le_bytes());
            }
        }
    }
    out.push(0);
    let total = length(out.len() - start);
    out[start..start + 4].copy_from_slice(&total);
}

/// A length as BSON has it. What we write is far from 2 GiB.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_le_bytes()
}

/// What is left to read, and how much was found.
struct Reader<'a> {
    rest: &'a [u8],
    elements: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(i32::from_le_bytes(self.array()?)).ok()
    }

    /// Text that ends at the first zero.
    fn name(&mut self) -> Option<String> {
        let end = self.rest.iter().position(|byte| *byte == 0)?;
        let name = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Some(name)
    }

    /// Text with its length before it.
    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        match self.take(length)?.split_last()? {
            (0, text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }
    }

    fn document(&mut self, depth: usize) -> Option<Vec<(String, Value)>> {
        let depth = depth.checked_sub(1)?;
        let inside = self.length()?.checked_sub(5)?;
        let mut reader = Reader { rest: self.take(inside)?, elements: self.elements };
        let mut elements = Vec::new();
        while !reader.rest.is_empty() {
            reader.elements += 1;
            if reader.elements > ELEMENTS_MAX {
                return None;
            }
            let [kind] = reader.array()?;
            let name = reader.name()?;
            elements.push((name, reader.value(kind, depth)?));
        }
        self.elements = reader.elements;
        (self.array()? == [0]).then_some(elements)
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<Value> {
        let skip = |bytes: Option<&[u8]>| bytes.map(|_| Value::Other);
        Some(match kind {
            1 => Value::Double(f64::from_le_bytes(self.array()?)),
            2 | 13 | 14 => Value::Text(self.text()?),
            3 => Value::Document(Document(self.document(depth)?)),
            4 => Value::Array(self.document(depth)?.into_iter().map(|(_, value)| value).collect()),
            5 => {
                let length = self.length()?;
                self.take(1)?;
                Value::Bytes(self.take(length)?.to_vec())
            }
            6 | 10 | 127 | 255 => Value::Null,
            7 => Value::Id(self.array()?),
            8 => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return None,
            },
            9 => skip(self.take(8))?,
            11 => {
                self.name()?;
                self.name()?;
                Value::Other
            }
            12 => {
                self.text()?;
                skip(self.take(12))?
            }
            15 => {
                let rest = self.length()?.checked_sub(4)?;
                skip(self.take(rest))?
            }
            16 => Value::Number(i32::from_le_bytes(self.array()?).into()),
            17 => {
                let counter = u32::from_le_bytes(self.array()?);
                Value::Timestamp(u32::from_le_bytes(self.array()?), counter)
            }
            18 => Value::Number(i64::from_le_bytes(self.array()?)),
            19 => skip(self.take(16))?,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::from_hex;

    fn hex(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(from_hex(text.as_bytes(), &mut bytes));
        bytes
    }

    #[test]
    fn what_another_implementation_writes() {
        // Written by the `bson` of PyMongo 4.20.
        let bytes = hex(concat!(
            "ff0000000869736d61737465720001127400050000000000000010690007000000106e656700feffffff016f",
            "6b00000000000000f03f117473000300000000f15365076964007fffffff00000000000000050273000e0000",
            "0072c3a46b736dc3b67267c3a573000461001d0000000230000200000078000a310003320009000000086200",
            "0000000562696e000200000000000105737562000200000004ffff097768656e0000a8da769b0100000b7265",
            "00612e620069000f636f6465001800000004000000662829000c000000107800010000000013646563000f00",
            "0000000000000000000000003e30ff6d696e007f6d617800106c617374000900000000",
        ));
        let read = Document::decode(&bytes).unwrap();
        assert_eq!((read.is("ismaster"), read.is("ok"), read.is("nothing")), (true, true, false));
        assert_eq!((read.number("t"), read.number("i"), read.number("neg")), (Some(5), Some(7), Some(-2)));
        assert_eq!(read.number("ok"), Some(1));
        assert_eq!(read.get("ts"), Some(&Value::Timestamp(1_700_000_000, 3)));
        assert_eq!(read.get("id"), Some(&Value::Id([0x7f, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 5])));
        assert_eq!(read.text("s"), Some("räksmörgås"));
        let inner = Value::Document(Document::default().with("b", Value::Bool(false)));
        assert_eq!(read.array("a"), [Value::Text("x".to_owned()), Value::Null, inner]);
        assert_eq!(read.get("bin"), Some(&Value::Bytes(vec![0, 1])));
        assert_eq!(read.get("sub"), Some(&Value::Bytes(vec![255; 2])));
        for skipped in ["when", "re", "code", "dec"] {
            assert_eq!(read.get(skipped), Some(&Value::Other), "{skipped}");
        }
        assert_eq!((read.get("min"), read.number("last")), (Some(&Value::Null), Some(9)));
    }

    #[test]
    fn writes_what_it_reads() {
        let document = Document::default()
            .with("hello", Value::Number(1))
            .with("big", Value::Number(1 << 40))
            .with("payload", Value::Bytes(b"n,,n=u".to_vec()))
            .with("in", Value::Document(Document::default().with("yes", Value::Bool(true))))
            .with("list", Value::Array(vec![Value::Text("a".into()), Value::Null, Value::Double(1.5)]))
            .with("at", Value::Timestamp(1_700_000_000, 7))
            .with("id", Value::Id([7; 12]));
        let bytes = document.encode();
        assert_eq!(Document::decode(&bytes), Some(document));
        // Cut short or with a byte changed it is read as something or refused, and nothing worse.
        for n in 0..bytes.len() {
            assert_eq!(Document::decode(&bytes[..n]), None);
            for wrong in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[n] = wrong;
                let _ = Document::decode(&bytes);
            }
        }
    }

    #[test]
    fn neither_deeper_nor_more_than_the_limits() {
        let nested = |depth: usize| {
            (1..depth)
                .fold(Document::default(), |inner, _| Document::default().with("d", Value::Document(inner)))
        };
        assert!(Document::decode(&nested(DEPTH_MAX).encode()).is_some());
        assert!(Document::decode(&nested(DEPTH_MAX + 1).encode()).is_none());
        let many = |n: usize| Document::default().with("a", Value::Array(vec![Value::Null; n]));
        assert!(Document::decode(&many(ELEMENTS_MAX - 1).encode()).is_some());
        assert!(Document::decode(&many(ELEMENTS_MAX).encode()).is_none());
        // A negative length, and one beyond the end.
        assert!(Document::decode(&hex("ffffffff00")).is_none());
        assert!(Document::decode(&hex("ffffff7f00")).is_none());
    }
}
