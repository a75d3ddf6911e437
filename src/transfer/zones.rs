//! Each zone as secondaries see it.

use std::net::IpAddr;
use std::sync::Arc;

use super::history::History;
use super::key::TsigKeys;
use super::record::Records;
use super::serial::Serial;
use crate::config::TransferRules;
use crate::wire::Name;

/// A zone as secondaries see it. Immutable; another version is another value.
#[derive(Clone, Debug)]
pub struct ZoneState {
    /// Its apex.
    pub name: Name,
    /// Who may fetch it, and who is told.
    pub rules: Arc<TransferRules>,
    /// Why nobody may fetch it at present, if so.
    pub withheld: Option<String>,
    /// Its version.
    pub serial: Serial,
    /// The serial is not the one in the zone's image, and takes its place in every answer.
    pub moved: bool,
    /// The SOA record of this version.
    pub soa: Vec<u8>,
    /// How it came to be what it is.
    pub history: Arc<History>,
}

impl ZoneState {
    /// A zone by its SOA record, as its file has it: no history.
    pub fn new(name: Name, rules: Arc<TransferRules>, soa: Vec<u8>) -> Self {
        let serial = Records(&soa).next().and_then(|soa| soa.serial()).unwrap_or_default();
        Self { name, rules, withheld: None, serial, moved: false, soa, history: Arc::default() }
    }

    /// Whether somebody may fetch it; `key` is the name of the key that signed the request.
    pub fn permits(&self, client: IpAddr, key: Option<&[u8]>) -> bool {
        self.rules.allow.iter().any(|permission| {
            permission.admits(client)
                && permission.key.as_ref().is_none_or(|wanted| key == Some(wanted.as_wire()))
        })
    }
}

/// All zones, in the order of the image, and the keys that messages about them are signed with.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    list: Vec<Arc<ZoneState>>,
    keys: Arc<TsigKeys>,
    /// Whether the serial of any is not the image's: if not, no answer needs a second look.
    any_moved: bool,
}

impl Zones {
    /// Puts them together, in the order of the image.
    pub fn new(list: Vec<Arc<ZoneState>>, keys: Arc<TsigKeys>) -> Self {
        let any_moved = list.iter().any(|zone| zone.moved);
        Self { list, keys, any_moved }
    }

    /// A zone by its number in the image.
    pub fn get(&self, number: u16) -> Option<&Arc<ZoneState>> {
        self.list.get(usize::from(number))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ZoneState>> {
        self.list.iter()
    }

    /// The keys.
    pub fn keys(&self) -> &Arc<TsigKeys> {
        &self.keys
    }

    /// The serial that is told instead of the image's, if it is another.
    #[inline]
    pub fn moved_serial(&self, number: u16) -> Option<Serial> {
        if !self.any_moved {
            return None;
        }
        self.get(number).filter(|zone| zone.moved).map(|zone| zone.serial)
    }
}
