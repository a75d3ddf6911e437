//! Each record's hash covers the one before it.

use ring::digest::{Context, SHA256};

/// A link of the chain.
pub(super) type Hash = [u8; 32];

/// Before the first record.
pub(super) const ROOT: Hash = [0; 32];

/// What is hashed of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    pub previous: &'a Hash,
    pub index: u64,
    pub epoch: u64,
    /// Microseconds since 1970, UTC.
    pub at: i64,
    pub kind: &'a str,
    pub body: &'a str,
}

impl Link<'_> {
    /// SHA-256. Texts carry their lengths, so that no two records have the same bytes.
    pub fn hash(&self) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(b"pointsman journal 1\n");
        context.update(self.previous);
        context.update(&self.index.to_be_bytes());
        context.update(&self.epoch.to_be_bytes());
        context.update(&self.at.to_be_bytes());
        for text in [self.kind, self.body] {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        finish(context)
    }
}

/// Over a value of the owner's state, and its key.
pub(super) fn state_hash(key: &str, value: &str) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(b"pointsman state 1\n");
    context.update(&(key.len() as u64).to_be_bytes());
    context.update(key.as_bytes());
    context.update(value.as_bytes());
    finish(context)
}

/// Over bytes of our own.
pub(super) fn plain_hash(bytes: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

fn finish(context: Context) -> Hash {
    let digest = context.finish();
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let base = Link { previous: &ROOT, index: 1, epoch: 2, at: 3, kind: "ab", body: "c" };
        let other = [7; 32];
        let all = [
            base.hash(),
            Link { previous: &other, ..base }.hash(),
            Link { index: 2, ..base }.hash(),
            Link { epoch: 3, ..base }.hash(),
            Link { at: -3, ..base }.hash(),
            Link { kind: "a", body: "bc", ..base }.hash(),
            Link { body: "d", ..base }.hash(),
        ];
        for (n, hash) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|earlier| earlier != hash), "{n}");
        }
        assert_eq!(base.hash(), base.hash());
        assert_ne!(state_hash("a", "bc"), state_hash("ab", "c"));
    }
}
