//! What can be wrong with a template, and with a task that it is rendered for.

use crate::message::{DidYouMean, Quoted};

/// What is wrong with a text that has replacement strings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, byte {at}: {problem}", Quoted(text))]
pub struct TemplateError {
    text: String,
    at: usize,
    #[source]
    problem: TemplateProblem,
}

/// What can be wrong with a replacement string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateProblem {
    /// `{0}`, or a number that no input can have.
    #[error("there is no input {}: they count from 1, or from -1 at the end", Quoted(.0))]
    Zero(String),
    /// A place that the inputs don't have.
    #[error("there is no input {place}: an input has {values} {}", if *values == 1 { "value" } else { "values" })]
    NoSuchInput {
        /// The place asked for.
        place: i32,
        /// How many values each input has.
        values: usize,
    },
    /// A name that no column has.
    #[error("no column is called {}{}", Quoted(name), DidYouMean(nearest.as_deref()))]
    NoColumn {
        /// The name.
        name: String,
        /// The column that it may be a slip of.
        nearest: Option<String>,
    },
    /// A column has the name of a replacement string.
    #[error(
        "{} is geto's own word, and a column's name too; write the number of the column",
        Quoted(.0)
    )]
    Ambiguous(String),
}

/// Why a text can't be rendered for a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The input has no such key.
    #[error("{}: the input has no key {}", Quoted(text), Quoted(key))]
    NoKey {
        /// The text.
        text: String,
        /// The key.
        key: String,
    },
    /// `{dep}` of a value that ends in no name, as `..` does.
    #[error("{}: {} has no name that a dependency could have", Quoted(text), Quoted(value))]
    NoName {
        /// The text.
        text: String,
        /// The value.
        value: String,
    },
    /// `{host}` or `{%}` before they are known.
    #[error("{}: host and slot are not chosen yet", Quoted(text))]
    NoPlace {
        /// The text.
        text: String,
    },
}

impl TemplateError {
    /// `at` counts from 0.
    pub(super) fn new(text: &[u8], at: usize, problem: TemplateProblem) -> Self {
        Self { text: lossy(text), at: at + 1, problem }
    }

    /// The byte where the replacement string begins, from 1.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &TemplateProblem {
        &self.problem
    }
}

impl RenderError {
    pub(super) fn no_key(text: &[u8], key: &str) -> Self {
        Self::NoKey { text: lossy(text), key: key.to_owned() }
    }

    pub(super) fn no_name(text: &[u8], value: &[u8]) -> Self {
        Self::NoName { text: lossy(text), value: lossy(value) }
    }

    pub(super) fn no_place(text: &[u8]) -> Self {
        Self::NoPlace { text: lossy(text) }
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
