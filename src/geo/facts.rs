//! What is known of the clients in one network.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::config::Location;

/// Two letters or digits: a continent as MaxMind writes it (`AF` `AN` `AS` `EU` `NA` `OC` `SA`),
/// or a country by ISO 3166-1.
pub type Code = [u8; 2];

/// The second part of an ISO 3166-2 code, one to three letters or digits, padded with zeros: the
/// `CA` of `US-CA`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subdivision([u8; 3]);

/// What is known of the clients in one network. What no database tells is none.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Facts {
    /// The continent.
    pub continent: Option<Code>,
    /// The country.
    pub country: Option<Code>,
    /// The widest subdivision of the country.
    pub subdivision: Option<Subdivision>,
    /// The autonomous system that announces the network.
    pub asn: Option<u32>,
    /// About where they are; never without numbers or out of range.
    pub location: Option<Location>,
    /// Labels from lists of networks, at most one of each list, in the order of the lists.
    pub networks: Vec<Arc<str>>,
}

impl Subdivision {
    /// From a text of one to three letters or digits.
    pub fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let fits = (1..=3).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_alphanumeric);
        fits.then(|| {
            let mut code = [0; 3];
            code[..bytes.len()].copy_from_slice(bytes);
            code.make_ascii_uppercase();
            Self(code)
        })
    }

    /// As a text.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(3);
        std::str::from_utf8(&self.0[..len]).expect("letters and digits of ASCII")
    }
}

impl fmt::Display for Subdivision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Facts {
    /// What is known if `more` is known besides: where both speak, `more` is right.
    #[must_use]
    pub fn and(&self, more: &Facts) -> Facts {
        Facts {
            continent: more.continent.or(self.continent),
            country: more.country.or(self.country),
            // A subdivision without its country would be one of another country.
            subdivision: match more.country {
                Some(_) if more.country != self.country => more.subdivision,
                _ => more.subdivision.or(self.subdivision),
            },
            asn: more.asn.or(self.asn),
            location: more.location.or(self.location),
            networks: self.networks.iter().chain(&more.networks).cloned().collect(),
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Facts::default()
    }

    /// Whether a list gave this label.
    pub fn has_label(&self, label: &str) -> bool {
        self.networks.iter().any(|mine| **mine == *label)
    }
}

/// A code of two letters or digits, in upper case.
pub(super) fn code(text: &str) -> Option<Code> {
    let code: Code = text.as_bytes().try_into().ok()?;
    code.iter().all(u8::is_ascii_alphanumeric).then(|| code.map(|byte| byte.to_ascii_uppercase()))
}

/// A place on the globe, if it is one.
pub(super) fn location(latitude: f64, longitude: f64) -> Option<Location> {
    // Adding zero makes one zero of the two.
    let (latitude, longitude) = (latitude + 0.0, longitude + 0.0);
    let fits = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
    fits.then_some(Location { latitude, longitude })
}

// A location has no NaN and one zero: equal numbers have equal bits.
impl Eq for Facts {}

impl Hash for Facts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let location = self.location.map(|at| (at.latitude.to_bits(), at.longitude.to_bits()));
        (self.continent, self.country, self.subdivision, self.asn, location, &self.networks).hash(state);
    }
}

impl fmt::Display for Facts {
    /// `EU DE DE-BE AS3320 52.52,13.40 office`; `nothing` if nothing is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |code: Code| code.map(char::from).iter().collect::<String>();
        let country = self.country.map(show);
        let words = [
            self.continent.map(show),
            country.clone(),
            self.subdivision.map(|part| format!("{}-{part}", country.as_deref().unwrap_or("?"))),
            self.asn.map(|asn| format!("AS{asn}")),
            self.location.map(|at| format!("{:.2},{:.2}", at.latitude, at.longitude)),
        ];
        let mut words: Vec<String> = words.into_iter().flatten().collect();
        words.extend(self.networks.iter().map(|label| label.to_string()));
        f.write_str(if words.is_empty() { "nothing" } else { "" })?;
        f.write_str(&words.join(" "))
    }
}
