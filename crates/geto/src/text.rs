//! Bytes from elsewhere, made fit for a message.

use std::fmt::Write as _;

/// The most characters that [`printable`] returns.
pub const PRINTABLE_MAX: usize = 1024;

/// Returns `bytes` as one line of text that can't drive a terminal or pass for something else.
///
/// Control characters (line feeds and escape sequences with them), characters that turn the
/// direction of writing or can't be seen, and what is not UTF-8 are shown byte by byte as `\x..`;
/// all else stays as it is. The result ends with `…` where it would be longer than
/// [`PRINTABLE_MAX`].
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    // A character is at least one byte, so what lies beyond can't be shown anyway.
    let seen = &bytes[..bytes.len().min(4 * PRINTABLE_MAX)];
    for chunk in seen.utf8_chunks() {
        for character in chunk.valid().chars() {
            match is_harmless(character) {
                true => text.push(character),
                false => push_escaped(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_escaped(&mut text, chunk.invalid());
    }
    let cut = text.char_indices().nth(PRINTABLE_MAX - 1).map(|(at, _)| at);
    if let Some(cut) = cut
        && (text[cut..].chars().nth(1).is_some() || seen.len() < bytes.len())
    {
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// As [`printable`], for what a program has said in several lines: `; ` stands between them.
pub(crate) fn printable_lines(bytes: &[u8]) -> String {
    let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    printable(&lines.join(&b"; "[..]))
}

fn push_escaped(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("a String takes everything");
    }
}

fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_stays() {
        assert_eq!(printable("a b\\'Ä€😀".as_bytes()), "a b\\'Ä€😀");
    }

    #[test]
    fn nothing_drives_a_terminal_or_turns_the_text() {
        assert_eq!(printable(b"\x1b]0;x\x07\r\n\0\x7f"), r"\x1b]0;x\x07\x0d\x0a\x00\x7f");
        assert_eq!(printable("\u{9b}2J".as_bytes()), r"\xc2\x9b2J");
        assert_eq!(printable("a\u{202e}b\u{2066}".as_bytes()), r"a\xe2\x80\xaeb\xe2\x81\xa6");
        assert_eq!(printable(b"\xff\xc3"), r"\xff\xc3");
        assert_eq!(printable(b"\x9b2J"), r"\x9b2J");
    }

    #[test]
    fn lines_are_told_in_one() {
        assert_eq!(printable_lines(b"\ntar: a\r\n\n tar: \x1b\n"), r"tar: a; tar: \x1b");
        assert_eq!(printable_lines(b"\n"), "");
    }

    #[test]
    fn no_text_is_longer_than_the_limit() {
        assert_eq!(printable(&vec![b'a'; PRINTABLE_MAX]).len(), PRINTABLE_MAX);
        for bytes in [vec![b'a'; PRINTABLE_MAX + 1], vec![0; 9000], "€".repeat(99_999).into()] {
            let text = printable(&bytes);
            assert_eq!(text.chars().count(), PRINTABLE_MAX);
            assert!(text.ends_with('…'));
        }
    }
}
