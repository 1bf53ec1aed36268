//! How words of the user's files and command line appear in messages.

use std::fmt;

/// A word in backticks, with control characters escaped and cut where it gets long, so that no
/// file can drive the terminal or bury the message.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

const LONGEST: usize = 80;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`")?;
        for (count, c) in self.0.chars().enumerate() {
            if count == LONGEST {
                f.write_str("…")?;
                break;
            }
            match c.is_control() || is_direction_mark(c) {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        f.write_str("`")
    }
}

/// These reorder what a terminal shows.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `; did you mean …?`, or nothing.
pub(crate) struct DidYouMean<'a>(pub(crate) Option<&'a str>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(word) => write!(f, "; did you mean {}?", Quoted(word)),
            None => Ok(()),
        }
    }
}

/// Returns the candidate that `word` is most likely a slip of, if any is near.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Jaro-Winkler rates a common beginning: `user` is near to `username`, four edits away. Below
    // this bound the advice would be a guess.
    const NEAR: f64 = 0.8;
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_in_a_message_cannot_drive_the_terminal() {
        assert_eq!(Quoted("a\x1b[2J\nb").to_string(), r"`a\u{1b}[2J\nb`");
        assert_eq!(Quoted("\u{202e}x").to_string(), r"`\u{202e}x`");
        assert!(Quoted(&"x".repeat(1000)).to_string().chars().count() < 100);
    }

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let keys = ["username", "password", "port", "slots"];
        assert_eq!(nearest("prot", keys), Some("port"));
        assert_eq!(nearest("user", keys), Some("username"));
        assert_eq!(nearest("Pasword", keys), Some("password"));
        assert_eq!(nearest("qqq", keys), None);
        assert_eq!(nearest("x", []), None);
    }
}
