//! The demo's directory: everything that it and its programs write. It goes when the demo goes,
//! and so do the programs, even if the demo is killed.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Directories of demos that are still there, or were left behind, with our process number.
const SAME_NAME_MAX: u32 = 100;
/// A program that is being killed may still write; then the directory is not empty.
const REMOVALS_MAX: u32 = 20;
const REMOVE_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Waits until its standard input ends, which it does however the demo ends. `running` has a
/// file for each process group that has not been waited for. SIGQUIT first: to PostgreSQL it
/// means to end at once, its children included, which are not in its process group.
const KEEPER: &str = r#"
read -r _
signal() { for file in "$1"/running/*; do kill "-$2" "-${file##*/}"; done 2>/dev/null; }
signal "$1" QUIT; sleep 2; signal "$1" KILL
[ "$2" = keep ] || rm -rf -- "$1"
"#;

/// A directory of this demo alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    keep: bool,
    keeper: Option<Child>,
}

impl Directory {
    /// Makes it, under the directory for temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(keep: bool) -> io::Result<Self> {
        // Others may pass through, nothing more: PostgreSQL may run as another user.
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o711);
        let (root, id) = (std::env::temp_dir(), std::process::id());
        let mut n = 0;
        let path = loop {
            let path = match n {
                0 => root.join(format!("pointsman-demo-{id}")),
                n => root.join(format!("pointsman-demo-{id}-{n}")),
            };
            match builder.create(&path) {
                Ok(()) => break path,
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists && n < SAME_NAME_MAX => n += 1,
                Err(why) => return Err(io::Error::other(format!("{}: {why}", path.display()))),
            }
        };
        for name in ["logs", "running"] {
            std::fs::create_dir(path.join(name))?;
        }
        Ok(Self { path, keep, keeper: None })
    }

    /// From now on, if the demo is killed, its programs are killed and the directory removed.
    ///
    /// # Errors
    /// There is no shell.
    pub fn watch(&mut self) -> io::Result<()> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", KEEPER, "keeper"]).arg(&self.path).arg(if self.keep { "keep" } else { "remove" });
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: Ctrl-C is for the demo.
        self.keeper = Some(shell.process_group(0).spawn()?);
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a program writes its log.
    pub fn log(&self, program: &str) -> PathBuf {
        self.path.join(format!("logs/{program}.log"))
    }

    /// The file that says that a process group has not been waited for.
    pub fn running(&self, group: u32) -> PathBuf {
        self.path.join(format!("running/{group}"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for _ in 0..REMOVALS_MAX {
            if self.keep || std::fs::remove_dir_all(&self.path).is_ok() || !self.path.exists() {
                break;
            }
            std::thread::sleep(REMOVE_AGAIN_AFTER);
        }
        if let Some(mut keeper) = self.keeper.take() {
            // Nothing is left for it to do.
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
    }
}
