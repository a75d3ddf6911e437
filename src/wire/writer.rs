//! Writing a message into a buffer that somebody else owns.

/// Appends octets to a buffer up to a limit. What does not fit is not written at all.
#[derive(Debug)]
pub struct Writer<'a> {
    octets: &'a mut [u8],
    at: usize,
    limit: usize,
}

impl<'a> Writer<'a> {
    /// Starts at the front of a buffer and stops at the limit or the end, whichever comes first.
    #[inline]
    pub fn new(octets: &'a mut [u8], limit: usize) -> Self {
        let limit = limit.min(octets.len());
        Self { octets, at: 0, limit }
    }

    /// How much is written.
    #[inline]
    pub fn len(&self) -> usize {
        self.at
    }

    /// Whether nothing is written yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// How much still fits.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit - self.at
    }

    /// What is written so far.
    #[inline]
    pub fn written(&self) -> &[u8] {
        &self.octets[..self.at]
    }

    /// Keeps room at the end for something that is written later; `false` if there is none.
    #[inline]
    #[must_use]
    pub fn reserve(&mut self, len: usize) -> bool {
        let fits = len <= self.room();
        if fits {
            self.limit -= len;
        }
        fits
    }

    /// Gives back what was kept.
    #[inline]
    pub fn release(&mut self, len: usize) {
        self.limit = (self.limit + len).min(self.octets.len());
    }

    /// Appends octets; `None` if they do not fit.
    #[inline]
    pub fn put(&mut self, octets: &[u8]) -> Option<()> {
        self.gap(octets.len())?.copy_from_slice(octets);
        Some(())
    }

    /// Makes room for octets that the caller writes.
    #[inline]
    pub fn gap(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.room() {
            return None;
        }
        let gap = self.octets.get_mut(self.at..self.at + len);
        self.at += len;
        gap
    }

    /// Writes over octets that are there; nothing happens if they are not.
    #[inline]
    pub fn patch(&mut self, at: usize, octets: &[u8]) {
        if at + octets.len() <= self.at
            && let Some(there) = self.octets.get_mut(at..at + octets.len())
        {
            there.copy_from_slice(octets);
        }
    }

    /// Forgets what was written from here on.
    #[inline]
    pub fn rewind(&mut self, at: usize) {
        self.at = self.at.min(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_writes_past_the_limit() {
        let mut buffer = [9; 8];
        let mut writer = Writer::new(&mut buffer, 6);
        assert!(writer.reserve(2));
        assert!(!writer.reserve(5));
        assert_eq!(writer.put(b"abc"), Some(()));
        assert_eq!(writer.put(b"de"), None);
        assert_eq!(writer.put(b"d"), Some(()));
        writer.release(2);
        assert_eq!(writer.put(&[1, 2]), Some(()));
        assert_eq!(writer.put(b"x"), None);
        writer.patch(0, b"AB");
        writer.patch(5, b"AB");
        assert_eq!(writer.written(), b"ABcd\x01\x02");
        writer.rewind(3);
        assert_eq!(writer.len(), 3);
        assert_eq!(buffer[6..], [9, 9]);
    }

    #[test]
    fn the_buffer_is_a_limit_too() {
        let mut buffer = [0; 2];
        let mut writer = Writer::new(&mut buffer, 512);
        assert_eq!(writer.put(b"abc"), None);
        assert_eq!(writer.room(), 2);
    }
}
