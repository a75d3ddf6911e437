//! The data of one record, from a text of its own.

use super::lex::Lexer;
use crate::wire::{self, RecordType};

/// Reads the data of a record as a zone file writes it, and gives its wire form with names
/// uncompressed and lower-cased.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn parse_rdata(rtype: RecordType, text: &str, origin: &[u8]) -> Result<Vec<u8>, String> {
    let mut lexer = Lexer::new(text);
    let mut rdata = Vec::new();
    lexer.next_entry();
    wire::parse_rdata(rtype, &mut lexer, origin, &mut rdata)?;
    match lexer.next_entry() {
        None => Ok(rdata),
        Some(_) => Err("this is more than one record".to_owned()),
    }
}
