//! Classes of systems that Maven Central has and Debian 12 has not; fetched once and kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{cache, find, lacks};

/// The classes that `tests/POM` asks for, in the cache's directory of this name. `None`: they could not
/// be had, and that was said.
pub fn jars(pom: &str, name: &str) -> Option<PathBuf> {
    let jars = cache().join(name);
    if !jars.join("complete").exists() {
        fetch(pom, &jars)?;
        std::fs::write(jars.join("complete"), "").unwrap();
    }
    Some(jars)
}

/// Copies them into a directory.
pub fn fetch(pom: &str, into: &Path) -> Option<()> {
    let maven = find("mvn", "maven", &[])?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(pom);
    let fetched = Command::new(maven)
        .current_dir(std::env::temp_dir())
        .args(["-q", "-B", "-f", path.to_str().unwrap(), "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", into.display()))
        .output()
        .unwrap();
    if !fetched.status.success() {
        let why = String::from_utf8_lossy(&fetched.stdout);
        lacks(&format!("what tests/{pom} names, which Maven could not fetch: {why}"));
        return None;
    }
    Some(())
}
