//! Names, records and messages in wire form; no allocation where it is hot.
//!
//! Numbers and their mnemonics (`code`), names owned and bare (`name`, `raw`), what each type
//! of record is made of and how that reads and prints (`field`, `rdata`, and the parts too big
//! for a line there: `encoding`, `types`, `svcb`, `location`), the view of a query (`query`,
//! `option`), the writer of a reply (`writer`), signatures of messages (`tsig`), and whole messages
//! for people (`message`), as they print (`dig`).

mod code;
mod dig;
mod encoding;
mod field;
mod hash;
mod index;
mod location;
mod message;
mod name;
mod option;
mod query;
mod raw;
mod rdata;
mod svcb;
mod tsig;
mod types;
mod words;
mod writer;

pub use code::{Class, Opcode, Rcode, RecordType};
pub use encoding::{Base64, from_hex, write_base64};
pub use field::{Field, expand_name, expand_rdata, split_rdata};
pub use hash::hash_name;
pub use index::NameIndex;
pub use message::{AskEdns, Message, Opt, Record, ask, ask_by_edns};
pub use name::{LABEL_OCTETS_MAX, Labels, NAME_OCTETS_MAX, Name, NameError, write_label};
pub use option::{CLIENT_COOKIE_OCTETS, ClientSubnet, Cookie, Malformed, Options, option_code};
pub use query::{Edns, Fault, HEADER_OCTETS, Query, Question};
pub use raw::{
    ShowName, append_name, is_at_or_under, is_wildcard, label_count, name_len, parent, shared_suffix,
    suffixes,
};
pub use rdata::{RDATA_OCTETS_MAX, ShowRdata, parse_rdata};
pub use tsig::{MalformedTsig, Tsig};
pub use types::{read_bitmap, write_bitmap};
pub use words::{Word, WordKind, Words, decimal, seconds};
pub use writer::Writer;
