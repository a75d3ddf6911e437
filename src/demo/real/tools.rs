//! Finding the programs, and the user that PostgreSQL runs as.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

/// Where Debian keeps each major version's programs, which are not in the path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// What the demo needs of PostgreSQL, all from one directory.
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "pg_basebackup", "pg_rewind"];
/// PostgreSQL refuses to run as root; who does it then.
const SERVANTS: [&str; 2] = ["postgres", "nobody"];

/// The programs that are needed, and who runs PostgreSQL.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The program.
    pub etcd: PathBuf,
    /// The directory of PostgreSQL's programs.
    pub postgres: PathBuf,
    /// User and group for PostgreSQL; none: who we are.
    pub servant: Option<(u32, u32)>,
}

impl Tools {
    /// Looks in the path, and where Debian keeps PostgreSQL.
    ///
    /// # Errors
    /// What is missing, and what to install.
    pub fn find() -> Result<Self, String> {
        let path: Vec<PathBuf> =
            std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
        let etcd = path.iter().map(|directory| directory.join("etcd")).find(|file| file.is_file());
        let postgres = path
            .iter()
            // A link in the path: its target's directory has the rest.
            .filter_map(|directory| {
                Some(directory.join("postgres").canonicalize().ok()?.parent()?.to_owned())
            })
            .chain(debian(Path::new(DEBIAN)))
            .find(|directory| PROGRAMS.iter().all(|program| directory.join(program).is_file()));
        match (etcd, postgres) {
            (Some(etcd), Some(postgres)) => Ok(Self { etcd, postgres, servant: servant()? }),
            (etcd, postgres) => {
                let packages: Vec<&str> =
                    [etcd.is_none().then_some("etcd-server"), postgres.is_none().then_some("postgresql")]
                        .into_iter()
                        .flatten()
                        .collect();
                Err(format!(
                    "`demo --real` needs {0} (on Debian: apt install {0}); plain `demo` needs nothing",
                    packages.join(" ")
                ))
            }
        }
    }
}

/// The directories of all versions, newest first.
fn debian(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| Reverse(*version));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

fn servant() -> Result<Option<(u32, u32)>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").map_err(|why| format!("/etc/passwd: {why}"))?;
    match SERVANTS.iter().find_map(|name| ids(&users, name)) {
        Some(ids) => Ok(Some(ids)),
        None => Err("PostgreSQL refuses to run as root, and there is no user `postgres`: \
                     run the demo as somebody else"
            .to_owned()),
    }
}

/// User and group of a name (passwd(5)); never root's.
fn ids(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2);
    let (user, group) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    (user != 0).then_some((user, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let root = std::env::temp_dir().join(format!("pointsman-demo-tools-{}", std::process::id()));
        for version in ["9", "15", "17", "common"] {
            std::fs::create_dir_all(root.join(version)).unwrap();
        }
        let found = debian(&root);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, ["17/bin", "15/bin", "9/bin"].map(|path| root.join(path)));
        assert_eq!(debian(&root), [] as [PathBuf; 0]);
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\npostgresql:x:7:8::/:/bin/sh\n\
                     postgres:x:112:117:PostgreSQL:/var/lib/postgresql:/bin/bash\nbroken:x\n";
        assert_eq!(ids(users, "postgres"), Some((112, 117)));
        assert_eq!(ids(users, "root"), None);
        assert_eq!(ids(users, "broken"), None);
        assert_eq!(ids(users, "nobody"), None);
    }
}
