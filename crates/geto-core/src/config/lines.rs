//! The grammar of geto.ini: lines → sections with their keys.

use std::collections::HashMap;

use configparser::ini::{Ini, IniDefault};
use zeroize::Zeroizing;

use super::error::{ConfigError, ConfigProblem as Problem};

/// A section, and where it begins.
pub(super) struct Section {
    pub(super) line: usize,
    /// As it is written.
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
}

/// A key and its value.
pub(super) struct Entry {
    pub(super) line: usize,
    /// As it is written; compare with [`is`](Self::is).
    pub(super) key: String,
    /// May be a password.
    pub(super) value: Zeroizing<String>,
}

impl Entry {
    /// Whether this is `key`, in whatever case it is written.
    pub(super) fn is(&self, key: &str) -> bool {
        self.key.eq_ignore_ascii_case(key)
    }

    /// What makes two keys the same one: the name of a variable keeps its case, nothing else does.
    fn identity(&self) -> String {
        match self.variable() {
            Some(name) => format!("env.{name}"),
            None => self.key.to_ascii_lowercase(),
        }
    }

    /// The name of the variable, for `env.NAME`.
    pub(super) fn variable(&self) -> Option<&str> {
        let (prefix, name) = self.key.split_at_checked("env.".len())?;
        prefix.eq_ignore_ascii_case("env.").then_some(name)
    }
}

enum Line {
    Nothing,
    Header(String),
    Entry(String, Zeroizing<String>),
}

/// Reads sections in the order of the file; each is there once, and so is each key in it.
pub(super) fn sections(text: &str) -> Result<Vec<Section>, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = parser();
    let mut sections: Vec<Section> = Vec::new();
    let mut headers = HashMap::new();
    let mut keys = HashMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let at = |problem| ConfigError::new(problem).on_line(line);
        let in_last = |error: ConfigError, sections: &[Section]| match sections.last() {
            Some(section) => error.in_section(&section.name),
            None => error,
        };
        match read_line(&mut parser, text).map_err(|problem| in_last(at(problem), &sections))? {
            Line::Nothing => {}
            Line::Header(name) => {
                if let Some(first) = headers.insert(name.to_ascii_lowercase(), line) {
                    return Err(at(Problem::SecondSection { first }).in_section(&name));
                }
                keys.clear();
                sections.push(Section { line, name, entries: Vec::new() });
            }
            Line::Entry(key, value) => {
                let entry = Entry { line, key, value };
                let Some(section) = sections.last_mut() else {
                    return Err(at(Problem::NoSection).at_key(&entry.key));
                };
                if let Some(first) = keys.insert(entry.identity(), line) {
                    let error = at(Problem::SecondKey { first });
                    return Err(error.in_section(&section.name).at_key(&entry.key));
                }
                section.entries.push(entry);
            }
        }
    }
    Ok(sections)
}

/// The crate forgets where a key stood, lets a second one replace the first in silence, and ends a
/// value at any `#` when told of comments behind values. So it is given one line at a time, without
/// the comment behind it: what a line means is its matter, everything between lines is not.
fn parser() -> Ini {
    let mut grammar = IniDefault::default();
    grammar.default_section = String::new();
    grammar.comment_symbols = vec![';', '#'];
    grammar.delimiters = vec!['=', ':'];
    grammar.case_sensitive = true;
    grammar.multiline = false;
    grammar.enable_inline_comments = false;
    Ini::new_from_defaults(grammar)
}

fn read_line(parser: &mut Ini, line: &str) -> Result<Line, Problem> {
    let line = without_comment(line).trim();
    if line.starts_with('[') && !line.ends_with(']') {
        return Err(Problem::OpenSection);
    }
    // Its one other error is a line that begins with a delimiter.
    let Ok(sections) = parser.read(line.to_owned()) else { return Err(Problem::NoKey) };
    let Some((section, entries)) = sections.into_iter().next() else { return Ok(Line::Nothing) };
    match entries.into_iter().next() {
        None => Ok(Line::Header(section)),
        Some((_, None)) => Err(Problem::NoEquals),
        Some((key, Some(value))) => Ok(Line::Entry(key, Zeroizing::new(value))),
    }
}

/// Cuts what follows ` ;` or ` #`. A comment of a whole line is left to the parser.
fn without_comment(line: &str) -> &str {
    let mut after_space = false;
    for (at, c) in line.char_indices() {
        if after_space && matches!(c, ';' | '#') {
            return &line[..at];
        }
        after_space = matches!(c, ' ' | '\t');
    }
    line
}
