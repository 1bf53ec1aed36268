//! Words for a POSIX shell.

/// Appends `word` to `line` so that a POSIX shell reads it as one word of exactly these bytes.
///
/// The result is one line of printable ASCII, whatever the bytes are: shells differ in what they
/// do to others. It relies on the variable `g_nl` of the host's program for line feeds, since a command
/// substitution drops those at its end. NUL can't be written; the caller has refused it.
pub(crate) fn push_word(line: &mut String, word: &[u8]) {
    if !word.is_empty() && word.iter().all(|&byte| is_plain(byte)) {
        line.extend(word.iter().map(|&byte| char::from(byte)));
        return;
    }
    line.push_str("''");
    for run in word.chunk_by(|a, b| Class::of(*a) == Class::of(*b)) {
        match run.first().map(|&byte| Class::of(byte)) {
            Some(Class::Printable) => {
                line.push('\'');
                line.extend(run.iter().map(|&byte| char::from(byte)));
                line.push('\'');
            }
            Some(Class::Quote) => run.iter().for_each(|_| line.push_str("\"'\"")),
            Some(Class::LineFeed) => run.iter().for_each(|_| line.push_str("\"$g_nl\"")),
            Some(Class::Other) => {
                line.push_str("\"$(printf '");
                for &byte in run {
                    line.push('\\');
                    for shift in [6, 3, 0] {
                        line.push(char::from(b'0' + ((byte >> shift) & 7)));
                    }
                }
                line.push_str("')\"");
            }
            None => {}
        }
    }
}

#[derive(PartialEq, Eq)]
enum Class {
    Printable,
    Quote,
    LineFeed,
    Other,
}

impl Class {
    fn of(byte: u8) -> Self {
        match byte {
            b'\'' => Self::Quote,
            b'\n' => Self::LineFeed,
            b' '..=b'~' => Self::Printable,
            _ => Self::Other,
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./=,:+@%-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8]) -> String {
        let mut line = String::new();
        push_word(&mut line, bytes);
        line
    }

    #[test]
    fn leaves_plain_words_as_they_are() {
        assert_eq!(word(b"a-b_c=1/2.txt"), "a-b_c=1/2.txt");
    }

    #[test]
    fn quotes_what_a_shell_would_read_otherwise() {
        assert_eq!(word(b""), "''");
        assert_eq!(word(b"a b"), "'''a b'");
        assert_eq!(word(b"$(x)'y"), r#"'''$(x)'"'"'y'"#);
        assert_eq!(word(b"a\n\xff"), r#"'''a'"$g_nl""$(printf '\377')""#);
    }

    proptest::proptest! {
        #[test]
        fn is_one_line_of_printable_ascii(bytes: Vec<u8>) {
            let word = word(&bytes);
            proptest::prop_assert!(word.bytes().all(|b| (b' '..=b'~').contains(&b)));
        }
    }
}
