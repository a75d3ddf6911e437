//! Secrets, read each time they are used, so that rotation needs no restart. Errors name the
//! place, never the value.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Deadline, Failure};
use crate::base::{Secret, SecretRef};

/// A secret is a password or a token, not a file of data.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Reads a secret.
///
/// # Errors
/// It is not where it should be, or cannot be read in time: always a failure of our own side.
pub async fn read_secret(place: &SecretRef, deadline: Deadline) -> Result<Secret, Failure> {
    // On a thread of its own: the file may lie on a mount that hangs.
    let owned = place.clone();
    match deadline.bound(tokio::task::spawn_blocking(move || read_secret_now(&owned))).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Failure::unmeasured(format!("cannot read the secret in {place}"))),
        Err(_) => Err(Failure::unmeasured(format!("cannot read the secret in {place}: it takes too long"))),
    }
}

/// Reads a secret, however long that takes: for those who have nothing else to do, such as the
/// reader of a configuration.
///
/// # Errors
/// It is not where it should be.
pub fn read_secret_now(place: &SecretRef) -> Result<Secret, Failure> {
    let fail = |why: String| Err(Failure::unmeasured(format!("cannot read the secret in {place}: {why}")));
    let read = match place {
        SecretRef::Env(name) => match std::env::var(name) {
            Ok(value) => Ok(value),
            Err(std::env::VarError::NotPresent) => Err("it is not set".to_owned()),
            Err(std::env::VarError::NotUnicode(_)) => Err("it is not UTF-8".to_owned()),
        },
        SecretRef::File(path) => read_file(path),
        SecretRef::Credential(name) => credential(name).and_then(|path| read_file(&path)),
    };
    match read {
        Ok(value) if value.is_empty() => fail("it is empty".to_owned()),
        Ok(value) => Ok(Secret::new(value)),
        Err(why) => fail(why),
    }
}

/// Where systemd puts a credential (systemd.exec(5), `LoadCredential=`).
fn credential(name: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err("a credential's name is a single file name".to_owned());
    }
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(directory) => Ok(Path::new(&directory).join(name)),
        None => Err("$CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit".to_owned()),
    }
}

/// A file's text without one trailing line break.
fn read_file(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|why| why.to_string())?;
    // Opening a FIFO would wait for somebody to write to it.
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let file = File::open(path).map_err(|why| why.to_string())?;
    let mut text = String::new();
    match file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text) {
        Err(why) if why.kind() == std::io::ErrorKind::InvalidData => Err("it is not UTF-8".to_owned()),
        Err(why) => Err(why.to_string()),
        Ok(read) if read as u64 > SECRET_BYTES_MAX => {
            Err(format!("it is larger than {SECRET_BYTES_MAX} bytes"))
        }
        Ok(_) => {
            if text.ends_with('\n') {
                text.pop();
                if text.ends_with('\r') {
                    text.pop();
                }
            }
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::{Class, Clock};

    async fn read(place: &SecretRef) -> Result<Secret, Failure> {
        read_secret(place, Clock.deadline(Duration::from_secs(5))).await
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("pointsman-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory.join(name)
    }

    #[tokio::test]
    async fn takes_one_line_break_off_and_reads_anew_each_time() {
        let path = scratch("password");
        let place = SecretRef::File(path.clone());
        for (written, read_back) in
            [("one\n", "one"), ("two\r\n", "two"), ("three\n\n", "three\n"), ("four", "four")]
        {
            std::fs::write(&path, written).unwrap();
            assert_eq!(read(&place).await.unwrap().reveal(), read_back);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn errors_name_the_place_and_never_the_value() {
        let path = scratch("odd");
        std::fs::write(&path, b"hunter2\xff").unwrap();
        let failure = read(&SecretRef::File(path.clone())).await.unwrap_err();
        assert_eq!(failure.class, Class::Unmeasured);
        assert!(failure.words.contains("odd") && !failure.words.contains("hunter2"), "{failure}");

        std::fs::write(&path, "x".repeat(SECRET_BYTES_MAX as usize + 1)).unwrap();
        assert!(read(&SecretRef::File(path.clone())).await.unwrap_err().words.contains("larger"));
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&SecretRef::File(path.clone())).await.unwrap_err().words.contains("empty"));
        std::fs::remove_file(&path).unwrap();
        assert!(read(&SecretRef::File(path)).await.unwrap_err().words.contains("No such file"));

        let variable = SecretRef::Env("POINTSMAN_NO_SUCH_VARIABLE".to_owned());
        assert!(
            read(&variable).await.unwrap_err().words.contains("POINTSMAN_NO_SUCH_VARIABLE: it is not set")
        );
        assert!(read(&SecretRef::Credential("../passwd".to_owned())).await.is_err());
        assert!(read(&SecretRef::File("/dev/zero".into())).await.unwrap_err().words.contains("regular"));
    }

    #[tokio::test]
    async fn reads_the_environment() {
        let place = SecretRef::Env("CARGO_MANIFEST_DIR".to_owned());
        assert_eq!(read(&place).await.unwrap().reveal(), env!("CARGO_MANIFEST_DIR"));
    }
}
