//! What can be wrong with what is read.

use std::io;

use crate::message::Quoted;

/// Why a source gives no more inputs.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {} at line {line}", Quoted(source_name))]
pub struct InputError {
    source_name: String,
    line: u64,
    #[source]
    problem: InputProblem,
}

/// What can be wrong with a source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputProblem {
    /// It can't be read.
    #[error(transparent)]
    Read(io::Error),
    /// It is no sound CSV; all lines must have as many columns as the first.
    #[error(transparent)]
    Csv(csv::Error),
    /// The line is no JSON object.
    #[error("the line is no JSON object")]
    Json(#[source] serde_json::Error),
    /// A column's name is no UTF-8.
    #[error("the name of column {0} is no UTF-8")]
    HeaderNotUtf8(usize),
    /// Two columns have the same name.
    #[error("two columns are called {}", Quoted(.0))]
    ColumnTwice(String),
    /// It has no first line that could name the columns.
    #[error("the first line must name the columns, and there is none")]
    NoHeader,
}

impl InputError {
    pub(super) fn new(source_name: &str, line: u64, problem: InputProblem) -> Self {
        Self { source_name: source_name.to_owned(), line, problem }
    }

    /// The line, from 1; for the separator NUL, the record.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What is wrong.
    pub fn problem(&self) -> &InputProblem {
        &self.problem
    }
}
