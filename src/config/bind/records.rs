//! What regions give for a service: texts → records in wire form.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Binder;
use crate::base::{Place, RegionId};
use crate::config::model::{Records, ZoneFile};
use crate::config::read::{Entries, Placed};
use crate::config::spec;
use crate::wire::{Name, RecordType};
use crate::zone;

/// Records of one type that a region may give: what fits into 1232 octets with room to spare.
const RECORDS_MAX: usize = 32;
/// The longest text of a TXT record: all of a region's have to fit a message.
const TEXT_MAX: usize = 4096;
/// A character string has so many octets (RFC 1035 §3.3).
const STRING_MAX: usize = 255;

impl Binder<'_> {
    pub(super) fn answers(
        &mut self,
        answers: &Entries<spec::Records>,
        names: &[Placed<Name>],
        zones: &[ZoneFile],
    ) -> BTreeMap<RegionId, Records> {
        let origins = origins(names, zones);
        let mut bound = BTreeMap::new();
        for (name, records) in answers.iter() {
            let Some(region) = self.region(name) else { continue };
            let given = self.records(records, &name.place, &origins);
            if given.is_empty() && is_silent(records) {
                self.mistakes
                    .error(&name.place, format!("region `{}` gives no records", name.value))
                    .help("never empty: list at least one address under `a` or `aaaa`, or give a `cname`");
            }
            if let Some(cname) = &records.cname {
                if given.sets().len() > 1 {
                    self.mistakes
                        .error(&cname.place, "a name with a CNAME has nothing else (RFC 1034 §3.6.2)")
                        .help("take the other records out, or give them at the target");
                }
                let target = given.set(RecordType::CNAME).and_then(|targets| targets.first());
                if names.iter().any(|name| target.is_some_and(|target| **target == *name.value.as_wire())) {
                    self.mistakes.error(&cname.place, "this CNAME leads to the service itself");
                }
            }
            bound.insert(region, given);
        }
        let leads = |records: &Records| records.set(RecordType::CNAME).is_some();
        if bound.values().any(leads)
            && let Some((name, _)) = answers.iter().find(|(_, records)| records.cname.is_none())
        {
            self.mistakes
                .error(&name.place, format!("region `{}` gives no CNAME, and another one does", name.value))
                .help("let all regions give a CNAME, or none: caches keep a CNAME for every type");
        }
        bound
    }

    fn records(&mut self, records: &spec::Records, place: &Place, origins: &[Name]) -> Records {
        let mut given = Records::default();
        self.values(&records.a, place, |text| {
            given_once(&mut given, RecordType::A, text, &address::<Ipv4Addr>(text, "IPv4")?.octets())
        });
        self.values(&records.aaaa, place, |text| {
            given_once(&mut given, RecordType::AAAA, text, &address::<Ipv6Addr>(text, "IPv6")?.octets())
        });
        for (rtype, texts) in [
            (RecordType::CNAME, records.cname.as_slice()),
            (RecordType::SRV, &records.srv),
            (RecordType::HTTPS, &records.https),
        ] {
            self.values(texts, place, |text| {
                given_once(&mut given, rtype, text, &rdata(rtype, text, origins)?)
            });
        }
        self.values(&records.txt, place, |text| {
            given_once(&mut given, RecordType::TXT, text, &strings(text)?)
        });
        given
    }

    fn values(
        &mut self,
        texts: &[Placed<String>],
        place: &Place,
        mut take: impl FnMut(&str) -> Result<(), String>,
    ) {
        for text in texts {
            if let Err(why) = take(&text.value) {
                self.mistakes.error(&text.place, why);
            }
        }
        if texts.len() > RECORDS_MAX {
            self.mistakes
                .error(place, format!("more than {RECORDS_MAX} records of one type do not fit an answer"));
        }
    }
}

fn is_silent(records: &spec::Records) -> bool {
    let spec::Records { a, aaaa, cname, srv, https, txt } = records;
    cname.is_none() && [a, aaaa, srv, https, txt].into_iter().all(Vec::is_empty)
}

fn given_once(given: &mut Records, rtype: RecordType, text: &str, rdata: &[u8]) -> Result<(), String> {
    match given.add(rtype, rdata) {
        true => Ok(()),
        false => Err(format!("{text} is listed twice")),
    }
}

fn address<A: FromStr>(text: &str, family: &str) -> Result<A, String> {
    text.parse().map_err(|_| format!("`{text}` is not an {family} address"))
}

/// The zones that the names of a service lie in. Names in its records are relative to the zone, as
/// in its file.
fn origins(names: &[Placed<Name>], zones: &[ZoneFile]) -> Vec<Name> {
    let mut origins: Vec<Name> = Vec::new();
    for name in names {
        let around = zones.iter().filter(|zone| name.value.is_at_or_under(&zone.name));
        let zone = around.max_by_key(|zone| zone.name.as_wire().len());
        origins.extend(zone.map(|zone| zone.name.clone()).filter(|zone| !origins.contains(zone)));
    }
    origins
}

/// Record data as a zone file writes it.
fn rdata(rtype: RecordType, text: &str, origins: &[Name]) -> Result<Vec<u8>, String> {
    let root = [0];
    let mut origins = origins.iter().map(Name::as_wire);
    let rdata = zone::parse_rdata(rtype, text, origins.next().unwrap_or(&root))?;
    for other in origins {
        if zone::parse_rdata(rtype, text, other)? != rdata {
            return Err(format!(
                "a name in `{text}` is relative, and the service's names lie in several zones: end it with a dot"
            ));
        }
    }
    Ok(rdata)
}

/// A text as it stands, cut into character strings.
fn strings(text: &str) -> Result<Vec<u8>, String> {
    if text.len() > TEXT_MAX {
        return Err(format!("a text of {} octets: at most {TEXT_MAX} fit an answer", text.len()));
    }
    let mut rdata = Vec::with_capacity(text.len() + 1 + text.len() / STRING_MAX);
    if text.is_empty() {
        rdata.push(0);
    }
    for string in text.as_bytes().chunks(STRING_MAX) {
        rdata.push(string.len() as u8);
        rdata.extend_from_slice(string);
    }
    Ok(rdata)
}
