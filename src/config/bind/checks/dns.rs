//! Checks of name servers.

use crate::config::bind::{Binder, parse_host_port};
use crate::config::model::{DnsCheck, DnsExpect, DnsRecords, ExpectedRecord, HostPort};
use crate::config::read::Placed;
use crate::config::spec;
use crate::wire::{Rcode, RecordType};
use crate::zone;

const PORT: u16 = 53;

impl Binder<'_> {
    pub(super) fn dns_check(&mut self, dns: spec::DnsCheck) -> Option<DnsCheck> {
        let server = self.name_server(&dns.server);
        let rtype = match &dns.rtype {
            None => RecordType::A,
            Some(text) => self.record_type(text)?,
        };
        let rcode = match &dns.expect.rcode {
            None => Rcode::NOERROR,
            Some(text) => self.rcode(text)?,
        };
        let records = match (&dns.expect.contains, &dns.expect.equals) {
            (None, None) if rcode == Rcode::NOERROR => DnsRecords::Some,
            (None, None) => DnsRecords::Whatever,
            (Some(texts), None) => DnsRecords::Contains(self.expected(rtype, texts)),
            (None, Some(texts)) => DnsRecords::Equals(self.expected(rtype, texts)),
            (Some(texts), Some(_)) => {
                let place = texts.first().map_or(&dns.server.place, |text| &text.place);
                self.mistakes.error(place, "either `contains` or `equals`: the second says all of it");
                return None;
            }
        };
        let expect = DnsExpect { rcode, records, authoritative: dns.expect.authoritative };
        Some(DnsCheck { server: server?, name: dns.name.value, rtype, recursion: dns.recursion, expect })
    }

    /// With a port, or without.
    fn name_server(&mut self, text: &Placed<String>) -> Option<HostPort> {
        if let Ok(address) = text.value.parse::<std::net::IpAddr>() {
            return Some(HostPort { host: address.to_string(), port: PORT });
        }
        match parse_host_port(&text.value) {
            Ok(server) => Some(server),
            Err(_) if !text.value.contains([':', '/', ' ']) && !text.value.is_empty() => {
                Some(HostPort { host: text.value.clone(), port: PORT })
            }
            Err(unfit) => {
                unfit.note(&text.place, self.mistakes);
                None
            }
        }
    }

    fn record_type(&mut self, text: &Placed<String>) -> Option<RecordType> {
        match RecordType::parse(text.value.as_bytes()).filter(|rtype| !rtype.is_meta()) {
            Some(rtype) => Some(rtype),
            None => {
                self.mistakes
                    .error(&text.place, format!("`{}` is not a type of records", text.value))
                    .help("write A, AAAA, SOA … or TYPE65280");
                None
            }
        }
    }

    fn rcode(&mut self, text: &Placed<String>) -> Option<Rcode> {
        let found = Rcode::NAMED.iter().find(|(_, name)| name.eq_ignore_ascii_case(&text.value));
        if found.is_none() {
            self.mistakes
                .error(&text.place, format!("`{}` is not a response code", text.value))
                .help("write NOERROR, NXDOMAIN, REFUSED, SERVFAIL …");
        }
        found.map(|(rcode, _)| *rcode)
    }

    fn expected(&mut self, rtype: RecordType, texts: &[Placed<String>]) -> Vec<ExpectedRecord> {
        let mut expected = Vec::new();
        for text in texts {
            match zone::parse_rdata(rtype, &text.value, &[0]) {
                Ok(rdata) => expected.push(ExpectedRecord { text: text.value.clone(), rdata }),
                Err(why) => {
                    self.mistakes
                        .error(&text.place, format!("`{}` is not an {rtype} record: {why}", text.value))
                        .help("write the data as a zone file has it; names are absolute");
                }
            }
        }
        expected
    }
}
