//! Lines of several hosts or tasks, each with what tells them apart in front.

use geto::bytes::Bytes;
use geto::text::printable;

/// A longer line is broken where others write between: nobody else's is held up for it.
const LINE_MAX: usize = 1 << 20;

/// The lines of one stream of one host or task.
#[derive(Debug)]
pub(crate) struct Lines {
    prefix: Vec<u8>,
    /// What has come of a line that has not ended.
    rest: Vec<u8>,
    /// Nobody else writes: nothing has to be held until its line is whole.
    is_alone: bool,
    /// A line was begun and has not ended.
    is_within: bool,
}

impl Lines {
    /// Those of a host.
    pub(crate) fn of(host: &str) -> Self {
        Self::behind(format!("[{}] ", printable(host.as_bytes())).into_bytes())
    }

    /// Those that have `prefix` in front.
    pub(crate) fn behind(prefix: Vec<u8>) -> Self {
        Self { prefix, rest: Vec::new(), is_alone: false, is_within: false }
    }

    /// The same, where nobody else writes until all is told.
    pub(crate) fn alone(prefix: Vec<u8>) -> Self {
        Self { is_alone: true, ..Self::behind(prefix) }
    }

    /// Adds bytes and returns the lines that are whole.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Bytes {
        let mut lines = Vec::with_capacity(bytes.len() + self.prefix.len());
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.is_alone {
                if !self.is_within {
                    lines.extend_from_slice(&self.prefix);
                }
                lines.extend_from_slice(piece);
                self.is_within = !piece.ends_with(b"\n");
                continue;
            }
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
        if std::mem::take(&mut self.is_within) {
            lines.push(b'\n');
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
        assert_eq!(lines.add(&vec![b'x'; LINE_MAX]).len(), LINE_MAX + 9);
    }

    #[test]
    fn who_is_alone_has_lines_of_any_length() {
        let mut lines = Lines::alone(b"t ".to_vec());
        assert_eq!(lines.add(b"one\ntw"), &b"t one\nt tw"[..]);
        let long = vec![b'x'; 3 * LINE_MAX];
        assert_eq!(lines.add(&long), &*long);
        assert_eq!(lines.add(b"\nend"), &b"\nt end"[..]);
        assert_eq!(lines.finish(), &b"\n"[..]);
        assert_eq!(lines.finish(), &b""[..]);
    }
}
