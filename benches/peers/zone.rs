//! What is served: the same names everywhere.

use std::fmt::Write as _;

/// What of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Names of a zone with an address each.
    Plain,
    /// Names whose address is drawn among those of the client's country.
    Dynamic,
    /// [`Content::Plain`] in a signed zone.
    Signed,
    /// [`Content::Dynamic`] in a signed zone.
    SignedDynamic,
}

impl Content {
    pub fn is_dynamic(self) -> bool {
        matches!(self, Self::Dynamic | Self::SignedDynamic)
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Self::Signed | Self::SignedDynamic)
    }
}

/// What every zone starts with.
const HEAD: &str = "\
$ORIGIN example.com.
$TTL 300
@ SOA ns1 hostmaster 1 3600 600 1209600 30
@ NS ns1
ns1 A 192.0.2.53
";

/// The zone's text; `dynamic` writes what stands at the dynamic names, if anything does.
pub fn text(content: Content, names: usize, dynamic: impl Fn(usize) -> Option<String>) -> String {
    let mut text = HEAD.to_owned();
    for n in 0..names {
        let [_, a, b, c] = (n as u32).to_be_bytes();
        if !content.is_dynamic() {
            let _ = writeln!(text, "plain{n} A 10.{a}.{b}.{c}");
        } else if let Some(line) = dynamic(n) {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}
