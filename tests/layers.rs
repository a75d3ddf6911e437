//! Data flows one way: a module imports only from those above it in `src/lib.rs`, the pure ones
//! touch nothing of the world, rim modules do not know each other, and `unsafe` has one home.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const RIM: [&str; 6] = ["probe", "agent", "serve", "notify", "store", "sys"];
/// Where the rim begins: everything above it is pure.
const FIRST_RIM: &str = "io";
const UNSAFE_HOME: &str = "src/serve/mmsg.rs";

/// What pure code must not say, and why.
const WORLD: [(&str, &str); 12] = [
    ("tokio::", "it neither waits nor schedules"),
    ("std::fs", "it reads no files"),
    ("std::env", "it has no environment"),
    ("std::thread", "it starts no threads"),
    ("std::process", "it starts no processes"),
    ("Instant::now", "time is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("Timestamp::now", "time is an argument"),
    ("Zoned::now", "time is an argument"),
    ("UdpSocket", "it has no sockets"),
    ("TcpStream", "it has no sockets"),
    ("Rng::new", "randomness is an argument"),
];

struct Module {
    name: String,
    files: Vec<(PathBuf, String)>,
}

/// The modules in the order of lib.rs, each with the text of its files up to their unit tests.
fn modules() -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let names = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules: Vec<Module> = names
        .map(|name| {
            let mut files = Vec::new();
            gather(&root.join("src").join(name), &mut files);
            let files = files.into_iter().map(|path| {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                (path.strip_prefix(root).unwrap().to_owned(), text)
            });
            Module { name: name.to_owned(), files: files.collect() }
        })
        .collect();
    assert!(modules.len() > 15, "lib.rs lists its modules as `pub mod name;`");
    modules
}

fn gather(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.ends_with("tests.rs") {
            // Unit tests that grew into a file of their own.
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Code without comments and the words of string literals left in: good enough to find paths.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.split("//").next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim().is_empty())
}

/// Names that follow `crate::` in a line, also inside `use crate::{a::B, c}`.
fn imports(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let word = |text: &str| -> String {
            text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        match rest.strip_prefix('{') {
            Some(list) => found.extend(list.split(',').map(word)),
            None => found.push(word(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn modules_import_only_from_those_above() {
    let modules = modules();
    let order: BTreeMap<&str, usize> =
        modules.iter().enumerate().map(|(n, module)| (module.name.as_str(), n)).collect();
    let mut complaints = Vec::new();
    let mut seen = 0;
    for module in &modules {
        for (path, text) in &module.files {
            for (n, line) in code(text) {
                for import in imports(line) {
                    let Some(&theirs) = order.get(import.as_str()) else { continue };
                    seen += 1;
                    let mine = order[module.name.as_str()];
                    let place = format!("{}:{n}", path.display());
                    if theirs > mine {
                        complaints.push(format!("{place}: {} must not import {import}", module.name));
                    }
                    let rim = |name: &str| RIM.contains(&name);
                    if theirs != mine && rim(&import) && rim(&module.name) {
                        complaints.push(format!("{place}: the rim's {} must not know {import}", module.name));
                    }
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} imports found: does this test still read them?");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn pure_modules_do_not_touch_the_world() {
    let mut complaints = Vec::new();
    for module in modules().iter().take_while(|module| module.name != FIRST_RIM) {
        for (path, text) in &module.files {
            for (n, line) in code(text) {
                for (word, why) in WORLD {
                    if line.contains(word) {
                        complaints.push(format!("{}:{n}: `{word}` in pure code: {why}", path.display()));
                    }
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn unsafe_has_one_home() {
    for module in modules() {
        for (path, text) in module.files {
            let at_home = path == Path::new(UNSAFE_HOME);
            let found = code(&text).find(|(_, line)| {
                line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
            });
            if let (Some((n, _)), false) = (found, at_home) {
                panic!("{}:{n}: `unsafe` belongs into {UNSAFE_HOME}", path.display());
            }
        }
    }
}

#[test]
fn this_test_sees_a_wrong_import() {
    assert_eq!(imports("use crate::base::{Mono, Now};"), ["base"]);
    assert_eq!(imports("    let x: crate::serve::Server = crate::cli::run();"), ["serve", "cli"]);
    assert_eq!(imports("use crate::{agent::Agents, io};"), ["agent", "io"]);
}
