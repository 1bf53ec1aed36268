//! Text that comes from a host.

/// It may be long and hostile: no more than this of it is kept.
const KEPT: usize = 1000;

/// Makes text from a host harmless to a terminal, and short.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.trim_end();
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= KEPT {
            out.push('…');
            break;
        }
        match c {
            '\n' | ' '..='~' => out.push(c),
            c if c.is_control() || is_reordering(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Characters that change how the text around them is shown.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_host_can_not_drive_a_terminal() {
        assert_eq!(
            escaped("a\x1b[2Jb\r\n\u{9b}c\u{202e}d\n"),
            "a\\u{1b}[2Jb\\r\n\\u{9b}c\\u{202e}d"
        );
        assert!(escaped(&"x".repeat(10_000)).len() < 2 * KEPT);
    }
}
