//! Every file under `tests/cases/` is a test: a scenario on virtual time, run through the daemon's
//! own decisions, must make the daemon do exactly what the file expects.
//!
//! `POINTSMAN_BLESS=1 cargo test --test cases` writes what happens into the files; read the
//! difference before you commit it.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use pointsman::base::Source;
use pointsman::{sim, sys};

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .filter(|path| !path.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with('_')))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are no cases under {}", root.display());
    let trials = files.into_iter().map(|file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        Trial::test(name, move || case(&file))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn case(file: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(file).map_err(|why| why.to_string())?;
    let source = Source::new(file.display().to_string(), text.clone());
    let scenario = sim::parse(&source).map_err(|mistakes| mistakes.render(false))?;
    let load = |path: &Path| match sys::load(&file.parent().unwrap().join(path)) {
        Ok((setup, _)) => Ok(setup),
        Err(mistakes) => Err(mistakes.render(false)),
    };
    let setup = load(&scenario.config)?;
    let trace = sim::run(&scenario, &setup, &load)?;
    if let Some(violation) = trace.lines().find(|line| line.starts_with("VIOLATION")) {
        return Err(format!("{violation}\n\n{trace}").into());
    }
    if std::env::var_os("POINTSMAN_BLESS").is_some() {
        return bless(file, &text, &trace);
    }
    match trace.trim_end() == scenario.expect.trim_end() {
        true => Ok(()),
        false => Err(difference(&scenario.expect, &trace).into()),
    }
}

/// Writes the trace into the file's last key.
fn bless(file: &Path, text: &str, trace: &str) -> Result<(), Failed> {
    let (head, _) = text.split_once("\nexpect:").ok_or("`expect:` must be the last key")?;
    let lines: String = trace.lines().map(|line| format!("  {line}\n")).collect();
    std::fs::write(file, format!("{head}\nexpect: |\n{lines}")).map_err(|why| why.to_string().into())
}

/// Both, line by line, from the first line that differs.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(a, b)| a.trim_end() == b.trim_end()).count();
    let mut out = format!("the first {same} lines are as expected; then\n");
    for line in expected.iter().skip(same).take(12) {
        out.push_str(&format!("- {line}\n"));
    }
    for line in found.iter().skip(same).take(12) {
        out.push_str(&format!("+ {line}\n"));
    }
    out
}
