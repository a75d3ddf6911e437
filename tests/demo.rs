//! The demo is the first thing that anybody runs: it must tell its story, with stand-ins and with
//! real programs, and leave nothing behind, however it ends.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use common::{Program, Scratch, find, until};

/// What the demo promises on any machine.
const STORY_MAX: Duration = Duration::from_secs(60);
/// Ctrl-C may wait for a call that is under way.
const END_MAX: Duration = Duration::from_secs(10);
const COLUMNS: usize = 100;
const KILLED: &str = "two of three store members in eu-west are killed";

/// Demos load the machine: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A demo that runs in a temporary directory of its own, or shares one.
struct Demo<'a> {
    program: Program,
    scratch: &'a Scratch,
    log: std::path::PathBuf,
}

impl<'a> Demo<'a> {
    fn start(scratch: &'a Scratch, name: &str, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(scratch.path().join("tmp")).unwrap();
        let log = scratch.path().join(format!("{name}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.arg("demo").args(arguments).env("TMPDIR", scratch.path().join("tmp"));
        // What a user may have set must not reach the programs that the demo starts.
        command.env("PGPORT", "1").env("PGDATA", "/nowhere").env("ETCD_NAME", "nobody");
        let program = Program::start(&mut command, "the demo", &log);
        Self { program, scratch, log }
    }

    /// What it has printed so far, with broken lines joined again.
    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap().replace("\n                     ", " ")
    }

    fn until_it_says(&mut self, words: &str) {
        until(&format!("the demo to say `{words}`"), STORY_MAX, || {
            let text = self.text();
            assert!(!self.program.has_ended(), "{text}");
            text.contains(words)
        });
    }

    fn until_it_ends(&mut self, within: Duration) {
        until("the demo to end", within, || self.program.has_ended());
    }

    /// No file, and no process that was started with one.
    fn left_nothing(&self) {
        let root = self.scratch.path().join("tmp");
        let left = |root: &Path| std::fs::read_dir(root).unwrap().count();
        assert_eq!((left(&root), processes_of(&root)), (0, Vec::new()), "{}", self.text());
    }
}

/// Command lines of processes that name a path.
fn processes_of(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let lines = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = lines.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(path)).map(|line| line.replace('\0', " ")).collect()
}

fn tools() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let further: Vec<_> = versions.map(|entry| entry.path().join("bin").display().to_string()).collect();
    let further: Vec<&str> = further.iter().map(String::as_str).collect();
    find("etcd", "etcd-server", &[]).is_some() && find("initdb", "postgresql", &further).is_some()
}

/// All of these are said, one after the other.
fn in_order(text: &str, facts: &[&str]) {
    let mut rest = text;
    for fact in facts {
        let Some(at) = rest.find(fact) else { panic!("not said, or too early: `{fact}`\n{text}") };
        rest = &rest[at + fact.len()..];
    }
}

fn tells_the_story(demo: &mut Demo<'_>, real: bool) {
    demo.until_it_ends(STORY_MAX);
    let text = demo.text();
    assert!(demo.program.succeeded(), "{text}");
    let fenced = "us-east was promoted, on timeline 2; a write as `app` succeeds; \
                  eu-west is fenced: a login as `app` is refused; logins given back to app";
    let promoted = "promote-database (http) applied";
    let rewound = "a person rewinds the old primary in eu-west (pg_rewind)";
    in_order(
        &text,
        &[
            "serves gtm.example.com on 127.0.0.1:",
            KILLED,
            "verdict   eu-west/quorum/sessions: fail: 2 of 3 voters refuse connections",
            "-> no_quorum (flip",
            "is live: storefront answers us-east (policy failover)",
            if real { fenced } else { promoted },
            "is live: petstore answers us-east (dialled by petstore-failover-",
            "the two members come back",
            "-> healthy (flip",
            if real { rewound } else { "" },
            "is live: storefront answers eu-west (policy failover)",
            "for petstore a person now runs the workflow the other way",
            if real { "eu-west was promoted, on timeline 3" } else { promoted },
            "is live: petstore answers eu-west (dialled by petstore-failover-",
        ],
    );
    in_order(&text, &["verdict   eu-west/quorum/sessions: pass: 3 of 3 voters follow", KILLED]);
    // The region answers all the time: only the quorum is gone.
    in_order(&text, &[KILLED, "sample    eu-west/service/http: pass: status 200", "members come back"]);
    in_order(&text, &[KILLED, "prescale (capacity) applied: us-east is at 100 %", "members come back"]);
    in_order(
        &text,
        &[
            "client    storefront.gtm.example.com is 192.0.2.10 (eu-west)",
            KILLED,
            "client    storefront.gtm.example.com is 198.51.100.10 (us-east)",
            "client    petstore.gtm.example.com is 198.51.100.20 (us-east)",
            "the two members come back",
            "client    storefront.gtm.example.com is 192.0.2.10 (eu-west)",
            "client    petstore.gtm.example.com is 192.0.2.20 (eu-west)",
            "So there never were two writers at once.",
            "The database was promoted twice.",
            "Capacity was added once in us-east.",
        ],
    );
    let mut generations: Vec<u32> = Vec::new();
    for (at, words) in text.match_indices("table     table ") {
        generations.push(text[at + words.len()..].split(' ').next().unwrap().parse().unwrap());
    }
    assert!(generations.is_sorted(), "{generations:?}");
    generations.dedup();
    assert!(generations.len() >= 5, "{generations:?}");
    // What it says of itself is true.
    assert_eq!(text.contains("simulated  in each region a web server, and the client"), real, "{text}");
    assert_eq!(text.contains("writes that were taken, eu-west has"), real, "{text}");
    let raw = std::fs::read_to_string(&demo.log).unwrap();
    let long = raw.lines().find(|line| !line.starts_with("  files") && line.chars().count() > COLUMNS);
    assert_eq!(long, None, "too long to read");
}

#[test]
fn two_demos_at_once_tell_their_stories() {
    let _alone = alone();
    let scratch = Scratch::new("demo");
    let mut demos = ["one", "two"].map(|name| Demo::start(&scratch, name, &[]));
    for demo in &mut demos {
        tells_the_story(demo, false);
    }
    demos[0].left_nothing();
}

#[test]
fn two_demos_at_once_tell_their_stories_with_real_programs() {
    if !tools() {
        return;
    }
    let _alone = alone();
    let scratch = Scratch::new("demo-real");
    let mut demos = ["one", "two"].map(|name| Demo::start(&scratch, name, &["--real"]));
    for demo in &mut demos {
        tells_the_story(demo, true);
    }
    demos[0].left_nothing();
}

/// Ctrl-C after something was said.
fn interrupted(arguments: &[&str], after: &str) {
    let _alone = alone();
    let scratch = Scratch::new("demo-interrupted");
    let mut demo = Demo::start(&scratch, "demo", arguments);
    demo.until_it_says(after);
    demo.program.signal(Signal::INT);
    demo.until_it_ends(END_MAX);
    assert!(!demo.program.succeeded(), "half a story is not a success");
    assert!(demo.text().contains("interrupted; everything that the demo had started is ended"));
    demo.left_nothing();
}

#[test]
fn interrupted_it_leaves_nothing() {
    interrupted(&[], KILLED);
}

#[test]
fn interrupted_with_real_programs_it_leaves_nothing() {
    if tools() {
        // While everything starts, and in the middle.
        interrupted(&["--real"], "(removed at the end");
        interrupted(&["--real"], "promote-database (database) begins");
    }
}

#[test]
fn killed_with_real_programs_it_leaves_nothing() {
    if !tools() {
        return;
    }
    let _alone = alone();
    let scratch = Scratch::new("demo-killed");
    let mut demo = Demo::start(&scratch, "demo", &["--real"]);
    demo.until_it_says(KILLED);
    let root = scratch.path().join("tmp");
    assert!(processes_of(&root).len() > 4, "otherwise the rest proves nothing");
    demo.program.kill();
    until("everything to go", END_MAX, || {
        std::fs::read_dir(&root).unwrap().count() == 0 && processes_of(&root).is_empty()
    });
}

#[test]
fn its_files_stay_if_they_are_wanted() {
    let _alone = alone();
    let scratch = Scratch::new("demo-kept");
    let mut demo = Demo::start(&scratch, "demo", &["--keep"]);
    demo.until_it_says("serves gtm.example.com");
    demo.program.signal(Signal::TERM);
    demo.until_it_ends(END_MAX);
    let kept = std::fs::read_dir(scratch.path().join("tmp")).unwrap().next().unwrap().unwrap().path();
    assert!(kept.join("pointsman.yaml").is_file() && kept.join("state").is_dir());
}

#[test]
fn what_is_missing_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["demo", "--real"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(words.contains("apt install etcd-server"), "{words}");
    assert!(words.contains("plain `demo` needs nothing"), "{words}");
}
