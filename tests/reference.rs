//! The references under `config/` load, and name every key, kind and word that the files may hold.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pointsman::base::Source;
use pointsman::config::yaml::{self, Node, Value};
use pointsman::sys;

const CONFIG: &str = "config/reference.yaml";
const WORKFLOW: &str = "config/workflows/reference.yaml";
const CONFIG_SHAPES: &str = "src/config/spec";
const WORKFLOW_SHAPES: &str = "src/workflow/file/shape.rs";
const SECRET_SHAPES: &str = "src/base/secret.rs";
const COLUMNS_MAX: usize = 110;

/// Enums whose words are values, and the reference that has to say each of them.
const WORDS: [(&str, &str, &str); 19] = [
    ("src/config/model", "Silence", CONFIG),
    ("src/config/model", "SeriesRule", CONFIG),
    ("src/config/model", "NoData", CONFIG),
    ("src/config/model", "SerialPolicy", CONFIG),
    ("src/config/model", "DynamicNames", CONFIG),
    ("src/sign/policy.rs", "Layout", CONFIG),
    ("src/config/model", "Mode", CONFIG),
    ("src/config/model", "HttpMethod", CONFIG),
    ("src/config/model", "ExitCodes", CONFIG),
    ("src/config/conduct.rs", "CookieHandling", CONFIG),
    ("src/config/model", "Carries", CONFIG),
    ("src/config/model", "SilentMeans", CONFIG),
    ("src/config/model", "UnreachableWriter", CONFIG),
    ("src/config/model", "SwitchedBy", CONFIG),
    ("src/config/model", "AllDown", CONFIG),
    ("src/base/health.rs", "Health", CONFIG),
    ("src/workflow/model.rs", "Jitter", WORKFLOW),
    ("src/workflow/model.rs", "OnFailure", WORKFLOW),
    ("src/workflow/op.rs", "DatabaseRole", WORKFLOW),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file's text, or that of all files of a folder.
fn text(path: &str) -> String {
    let path = root().join(path);
    if !path.is_dir() {
        return std::fs::read_to_string(path).unwrap();
    }
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

// ── the shapes, as the sources have them ──

/// A struct or an enum that a file is read into.
#[derive(Default)]
struct Shape {
    name: String,
    is_enum: bool,
    /// Nothing but its keys may stand there.
    closed: bool,
    /// Keys of a struct, words of an enum.
    words: BTreeSet<String>,
    /// Keys of the structs that may share its mapping.
    beside: Vec<BTreeSet<String>>,
}

impl Shape {
    /// Whether a mapping with these keys may be of this shape.
    fn fits(&self, keys: &BTreeSet<String>) -> bool {
        let known =
            |other: &BTreeSet<String>| keys.iter().all(|key| self.words.contains(key) || other.contains(key));
        !self.closed || keys.is_subset(&self.words) || self.beside.iter().any(known)
    }
}

/// Structs that share a mapping with all those that are written `Alias<Own>`.
const SHARED: [(&str, &str); 2] = [("Timed<", "Schedule"), ("Framed<", "Frame")];

/// Reads what `#[derive(Deserialize)]` reads: field names with their renames, variants in snake case.
fn shapes(path: &str) -> Vec<Shape> {
    let source = text(path);
    let mut shapes = Vec::new();
    let (mut derived, mut closed, mut rename) = (false, false, None);
    let mut open: Option<Shape> = None;
    for line in source.lines() {
        let words = line.trim();
        let item = words.trim_start_matches("pub(super) ").trim_start_matches("pub ");
        match &mut open {
            None if words.starts_with("#[") => {
                derived |= words.starts_with("#[derive(") && words.contains("Deserialize");
                closed |= words.contains("deny_unknown_fields");
            }
            None if words.starts_with("//") => {}
            None => {
                let kind = item.strip_suffix('{').and_then(|item| item.trim().split_once(' '));
                if let Some((kind @ ("struct" | "enum"), name)) = kind
                    && derived
                {
                    let is_enum = kind == "enum";
                    open = Some(Shape { name: name.to_owned(), is_enum, closed, ..Shape::default() });
                }
                (derived, closed) = (false, false);
            }
            Some(_) if line == "}" => shapes.extend(open.take()),
            Some(_) if words.starts_with("#[") => {
                let renamed = words.strip_prefix("#[serde(rename = \"");
                rename = rename.or(renamed.and_then(|rest| rest.split('"').next()));
            }
            Some(_) if words.starts_with("//") || !line.starts_with("    ") => {}
            // What a variant holds.
            Some(_) if line.starts_with("     ") || words.starts_with('}') => {}
            Some(shape) => {
                let name = item.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let word = rename.take().map_or_else(|| snake(name), str::to_owned);
                assert!(!word.is_empty(), "{path}: {line}");
                shape.words.insert(word);
            }
        }
    }
    assert!(!shapes.is_empty(), "{path} has no shapes");
    for (alias, shared) in SHARED {
        let owns: BTreeSet<&str> =
            source.split(alias).skip(1).filter_map(|rest| rest.split('>').next()).collect();
        let words_of = |wanted: &dyn Fn(&str) -> bool| -> Vec<BTreeSet<String>> {
            shapes.iter().filter(|shape| wanted(&shape.name)).map(|shape| shape.words.clone()).collect()
        };
        let (own, shared_words) = (words_of(&|name| owns.contains(name)), words_of(&|name| name == shared));
        for shape in &mut shapes {
            match shape.name.as_str() {
                name if name == shared => shape.beside.clone_from(&own),
                name if owns.contains(name) => shape.beside.clone_from(&shared_words),
                _ => {}
            }
        }
    }
    shapes
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

// ── the references ──

#[derive(Default)]
struct Found {
    /// The keys of each mapping.
    mappings: Vec<BTreeSet<String>>,
    /// Every key, and every text that stands alone.
    words: BTreeSet<String>,
}

impl Found {
    fn of(path: &str) -> Self {
        let tree = yaml::parse(&Source::new(path, text(path))).unwrap();
        let mut found = Self::default();
        found.visit(&tree);
        found
    }

    fn visit(&mut self, node: &Node) {
        match &node.value {
            Value::Map(entries) => {
                let keys: BTreeSet<String> = entries.iter().map(|(key, _)| key.text.clone()).collect();
                self.words.extend(keys.iter().cloned());
                self.mappings.push(keys);
                entries.iter().for_each(|(_, value)| self.visit(value));
            }
            Value::List(items) => items.iter().for_each(|item| self.visit(item)),
            Value::Text(text) => drop(self.words.insert(text.clone())),
            _ => {}
        }
    }

    /// What a shape has and the reference never shows: a key counts where it stands in a mapping
    /// that may be of the shape.
    fn missing(&self, shape: &Shape) -> Vec<String> {
        let shown: BTreeSet<&String> = match shape.is_enum {
            true => self.words.iter().collect(),
            false => self.mappings.iter().filter(|keys| shape.fits(keys)).flatten().collect(),
        };
        let absent = shape.words.iter().filter(|word| !shown.contains(word));
        absent.map(|word| format!("{}: {word}", shape.name)).collect()
    }
}

#[test]
fn the_references_load() {
    let loaded = sys::load(&root().join(CONFIG));
    let (setup, warnings) = loaded.unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
    assert!(warnings.is_empty(), "{}", warnings.render(false));
    let files: Vec<&Path> = setup.config.workflows.iter().map(|workflow| workflow.file.as_path()).collect();
    assert!(files.contains(&root().join(WORKFLOW).as_path()), "{CONFIG} names {files:?}");
}

#[test]
fn every_key_and_kind_is_shown() {
    let mut missing = Vec::new();
    for (shape_file, reference, least) in
        [(CONFIG_SHAPES, CONFIG, 30), (WORKFLOW_SHAPES, WORKFLOW, 15), (SECRET_SHAPES, CONFIG, 1)]
    {
        let (shapes, found) = (shapes(shape_file), Found::of(reference));
        assert!(shapes.len() >= least, "{shape_file}: only {} shapes were understood", shapes.len());
        for shape in &shapes {
            // The file without a version is explained in words: it cannot stand beside the other.
            // So is a certificate: no file lies here that could be one.
            if !["Article", "ArticleStage", "Certificate"].contains(&shape.name.as_str()) {
                missing.extend(found.missing(shape).into_iter().map(|what| format!("{reference}: {what}")));
            }
        }
    }
    // The name of a stage is its key; a list needs it as a key of its own.
    missing.retain(|what| what != &format!("{WORKFLOW}: Stage: name"));
    assert!(missing.is_empty(), "not shown:\n{}", missing.join("\n"));
}

#[test]
fn every_word_is_said() {
    for (file, name, reference) in WORDS {
        let shapes = shapes(file);
        let shape = shapes.iter().find(|shape| shape.name == name).unwrap();
        let text = text(reference).to_lowercase();
        let said: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for word in &shape.words {
            assert!(said.contains(word.as_str()), "{reference} does not say `{word}` of {file}, {name}");
        }
    }
}

#[test]
fn they_fit_a_terminal() {
    for path in [CONFIG, WORKFLOW] {
        for (at, line) in text(path).lines().enumerate() {
            let columns = line.chars().count();
            assert!(columns <= COLUMNS_MAX, "{path}:{}: {columns} columns", at + 1);
        }
    }
}

#[test]
fn a_key_that_is_not_shown_is_told() {
    let shape = |words: &[&str], closed| Shape {
        name: "Tcp".into(),
        is_enum: false,
        closed,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        beside: Vec::new(),
    };
    let found = Found::of(CONFIG);
    let tcp = ["address", "send", "expect", "interval", "timeout", "rise", "fall", "jitter", "source"];
    assert_eq!(found.missing(&shape(&tcp, true)), [""; 0]);
    // Both are shown, but only in checks that also have an address.
    let apart = shape(&["server_name", "min_validity"], true);
    assert_eq!(found.missing(&apart), ["Tcp: min_validity", "Tcp: server_name"]);
    assert_eq!(found.missing(&shape(&["address", "connect", "novel"], false)), ["Tcp: novel"]);
}
