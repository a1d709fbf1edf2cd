//! Lines out of a stream, none longer than a limit.

use std::io::{self, Read};

/// Splits what a program writes into lines, none longer than a limit.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where the first unread line begins.
    start: usize,
    /// Up to where there is no line end.
    searched: usize,
    /// Where what has been read ends.
    end: usize,
    max_line: usize,
}

/// A line that is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    /// Bytes asked for at a time: what a pipe holds.
    const CHUNK: usize = 1 << 16;

    pub(crate) fn new(max_line: usize) -> Self {
        Self {
            max_line,
            ..Self::default()
        }
    }

    /// Reads once. All whole lines must have been taken before, so that only the beginning of one is kept.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.searched -= self.start;
        self.start = 0;
        if self.buffer.len() < self.end + Self::CHUNK {
            self.buffer.resize(self.end + Self::CHUNK, 0);
        }
        let n = from.read(&mut self.buffer[self.end..])?;
        self.end += n;
        Ok(n)
    }

    /// The next whole line, without its end.
    pub(crate) fn next(&mut self) -> Option<Result<&[u8], TooLong>> {
        let found = memchr::memchr(b'\n', &self.buffer[self.searched..self.end]);
        self.searched = found.map_or(self.end, |at| self.searched + at + 1);
        let len = self.searched - self.start - usize::from(found.is_some());
        if len > self.max_line {
            return Some(Err(TooLong));
        }
        found?;
        let line = &self.buffer[self.start..self.start + len];
        self.start = self.searched;
        Some(Ok(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// The unfinished line at the end.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut lines = Lines::new(8);
        let mut taken = Vec::new();
        for piece in ["ab", "c\r\nde\n\nf", "g\n", "tail"] {
            lines.fill(&mut piece.as_bytes()).unwrap();
            while let Some(line) = lines.next() {
                taken.push(String::from_utf8(line.unwrap().to_vec()).unwrap());
            }
        }
        assert_eq!(taken, ["abc", "de", "", "fg"]);
        assert_eq!(lines.rest(), b"tail");
    }

    #[test]
    fn a_line_that_does_not_end_is_cut_off() {
        let mut lines = Lines::new(100);
        let mut endless = io::repeat(b'x');
        lines.fill(&mut endless).unwrap();
        assert_eq!(lines.next(), Some(Err(TooLong)));
        let mut exact = Lines::new(3);
        exact.fill(&mut "abc\nabcd\n".as_bytes()).unwrap();
        assert_eq!(exact.next(), Some(Ok(&b"abc"[..])));
        assert_eq!(exact.next(), Some(Err(TooLong)));
    }
}
