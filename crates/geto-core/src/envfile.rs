//! Variables for a task, as files and options give them.

use crate::Secret;
use crate::message::Quoted;
use crate::task::is_variable_name;

/// What is wrong in a file of variables: never shows a value, nor a line that may hold one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} line {line}: {problem}", Quoted(file))]
pub struct EnvFileError {
    file: String,
    line: usize,
    problem: EnvFileProblem,
}

/// What can be wrong with a line of a file of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvFileProblem {
    /// No `=`.
    #[error("no `=` in it; write KEY=VALUE")]
    NoEquals,
    /// A shell would drop it in silence.
    #[error(
        "what stands before `=` is no name for a variable: it takes letters, digits and `_`, not a digit first"
    )]
    Name,
    /// A quote that is never closed.
    #[error("the quote that begins the value is never closed")]
    OpenQuote,
    /// Something stands behind the closing quote.
    #[error("there is text behind the closing quote")]
    AfterQuote,
    /// No program can be given it.
    #[error("the value has a NUL byte")]
    Nul,
}

/// A variable as the option `-e` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvWord {
    /// `K`: the value is that of the variable here.
    Inherit(String),
    /// `K=V`.
    Set(String, Secret),
}

/// A word of `-e` whose name no shell would pass on. The value is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is no name for a variable: it takes letters, digits and `_`, not a digit first",
    Quoted(.0)
)]
pub struct InvalidEnvWord(String);

impl EnvFileError {
    /// The line, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong with it.
    pub fn problem(&self) -> EnvFileProblem {
        self.problem
    }
}

/// Reads a word of `-e`: `K` or `K=V`, V any bytes.
///
/// # Errors
/// When K is no name for a variable.
pub fn parse_env_word(word: &[u8]) -> Result<EnvWord, InvalidEnvWord> {
    let (name, value) = match word.iter().position(|b| *b == b'=') {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let name = match std::str::from_utf8(name) {
        Ok(name) if is_variable_name(name) => name.to_owned(),
        _ => return Err(InvalidEnvWord(String::from_utf8_lossy(name).into_owned())),
    };
    Ok(match value {
        Some(value) => EnvWord::Set(name, Secret::new(value)),
        None => EnvWord::Inherit(name),
    })
}

/// Reads a file of variables, called `file` in errors.
///
/// Each line is `KEY=VALUE`, optionally after `export`; blank lines and lines that begin with `#`
/// are skipped. A bare value ends at the end of its line or at ` #`, without the white space
/// around it. `'…'` is taken as it stands; `"…"` knows `\n`, `\r`, `\t`, `\\`, `\"`, `\$` and
/// `` \` ``; both may span lines. Nothing is ever substituted. The pairs come in the order of the
/// file; a name may come twice.
///
/// # Errors
/// Names the file and the line, never the value.
pub fn parse_env_file(file: &str, text: &[u8]) -> Result<Vec<(String, Secret)>, EnvFileError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = Reader { rest: text, line: 1 };
    let mut pairs = Vec::new();
    loop {
        reader.skip_space();
        let line = reader.line;
        match reader.rest.first() {
            None => return Ok(pairs),
            Some(b'\n') => reader.skip(1),
            Some(b'#') => drop(reader.take_until(b'\n')),
            Some(_) => match reader.pair() {
                Ok(pair) => pairs.push(pair),
                Err(problem) => return Err(EnvFileError { file: file.to_owned(), line, problem }),
            },
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Reader<'a> {
    fn pair(&mut self) -> Result<(String, Secret), EnvFileProblem> {
        let end = self.rest.iter().position(|b| matches!(b, b'=' | b'\n'));
        let Some((name, [b'=', ..])) = end.map(|end| self.rest.split_at(end)) else {
            return Err(EnvFileProblem::NoEquals);
        };
        self.skip(name.len() + 1);
        let name = name.trim_ascii();
        let name = match name.strip_prefix(b"export") {
            Some(rest) if rest.first().is_some_and(u8::is_ascii_whitespace) => rest.trim_ascii(),
            _ => name,
        };
        let name = std::str::from_utf8(name).ok().filter(|name| is_variable_name(name));
        let name = name.ok_or(EnvFileProblem::Name)?.to_owned();
        self.skip_space();
        let value = match self.rest.first() {
            Some(b'\'') => self.single_quoted()?,
            Some(b'"') => self.double_quoted()?,
            _ => self.bare(),
        };
        match value.expose().contains(&0) {
            true => Err(EnvFileProblem::Nul),
            false => Ok((name, value)),
        }
    }

    fn bare(&mut self) -> Secret {
        let line = self.take_until(b'\n');
        let comment = (0..line.len())
            .find(|at| line[*at] == b'#' && (*at == 0 || matches!(line[*at - 1], b' ' | b'\t')));
        Secret::new(line[..comment.unwrap_or(line.len())].trim_ascii())
    }

    fn single_quoted(&mut self) -> Result<Secret, EnvFileProblem> {
        self.skip(1);
        if !self.rest.contains(&b'\'') {
            return Err(EnvFileProblem::OpenQuote);
        }
        let value = Secret::new(self.take_until(b'\''));
        self.skip(1);
        self.end_of_line()?;
        Ok(value)
    }

    fn double_quoted(&mut self) -> Result<Secret, EnvFileProblem> {
        self.skip(1);
        // Sized once: a buffer that grows would leave pieces of the secret behind in the heap.
        let mut value = Vec::with_capacity(self.rest.len());
        loop {
            match self.rest {
                [] | [b'\\'] => {
                    drop(Secret::new(value));
                    return Err(EnvFileProblem::OpenQuote);
                }
                [b'"', ..] => break self.skip(1),
                [b'\\', escaped, ..] => {
                    match escaped {
                        b'n' => value.push(b'\n'),
                        b'r' => value.push(b'\r'),
                        b't' => value.push(b'\t'),
                        b'\\' | b'"' | b'$' | b'`' => value.push(*escaped),
                        _ => value.extend([b'\\', *escaped]),
                    }
                    self.skip(2);
                }
                [byte, ..] => {
                    value.push(*byte);
                    self.skip(1);
                }
            }
        }
        let value = Secret::new(value);
        self.end_of_line()?;
        Ok(value)
    }

    fn end_of_line(&mut self) -> Result<(), EnvFileProblem> {
        match self.take_until(b'\n').trim_ascii() {
            [] | [b'#', ..] => Ok(()),
            _ => Err(EnvFileProblem::AfterQuote),
        }
    }

    fn skip_space(&mut self) {
        let end = self.rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r'));
        self.skip(end.unwrap_or(self.rest.len()));
    }

    /// Takes what stands before `end`, or all; `end` stays.
    fn take_until(&mut self, end: u8) -> &'a [u8] {
        let length = self.rest.iter().position(|b| *b == end).unwrap_or(self.rest.len());
        let taken = &self.rest[..length];
        self.skip(length);
        taken
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.iter().filter(|b| **b == b'\n').count();
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let pairs = parse_env_file("f.env", text.as_bytes()).unwrap();
        let plain = |secret: Secret| String::from_utf8(secret.expose().to_vec()).unwrap();
        pairs.into_iter().map(|(name, value)| (name, plain(value))).collect()
    }

    fn value(text: &str) -> String {
        let mut pairs = read(text);
        assert_eq!(pairs.len(), 1, "{text}");
        pairs.remove(0).1
    }

    #[test]
    fn reads_lines_comments_and_export() {
        let text = "\u{feff}# c\n\n  A=1\r\nexport B = two words # c\nC=\n#D=1\nexported=x\nA=2";
        let pairs = [("A", "1"), ("B", "two words"), ("C", ""), ("exported", "x"), ("A", "2")];
        assert_eq!(read(text), pairs.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn reads_quotes_and_escapes() {
        assert_eq!(value(r"A='a\n$B # ' # c"), r"a\n$B # ");
        assert_eq!(value(r#"A="a\n\t\r\\\"\$\`\x""#), "a\n\t\r\\\"$`\\x");
        assert_eq!(value("A=\"two\nlines\"\n"), "two\nlines");
        assert_eq!(value("A=it's#1=$B"), "it's#1=$B");
        assert_eq!(value("A=\"\""), "");
    }

    #[test]
    fn keeps_any_bytes_of_a_value() {
        let pairs = parse_env_file("f.env", b"A=\xff\x01").unwrap();
        assert_eq!(pairs[0].1.expose(), b"\xff\x01");
    }

    #[test]
    fn errors_name_the_line_and_never_show_it() {
        let error = |text: &str| {
            let error = parse_env_file("f.env", text.as_bytes()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
            error.to_string()
        };
        insta::assert_snapshot!(error("A=1\ns3cret\n"), @"`f.env` line 2: no `=` in it; write KEY=VALUE");
        insta::assert_snapshot!(error("TOKEN s3cret=1"), @"`f.env` line 1: what stands before `=` is no name for a variable: it takes letters, digits and `_`, not a digit first");
        insta::assert_snapshot!(error("A=\"x\ny\"\n\nB='s3cret\n"), @"`f.env` line 4: the quote that begins the value is never closed");
        insta::assert_snapshot!(error("A=\"s3cret\\"), @"`f.env` line 1: the quote that begins the value is never closed");
        insta::assert_snapshot!(error("A='x's3cret"), @"`f.env` line 1: there is text behind the closing quote");
        insta::assert_snapshot!(error("A=s3cret\0"), @"`f.env` line 1: the value has a NUL byte");
    }

    #[test]
    fn reads_the_words_of_an_option() {
        assert_eq!(parse_env_word(b"A"), Ok(EnvWord::Inherit("A".to_owned())));
        let set = |value: &[u8]| Ok(EnvWord::Set("A".to_owned(), Secret::new(value)));
        assert_eq!(parse_env_word(b"A="), set(b""));
        assert_eq!(parse_env_word(b"A=b=\xff"), set(b"b=\xff"));
        let error = parse_env_word(b"A-B=s3cret").unwrap_err();
        insta::assert_snapshot!(error, @"`A-B` is no name for a variable: it takes letters, digits and `_`, not a digit first");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _unread = parse_env_file("f", &text);
            let _unread = parse_env_word(&text);
        }

        #[test]
        fn a_quoted_value_comes_back_as_it_was(value in "[^'\0]*") {
            let mut pairs = read(&format!("A='{value}'\nB=1"));
            prop_assert_eq!(pairs.remove(0).1, value);
        }
    }
}
