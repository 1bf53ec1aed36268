//! What can be wrong in geto.ini, and where.

use std::fmt;

use crate::message::{DidYouMean, Quoted};
use crate::units::{InvalidDuration, InvalidSize};

/// What is wrong in a geto.ini, with file, line, section and key. It never shows a password, nor
/// the value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    line: Option<usize>,
    section: Option<String>,
    key: Option<String>,
    problem: ConfigProblem,
}

/// What can be wrong in a geto.ini.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// `[` without `]`.
    #[error("the name of the section lacks its `]`")]
    OpenSection,
    /// Neither a section nor a comment, and no `=` or `:`.
    #[error("no `=` in it; write key=value")]
    NoEquals,
    /// Nothing before `=`.
    #[error("no key before `=`")]
    NoKey,
    /// A key before the first section.
    #[error("it stands before the first section")]
    NoSection,
    /// The key stands in the section twice.
    #[error("given twice, first on line {first}")]
    SecondKey {
        /// Where it stands first.
        first: usize,
    },
    /// The section stands in the file twice.
    #[error("the section is there twice, first on line {first}")]
    SecondSection {
        /// Where it stands first.
        first: usize,
    },
    /// No such key in this section.
    #[error("no such key{}", DidYouMean(nearest.as_deref()))]
    UnknownKey {
        /// The key that it may be a slip of.
        nearest: Option<String>,
    },
    /// A key of another section.
    #[error("no such key here; it belongs in {belongs}")]
    MisplacedKey {
        /// Where it belongs.
        belongs: &'static str,
    },
    /// A section for a host that `[hosts]` lacks.
    #[error("[hosts] has no host of this name{}", DidYouMean(nearest.as_deref()))]
    UnknownSection {
        /// The section that it may be a slip of.
        nearest: Option<String>,
    },
    /// `[hosts]` is missing or empty.
    #[error("no host in it; write a section [hosts] with a line name=address")]
    NoHosts,
    /// A word that means something else where hosts are named.
    #[error("no host can be called so: the name is geto's own")]
    ReservedName,
    /// A name that could not be told from a pattern, an address or an option.
    #[error(
        "no name for a host: it is without white space, `*?[]{{}}!\\`, `@`, `,`, `/`, `:`, and does not begin with `-`"
    )]
    BadName,
    /// The host lacks an address.
    #[error("no address")]
    NoAddress,
    /// More than an address, or no address at all.
    #[error(
        "{} is no address: a name or a number alone; user and port have keys of their own",
        Quoted(.0)
    )]
    BadAddress(String),
    /// See the text.
    #[error("{} is no port: a number from 1 to 65535", Quoted(.0))]
    BadPort(String),
    /// See the text.
    #[error("{} is no number from {least} to {most}", Quoted(value))]
    BadNumber {
        /// What stands there.
        value: String,
        /// The least that is allowed.
        least: u32,
        /// The most that is allowed.
        most: u32,
    },
    /// See the text.
    #[error("{} is no load per processor: a number from 0.01 to 1000", Quoted(.0))]
    BadLoad(String),
    /// See the text.
    #[error("{} is no transport: native or ssh", Quoted(.0))]
    BadTransport(String),
    /// See the text.
    #[error("{} is no name of a user", Quoted(.0))]
    BadUser(String),
    /// See the text.
    #[error("{} is no tag: tags are without white space, `@`, `/` and `*?[]{{}}!\\`", Quoted(.0))]
    BadTag(String),
    /// A shell would drop it in silence.
    #[error("no name for a variable: it takes letters, digits and `_`, not a digit first")]
    BadVariable,
    /// What geto tells a task, or needs on hosts.
    #[error("a variable of geto's own on hosts: give it another name")]
    OwnVariable,
    /// `~user` is left to shells.
    #[error("{} can't be resolved: of `~`, only `~/` is known", Quoted(.0))]
    BadTilde(String),
    /// `~/` without a home directory.
    #[error("{} can't be resolved: your home directory is not known", Quoted(.0))]
    NoHome(String),
    /// See the text.
    #[error("the value has a control character")]
    ControlCharacter,
    /// See there.
    #[error(transparent)]
    BadDuration(InvalidDuration),
    /// See there.
    #[error(transparent)]
    BadSize(InvalidSize),
}

impl ConfigError {
    pub(super) fn new(problem: ConfigProblem) -> Self {
        Self { file: String::new(), line: None, section: None, key: None, problem }
    }

    pub(super) fn on_line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }

    pub(super) fn in_section(self, section: &str) -> Self {
        Self { section: Some(section.to_owned()), ..self }
    }

    pub(super) fn at_key(self, key: &str) -> Self {
        // Of `password hunter2:x`, where a colon or `=` came late, the secret would be in the key.
        let mut words = key.split_whitespace();
        let key = match (words.next(), words.next()) {
            (Some(first), Some(_)) => format!("{first} …"),
            _ => key.to_owned(),
        };
        Self { key: Some(key), ..self }
    }

    pub(super) fn in_file(self, file: &str) -> Self {
        Self { file: file.to_owned(), ..self }
    }

    /// The line, from 1; none for what is missing from the file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The section.
    pub fn section(&self) -> Option<&str> {
        self.section.as_deref()
    }

    /// The key, as far as it is one word.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What is wrong.
    pub fn problem(&self) -> &ConfigProblem {
        &self.problem
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Quoted(&self.file))?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        if let Some(section) = &self.section {
            write!(f, ", section {}", Quoted(section))?;
        }
        if let Some(key) = &self.key {
            write!(f, ", key {}", Quoted(key))?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}
