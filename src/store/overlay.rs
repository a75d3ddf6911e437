//! A file that is read and not written: whatever the database wants to write stays in memory.
//!
//! The file of a process that was killed needs a repair before it can be read, and a repair
//! writes. A person who only wants to read must not change it: it may be evidence, or lie on
//! a disk that is full or read-only.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use redb::StorageBackend;

/// Chunks in which changes are kept.
const CHUNK: u64 = 4096;

/// A file below, changes above.
#[derive(Debug)]
pub(super) struct Overlay<B> {
    below: B,
    above: Mutex<Above>,
}

#[derive(Debug)]
struct Above {
    len: u64,
    /// What of the file below still shows: it may have been cut, and grown again.
    below_len: u64,
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl<B: StorageBackend> Overlay<B> {
    pub fn new(below: B) -> io::Result<Self> {
        let len = below.len()?;
        let above = Above { len, below_len: len, chunks: BTreeMap::new() };
        Ok(Self { below, above: Mutex::new(above) })
    }

    fn chunk(&self, above: &Above, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(chunk) = above.chunks.get(&number) {
            return Ok(chunk.clone());
        }
        let mut chunk = vec![0; CHUNK as usize].into_boxed_slice();
        let start = number * CHUNK;
        let there = above.below_len.saturating_sub(start).min(CHUNK) as usize;
        self.below.read(start, &mut chunk[..there])?;
        Ok(chunk)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Above> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of a stretch by chunk: (chunk, start in it, start in the stretch, length).
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % CHUNK) as usize;
        let part = (len - done).min(CHUNK as usize - inside);
        let item = (part > 0).then_some((at / CHUNK, inside, done, part));
        done += part;
        item
    })
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let above = self.lock();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > above.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, inside, at, len) in parts(offset, out.len()) {
            let chunk = self.chunk(&above, number)?;
            out[at..at + len].copy_from_slice(&chunk[inside..inside + len]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut above = self.lock();
        if len < above.len {
            above.below_len = above.below_len.min(len);
            let edge = len / CHUNK;
            above.chunks.split_off(&(edge + 1));
            // What is cut off reads as zeros if the file grows again.
            if let Some(chunk) = above.chunks.get_mut(&edge) {
                chunk[(len % CHUNK) as usize..].fill(0);
            }
        }
        above.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut above = self.lock();
        for (number, inside, at, len) in parts(offset, data.len()) {
            let mut chunk = self.chunk(&above, number)?;
            chunk[inside..inside + len].copy_from_slice(&data[at..at + len]);
            above.chunks.insert(number, chunk);
        }
        above.len = above.len.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn shows_what_was_written_and_writes_nothing() {
        let below = InMemoryBackend::new();
        below.set_len(10_000).unwrap();
        below.write(0, &[1; 10_000]).unwrap();
        let overlay = Overlay::new(below).unwrap();
        overlay.write(4090, &[2; 20]).unwrap();
        let mut seen = [0; 40];
        overlay.read(4080, &mut seen).unwrap();
        assert_eq!(seen, [[1; 10].as_slice(), &[2; 20], &[1; 10]].concat()[..]);
        let mut below = [0; 40];
        overlay.below.read(4080, &mut below).unwrap();
        assert_eq!(below, [1; 40]);
        // Cut and grown again: zeros, from above and from below alike.
        overlay.set_len(4095).unwrap();
        overlay.set_len(9000).unwrap();
        overlay.read(4085, &mut seen).unwrap();
        assert_eq!(seen, [[1; 5].as_slice(), &[2; 5], &[0; 30]].concat()[..]);
        assert!(overlay.read(8990, &mut seen).is_err());
        assert_eq!(overlay.len().unwrap(), 9000);
    }
}
