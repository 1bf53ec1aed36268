//! Lines of several hosts or tasks, each with what tells them apart in front.

use geto::bytes::Bytes;
use geto::text::printable;

/// A longer line is broken: nobody else's is held up for it.
const LINE_MAX: usize = 64 << 10;

/// The lines of one stream of one host or task.
#[derive(Debug)]
pub(crate) struct Lines {
    prefix: Vec<u8>,
    /// What has come of a line that has not ended.
    rest: Vec<u8>,
}

impl Lines {
    /// Those of a host.
    pub(crate) fn of(host: &str) -> Self {
        Self::behind(format!("[{}] ", printable(host.as_bytes())).into_bytes())
    }

    /// Those that have `prefix` in front.
    pub(crate) fn behind(prefix: Vec<u8>) -> Self {
        Self { prefix, rest: Vec::new() }
    }

    /// Adds bytes and returns the lines that are whole.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Bytes {
        let mut lines = Vec::with_capacity(bytes.len() + self.prefix.len());
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.rest.len() >= LINE_MAX {
                self.end(&mut lines);
            }
        }
        lines.into()
    }

    /// Returns what is left of the last line.
    pub(crate) fn finish(&mut self) -> Bytes {
        let mut lines = Vec::new();
        if !self.rest.is_empty() {
            self.end(&mut lines);
        }
        lines.into()
    }

    fn end(&mut self, lines: &mut Vec<u8>) {
        lines.extend_from_slice(&self.prefix);
        lines.append(&mut self.rest);
        if !lines.ends_with(b"\n") {
            lines.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_host_in_front_and_none_is_torn() {
        let mut lines = Lines::of("h\u{1b}");
        assert_eq!(lines.add(b"one\ntw"), &b"[h\\x1b] one\n"[..]);
        assert_eq!(lines.add(b"o\n\nthr"), &b"[h\\x1b] two\n[h\\x1b] \n"[..]);
        assert_eq!(lines.finish(), &b"[h\\x1b] thr\n"[..]);
        assert_eq!(lines.finish(), &b""[..]);
        assert_eq!(lines.add(&vec![b'x'; 3 * LINE_MAX]).len(), 3 * LINE_MAX + 9);
    }
}
