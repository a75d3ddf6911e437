//! Asks a name server a question, and judges the answer.

use super::finding;
use crate::config::{DnsCheck, DnsRecords, ExpectedRecord};
use crate::health::Finding;
use crate::io::{Clock, Contact, Failure, Net, dns, show};
use crate::wire::{Class, Message, RecordType, ShowRdata};
use crate::zone;

/// RFC 1035 §4.1.1.
const AUTHORITATIVE: u16 = 1 << 10;
/// Records of an answer that are told.
const TOLD_MAX: usize = 4;

pub(super) async fn probe(net: &Net, check: &DnsCheck, contact: &mut Contact) -> Finding {
    ask(net, check, contact).await.unwrap_or_else(finding)
}

async fn ask(net: &Net, check: &DnsCheck, contact: &mut Contact) -> Result<Finding, Failure> {
    let question = (&check.name, check.rtype);
    let dns::Answered { message, over_tcp } =
        dns::query(contact, net, &check.server, question, check.recursion).await?;
    contact.heard_at(Clock.mono());
    contact.note("answer", || message.to_string().trim_end().to_owned());
    Ok(match judge(check, &message) {
        Err(why) => Finding::Fail(why),
        Ok(found) => {
            let over = if over_tcp { "TCP" } else { "UDP" };
            Finding::Pass(format!("{found} in {} (over {over})", show(contact.took())))
        }
    })
}

/// What it answers, if that is as expected; what is not, otherwise.
fn judge(check: &DnsCheck, message: &Message) -> Result<String, String> {
    let expect = &check.expect;
    let records = answers(message, check.rtype);
    let told = told(check.rtype, &records);
    if message.rcode() != expect.rcode {
        return Err(format!("{}, wanted {}", message.rcode(), expect.rcode));
    }
    let is_authoritative = message.flags & AUTHORITATIVE != 0;
    if let Some(wanted) = expect.authoritative.filter(|wanted| *wanted != is_authoritative) {
        let not = if wanted { "not " } else { "" };
        return Err(format!("the answer is {not}authoritative ({told})"));
    }
    let lacks = |wanted: &[ExpectedRecord]| {
        let missing = wanted.iter().find(|wanted| !records.contains(&wanted.rdata));
        missing.map_or(Ok(()), |missing| Err(format!("there is no `{}`: {told}", missing.text)))
    };
    match &expect.records {
        DnsRecords::Whatever => {}
        DnsRecords::Some if records.is_empty() => {
            return Err(format!("{} without any {} record", message.rcode(), check.rtype));
        }
        DnsRecords::Some => {}
        DnsRecords::Contains(wanted) => lacks(wanted)?,
        DnsRecords::Equals(wanted) => {
            lacks(wanted)?;
            if records.iter().any(|record| !wanted.iter().any(|wanted| wanted.rdata == *record)) {
                return Err(format!("there is more than was wanted: {told}"));
            }
        }
    }
    Ok(format!("{}, {told}", message.rcode()))
}

/// The data of the records that were asked for, as the configuration has it: names in lower case.
/// At the end of a CNAME chain their owner is another one.
fn answers(message: &Message, rtype: RecordType) -> Vec<Vec<u8>> {
    let [answer, ..] = &message.sections;
    let of_type = answer.iter().filter(|record| record.rtype == rtype && record.class == Class::IN);
    of_type.map(|record| canonical(rtype, &record.rdata)).collect()
}

fn canonical(rtype: RecordType, rdata: &[u8]) -> Vec<u8> {
    let text = ShowRdata { rtype, rdata }.to_string();
    zone::parse_rdata(rtype, &text, &[0]).unwrap_or_else(|_| rdata.to_vec())
}

fn told(rtype: RecordType, records: &[Vec<u8>]) -> String {
    let mut shown: Vec<String> =
        records.iter().take(TOLD_MAX).map(|rdata| ShowRdata { rtype, rdata }.to_string()).collect();
    if records.len() > TOLD_MAX {
        shown.push(format!("{} more", records.len() - TOLD_MAX));
    }
    match shown.is_empty() {
        true => format!("no {rtype} record"),
        false => format!("{rtype} {}", shown.join(", ")),
    }
}
