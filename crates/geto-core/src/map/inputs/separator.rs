//! `--colsep`: what separates the columns of a line.

use regex::bytes::Regex;

use crate::message::Quoted;

/// A regular expression that separates columns.
#[derive(Debug, Clone)]
pub struct Separator(Regex);

/// A text that is no regular expression.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{} is no regular expression that could separate columns", Quoted(text))]
pub struct InvalidSeparator {
    text: String,
    #[source]
    cause: regex::Error,
}

impl Separator {
    /// Reads a regular expression, in the syntax of the crate `regex` (RE2's, as perl's without
    /// look-around and back-references).
    ///
    /// # Errors
    /// For what is none.
    pub fn parse(text: &str) -> Result<Self, InvalidSeparator> {
        let regex =
            Regex::new(text).map_err(|cause| InvalidSeparator { text: text.to_owned(), cause })?;
        Ok(Self(regex))
    }

    /// Splits a value into columns, without white space around each: parallel(1), `--colsep`,
    /// "implies --trim rl". Empty columns stay, also at the end.
    pub(super) fn split(&self, value: &[u8]) -> Vec<Vec<u8>> {
        self.0.split(value).map(|column| column.trim_ascii().to_vec()).collect()
    }
}
