//! A message as `dig` prints it, to the tab, so that whatever reads one reads the other: header,
//! OPT pseudo section, question, sections. Long data are not cut into pieces (`dig +nosplit`).

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::encoding::write_hex;
use super::option::option_code;
use super::{Message, Opt, Record, ShowName, ShowRdata};

/// Where the TTL, the class, the type and the data start, if what is before them leaves room.
const TTL_COLUMN: usize = 24;
const CLASS_COLUMN: usize = 32;
const TYPE_COLUMN: usize = 40;
const DATA_COLUMN: usize = 48;
const TAB: usize = 8;

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, ";; ->>HEADER<<- opcode: {}, status: {}, id: {}", self.opcode(), self.rcode(), self.id)?;
        f.write_str(";; flags:")?;
        self.flag_words().try_for_each(|word| write!(f, " {word}"))?;
        let [answers, authorities, additionals] = &self.sections;
        writeln!(
            f,
            "; QUERY: {}, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {}",
            self.questions.len(),
            answers.len(),
            authorities.len(),
            additionals.len() + usize::from(self.opt.is_some())
        )?;
        if let Some(opt) = &self.opt {
            write!(f, "\n;; OPT PSEUDOSECTION:\n{opt}")?;
        }
        if !self.questions.is_empty() {
            let gap = if self.opt.is_some() { "" } else { "\n" };
            writeln!(f, "{gap};; QUESTION SECTION:")?;
        }
        for (name, rtype, class) in &self.questions {
            f.write_str(";")?;
            let mut line = Columns::new(f);
            line.put(0, &ShowName(name))?;
            line.put(CLASS_COLUMN, class)?;
            line.put(TYPE_COLUMN, rtype)?;
            line.end()?;
        }
        for (section, title) in self.sections.iter().zip(["ANSWER", "AUTHORITY", "ADDITIONAL"]) {
            if !section.is_empty() {
                writeln!(f, "\n;; {title} SECTION:")?;
            }
            for Record { owner, rtype, class, ttl, rdata } in section {
                let mut line = Columns::new(f);
                line.put(0, &ShowName(owner))?;
                line.put(TTL_COLUMN, ttl)?;
                line.put(CLASS_COLUMN, class)?;
                line.put(TYPE_COLUMN, rtype)?;
                line.put(DATA_COLUMN, &ShowRdata { rtype: *rtype, rdata })?;
                line.end()?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Opt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dnssec_ok = if self.flags >> 15 != 0 { " do" } else { "" };
        let unknown = self.flags & 0x7fff;
        write!(f, "; EDNS: version: {}, flags:{dnssec_ok};", self.version)?;
        if unknown != 0 {
            write!(f, " MBZ: {unknown:#06x},")?;
        }
        writeln!(f, " udp: {}", self.payload)?;
        self.options.iter().try_for_each(|(code, value)| write_option(*code, value, f))
    }
}

/// An option in dig's words; in hexadecimal, if it is not one of these or not well formed.
fn write_option(code: u16, value: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (code, value) {
        (option_code::CLIENT_SUBNET, [_, family, source, scope, address @ ..])
            if subnet(*family, address).is_some() =>
        {
            let address = subnet(*family, address).unwrap_or_default();
            writeln!(f, "; CLIENT-SUBNET: {address}/{source}/{scope}")
        }
        (option_code::COOKIE, _) => {
            let mut hex = String::new();
            write_hex(value, &mut hex)?;
            writeln!(f, "; COOKIE: {}", hex.to_ascii_lowercase())
        }
        (option_code::KEEPALIVE, [high, low]) => {
            let tenths = u16::from_be_bytes([*high, *low]);
            writeln!(f, "; TCP KEEPALIVE: {}.{} secs", tenths / 10, tenths % 10)
        }
        (option_code::PADDING, _) => writeln!(f, "; PAD ({} bytes)", value.len()),
        (option_code::EXTENDED_ERROR, [high, low, text @ ..]) => {
            let number = u16::from_be_bytes([*high, *low]);
            write!(f, "; EDE: {number}")?;
            if let Some(meaning) = EXTENDED_ERRORS.get(usize::from(number)) {
                write!(f, " ({meaning})")?;
            }
            if !text.is_empty() {
                write!(f, ": ({})", printable(text))?;
            }
            writeln!(f)
        }
        _ => {
            match code {
                option_code::NSID => f.write_str("; NSID:")?,
                _ => write!(f, "; OPT={code}:")?,
            }
            value.iter().try_for_each(|octet| write!(f, " {octet:02x}"))?;
            if value.is_empty() { writeln!(f) } else { writeln!(f, " (\"{}\")", printable(value)) }
        }
    }
}

fn subnet(family: u8, address: &[u8]) -> Option<String> {
    match family {
        1 => {
            let mut whole = [0; 4];
            whole.get_mut(..address.len())?.copy_from_slice(address);
            Some(Ipv4Addr::from(whole).to_string())
        }
        2 => {
            let mut whole = [0; 16];
            whole.get_mut(..address.len())?.copy_from_slice(address);
            Some(Ipv6Addr::from(whole).to_string())
        }
        _ => None,
    }
}

fn printable(text: &[u8]) -> String {
    text.iter().map(|octet| if (b' '..=b'~').contains(octet) { char::from(*octet) } else { '.' }).collect()
}

/// What the numbers of extended errors mean (IANA "Extended DNS Error Codes").
const EXTENDED_ERRORS: [&str; 25] = [
    "Other",
    "Unsupported DNSKEY Algorithm",
    "Unsupported DS Digest Type",
    "Stale Answer",
    "Forged Answer",
    "DNSSEC Indeterminate",
    "DNSSEC Bogus",
    "Signature Expired",
    "Signature Not Yet Valid",
    "DNSKEY Missing",
    "RRSIGs Missing",
    "No Zone Key Bit Set",
    "NSEC Missing",
    "Cached Error",
    "Not Ready",
    "Blocked",
    "Censored",
    "Filtered",
    "Prohibited",
    "Stale NXDOMAIN Answer",
    "Not Authoritative",
    "Not Supported",
    "No Reachable Authority",
    "Network Error",
    "Invalid Data",
];

/// A line whose parts stand in columns, tabs between them; one blank where a part is too long.
struct Columns<'f, 'a> {
    f: &'f mut fmt::Formatter<'a>,
    at: usize,
}

impl<'f, 'a> Columns<'f, 'a> {
    fn new(f: &'f mut fmt::Formatter<'a>) -> Self {
        Self { f, at: 0 }
    }

    fn put(&mut self, column: usize, part: &impl fmt::Display) -> fmt::Result {
        if self.at > 0 {
            let to = column.max(self.at + 1);
            let tabs = to / TAB - self.at / TAB;
            let from = if tabs > 0 { to / TAB * TAB } else { self.at };
            (0..tabs).try_for_each(|_| self.f.write_char('\t'))?;
            (from..to).try_for_each(|_| self.f.write_char(' '))?;
            self.at = to;
        }
        let text = part.to_string();
        self.at += text.len();
        self.f.write_str(&text)
    }

    fn end(self) -> fmt::Result {
        self.f.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::{Message, Name, RecordType, ask};

    fn reply(name: &str, options: &[u8]) -> String {
        let mut reply = ask(4711, &Name::parse(name).unwrap(), RecordType::MX, Some(1232));
        reply[2] = 0x85;
        reply[7] = 1;
        let mut opt = reply.split_off(reply.len() - 11);
        opt[9..].copy_from_slice(&(options.len() as u16).to_be_bytes());
        reply.extend(b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x01\x2c\x00\x09\x00\x0a\x04mail\xc0\x10");
        reply.extend(opt);
        reply.extend(options);
        Message::read(&reply).unwrap().to_string()
    }

    #[test]
    fn prints_as_dig_does() {
        assert_eq!(
            reply("www.example", &[]),
            "\
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 4711
;; flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
;; QUESTION SECTION:
;www.example.\t\t\tIN\tMX

;; ANSWER SECTION:
www.example.\t\t300\tIN\tMX\t10 mail.example.
"
        );
    }

    #[test]
    fn a_long_name_pushes_the_rest_to_the_right() {
        let shown = reply("www.a-name-of-more-than-thirty-octets.example", &[]);
        assert!(shown.contains(".example. 300 IN MX 10 mail."), "{shown}");
    }

    #[test]
    fn options_have_names() {
        let options = b"\x00\x03\x00\x02ns\x00\x08\x00\x07\x00\x01\x18\x10\xc0\x00\x02\
            \x00\x0a\x00\x08clientsO\x00\x0b\x00\x02\x01\x2c\x00\x0c\x00\x03\0\0\0\
            \x00\x0f\x00\x05\x00\x03old\xfd\xe9\x00\x01\xff";
        let shown = reply("www.example", options);
        for line in [
            "; NSID: 6e 73 (\"ns\")",
            "; CLIENT-SUBNET: 192.0.2.0/24/16",
            "; COOKIE: 636c69656e74734f",
            "; TCP KEEPALIVE: 30.0 secs",
            "; PAD (3 bytes)",
            "; EDE: 3 (Stale Answer): (old)",
            "; OPT=65001: ff (\".\")",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} in\n{shown}");
        }
    }
}
