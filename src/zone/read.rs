//! Entries → records: directives, owners, TTLs, classes, types (RFC 1035 §5.1, RFC 2308 §4).

use std::path::{Component, Path};
use std::sync::Arc;

use super::group::Gathered;
use super::lex::Lexer;
use super::notes::Notes;
use crate::base::{Place, Source, nearest};
use crate::wire::{
    Class, Name, NameError, RecordType, ShowName, Word, WordKind, Words, append_name, is_at_or_under,
    parse_rdata, seconds,
};

/// Hands over the file that `$INCLUDE` names, a path below the zone's directory.
///
/// # Errors
/// A sentence: it cannot be read.
pub type Include<'i> = dyn FnMut(&Path) -> Result<Arc<Source>, String> + 'i;

/// Files may include files so many deep.
const INCLUDE_DEPTH_MAX: usize = 8;
/// A zone consists of at most so many files.
const FILES_MAX: usize = u16::MAX as usize;
/// A file is at most so long; places in it are kept in 32 bits.
const FILE_OCTETS_MAX: usize = u32::MAX as usize;
/// A TTL is at most this (RFC 2181 §8).
const TTL_MAX: u32 = i32::MAX as u32;

/// Reads a zone's file and those it includes.
pub(super) struct Reader<'i> {
    pub(super) gathered: Gathered,
    pub(super) notes: Notes,
    include: &'i mut Include<'i>,
    /// The files that are open, the outermost first.
    open: Vec<Arc<Source>>,
    /// From `$TTL`.
    default_ttl: Option<u32>,
    /// The one stated last (RFC 1035 §5.1: "omitted … default to the last explicitly stated").
    last_ttl: Option<u32>,
}

/// What is wrong with an entry, and how to mend it. It stands at the word read last.
struct Wrong {
    message: String,
    help: Option<String>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { message, help: None }
    }
}

fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { message: message.into(), help: Some(help.into()) })
}

/// Where a file stands while it is read.
struct Scope {
    file: u16,
    /// What relative names are relative to.
    origin: Vec<u8>,
    /// The owner of the record before, if there was one.
    owner: Option<u32>,
}

impl<'i> Reader<'i> {
    pub(super) fn new(apex: &Name, include: &'i mut Include<'i>) -> Self {
        Self {
            gathered: Gathered::new(apex),
            notes: Notes::default(),
            include,
            open: Vec::new(),
            default_ttl: None,
            last_ttl: None,
        }
    }

    /// Reads a file to its end.
    pub(super) fn file(&mut self, source: &Arc<Source>, origin: Vec<u8>) {
        if source.text().len() > FILE_OCTETS_MAX || self.gathered.files.len() >= FILES_MAX {
            let place = Place::whole(source);
            self.notes.error(
                &place,
                "the zone is too big: a file has at most 4 GiB, a zone 65535 files",
                None,
            );
            return;
        }
        self.gathered.start_file(source);
        let file = (self.gathered.files.len() - 1) as u16;
        self.open.push(Arc::clone(source));
        let mut scope = Scope { file, origin, owner: None };
        let mut lexer = Lexer::new(source.text());
        while let Some(blank) = lexer.next_entry() {
            if let Err(Wrong { message, help }) = self.entry(&mut lexer, blank, &mut scope) {
                self.notes.error(&Place::new(source, lexer.last()), message, help);
            }
            if self.notes.are_enough() {
                break;
            }
        }
        self.open.pop();
    }

    fn entry(&mut self, lexer: &mut Lexer<'_>, blank: bool, scope: &mut Scope) -> Result<(), Wrong> {
        let Some(first) = lexer.next_word()? else { return Ok(()) };
        let at = lexer.last().start as u32;
        if blank {
            let owner = scope.owner.ok_or("no owner: no record stands before this one".to_owned())?;
            return self.record(lexer, first, owner, at, scope);
        }
        if first.kind == WordKind::Plain && first.text.starts_with(b"$") {
            return self.directive(lexer, first, scope);
        }
        let owner = self.owner(first, scope);
        if owner.is_ok() {
            scope.owner = owner.as_ref().ok().copied();
        }
        let owner = owner?;
        let Some(next) = lexer.next_word()? else {
            return wrong(
                "a name and nothing else",
                "write `name TTL IN type data`; a blank before repeats the owner",
            );
        };
        self.record(lexer, next, owner, at, scope)
    }

    /// Reads the owner and tells its number.
    fn owner(&mut self, word: Word<'_>, scope: &Scope) -> Result<u32, Wrong> {
        if word.kind != WordKind::Plain {
            return Err(format!("\"{}\" is quoted, which no name may be", word.shown()).into());
        }
        let names = &mut self.gathered.names;
        let start = names.len();
        if let Err(why) = append_name(word.text, &scope.origin, names) {
            names.truncate(start);
            return Err(bad_name(word, why));
        }
        let apex = self.gathered.apex.as_wire();
        if !is_at_or_under(&names[start..], apex) {
            let shown = ShowName(&names[start..]).to_string();
            names.truncate(start);
            let apex = &self.gathered.apex;
            return wrong(
                format!("{shown} lies outside the zone {apex}"),
                "a name that ends in a dot is taken as it stands",
            );
        }
        Ok(self.gathered.intern(start)?)
    }

    /// Reads what follows the owner: TTL and class in any order, type, data.
    fn record(
        &mut self,
        lexer: &mut Lexer<'_>,
        first: Word<'_>,
        owner: u32,
        at: u32,
        scope: &Scope,
    ) -> Result<(), Wrong> {
        let (mut ttl, mut class) = (None, None);
        let mut word = first;
        let rtype = loop {
            if word.kind == WordKind::Plain {
                if ttl.is_none() && word.text.first().is_some_and(u8::is_ascii_digit) {
                    ttl = Some(read_ttl(word)?);
                    word = next(lexer, "a type")?;
                    continue;
                }
                if class.is_none()
                    && let Some(read) = Class::parse(word.text)
                {
                    if read != Class::IN {
                        return Err(format!("class {read}: only IN is served").into());
                    }
                    class = Some(read);
                    word = next(lexer, "a type")?;
                    continue;
                }
            }
            break record_type(word)?;
        };
        if ttl.is_some() {
            self.last_ttl = ttl;
        }
        let Some(ttl) = ttl.or(self.default_ttl).or(self.last_ttl) else {
            return wrong("no TTL is known for this record", "put a line `$TTL 300` before the first record");
        };
        let data_at = self.gathered.data.len();
        if let Err(why) = parse_rdata(rtype, lexer, &scope.origin, &mut self.gathered.data) {
            self.gathered.data.truncate(data_at);
            return Err(why.into());
        }
        Ok(self.gathered.push(owner, rtype, ttl, data_at, scope.file, at)?)
    }

    fn directive(&mut self, lexer: &mut Lexer<'_>, word: Word<'_>, scope: &mut Scope) -> Result<(), Wrong> {
        match &*word.text.to_ascii_uppercase() {
            b"$ORIGIN" => {
                let word = next(lexer, "a name")?;
                scope.origin = relative_to(word, &scope.origin)?;
            }
            b"$TTL" => self.default_ttl = Some(read_ttl(next(lexer, "a TTL")?)?),
            b"$INCLUDE" => return self.include(lexer, scope),
            b"$GENERATE" => {
                return wrong(
                    "$GENERATE is BIND's own and not understood",
                    "write the records out, or have a wildcard answer (`*`)",
                );
            }
            _ => {
                let shown = word.shown();
                return Err(Wrong {
                    help: nearest(&shown, ["$ORIGIN", "$TTL", "$INCLUDE"])
                        .map(|near| format!("did you mean {near}?")),
                    message: format!("{shown} is not a directive; there are $ORIGIN, $TTL and $INCLUDE"),
                });
            }
        }
        nothing_left(lexer)
    }

    /// `$INCLUDE file [origin]`. The origin and the owner of this file stay what they are.
    fn include(&mut self, lexer: &mut Lexer<'_>, scope: &Scope) -> Result<(), Wrong> {
        let word = next(lexer, "a file")?;
        let mut path = Vec::new();
        word.octets(&mut path)?;
        let path = String::from_utf8(path).map_err(|_| "this path is not UTF-8".to_owned())?;
        let path = Path::new(&path);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || path.as_os_str().is_empty() {
            return wrong(
                format!("`{}` may lead out of the zone's directory", path.display()),
                "name a file in the directory of the zone file, or below it, without `..`",
            );
        }
        if self.open.len() > INCLUDE_DEPTH_MAX {
            return Err(format!("files include files more than {INCLUDE_DEPTH_MAX} deep").into());
        }
        let file_place = lexer.last();
        let origin = match lexer.next_word()? {
            Some(word) => relative_to(word, &scope.origin)?,
            None => scope.origin.clone(),
        };
        nothing_left(lexer)?;
        let this = Arc::clone(&self.gathered.files[usize::from(scope.file)]);
        let source = match (self.include)(path) {
            Ok(source) if self.open.iter().any(|open| open.name() == source.name()) => {
                Err(format!("{} includes itself", source.name()))
            }
            Ok(source) => Ok(source),
            Err(why) => Err(format!("cannot include `{}`: {why}", path.display())),
        };
        match source {
            Ok(source) => self.file(&source, origin),
            Err(message) => self.notes.error(&Place::new(&this, file_place), message, None),
        }
        Ok(())
    }
}

fn next<'a>(lexer: &mut Lexer<'a>, what: &str) -> Result<Word<'a>, Wrong> {
    lexer.next_word()?.ok_or_else(|| format!("{what} must follow").into())
}

fn nothing_left(lexer: &mut Lexer<'_>) -> Result<(), Wrong> {
    match lexer.next_word()? {
        None => Ok(()),
        Some(word) => Err(format!("`{}` is too much", word.shown()).into()),
    }
}

fn relative_to(word: Word<'_>, origin: &[u8]) -> Result<Vec<u8>, Wrong> {
    let mut name = Vec::new();
    append_name(word.text, origin, &mut name).map_err(|why| bad_name(word, why))?;
    Ok(name)
}

fn bad_name(word: Word<'_>, why: NameError) -> Wrong {
    format!("`{}`: {why}", word.shown()).into()
}

fn read_ttl(word: Word<'_>) -> Result<u32, Wrong> {
    match seconds(word.text) {
        Some(ttl) if ttl <= TTL_MAX => Ok(ttl),
        Some(_) => Err(format!("a TTL is at most {TTL_MAX}").into()),
        None => wrong(format!("`{}` is not a TTL", word.shown()), "write seconds, or units like 1h30m"),
    }
}

fn record_type(word: Word<'_>) -> Result<RecordType, Wrong> {
    match RecordType::parse(word.text).filter(|_| word.kind == WordKind::Plain) {
        Some(rtype) if rtype.is_meta() || rtype.0 == 0 => {
            Err(format!("{rtype} exists in messages only, never in a zone").into())
        }
        Some(rtype) => Ok(rtype),
        None => {
            let shown = word.shown();
            let near = nearest(&shown.to_ascii_uppercase(), RecordType::mnemonics())
                .map(|near| format!("did you mean {near}?"));
            let help = near.unwrap_or_else(|| {
                "types without a name are written TYPE65280, with `\\# length hex`".into()
            });
            wrong(format!("`{shown}` is not a record type"), help)
        }
    }
}
