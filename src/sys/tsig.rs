//! Secrets → keys that sign messages.

use std::sync::Arc;

use crate::base::Mistakes;
use crate::config::Config;
use crate::io::read_secret_now;
use crate::transfer::{Key, SECRET_OCTETS_MIN, TsigKeys};
use crate::wire::Base64;

/// Reads the secret of every key that a configuration names.
///
/// # Errors
/// Every secret that is not where it should be, or is none; the value is never told.
pub fn load_transfer_keys(config: &Config) -> Result<Arc<TsigKeys>, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut keys = Vec::new();
    for key in &config.keys {
        let secret = match read_secret_now(&key.secret) {
            Ok(secret) => secret,
            Err(why) => {
                mistakes.error(&key.place, format!("key {}: {}", key.name, why.words));
                continue;
            }
        };
        let mut octets = Vec::new();
        let mut base64 = Base64::default();
        let words = secret.reveal().split_ascii_whitespace();
        let well_formed = words.map(str::as_bytes).all(|word| base64.push(word, &mut octets));
        if !(well_formed && base64.finish()) {
            mistakes
                .error(&key.place, format!("key {}: the secret in {} is not base 64", key.name, key.secret))
                .help("it is the text that `tsig-keygen` and `keymgr -t` print as `secret`");
        } else if octets.len() < SECRET_OCTETS_MIN {
            let message = format!(
                "key {}: the secret in {} has {} octets; fewer than {SECRET_OCTETS_MIN} can be guessed",
                key.name,
                key.secret,
                octets.len()
            );
            mistakes.error(&key.place, message).help("make another: `tsig-keygen NAME`");
        } else {
            keys.push(Key::new(key.name.clone(), key.algorithm, &octets));
        }
    }
    mistakes.unless_fatal(Some(Arc::new(TsigKeys::new(keys)))).map(|(ring, _)| ring)
}
