//! Names, records and messages in wire form; no allocation where it is hot.

mod name;

pub use name::{LABEL_OCTETS_MAX, Labels, NAME_OCTETS_MAX, Name, NameError, write_label};
