//! One source of inputs.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::error::{InputError, InputProblem};
use super::{Input, Separator};
use crate::map::template::Columns;

/// What ends a record of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// A line feed. A carriage return before it belongs to the value, as in GNU parallel.
    #[default]
    LineFeed,
    /// A NUL byte: `-0`.
    Nul,
}

pub(super) type Records = Box<dyn Iterator<Item = Result<Input, InputError>> + Send>;

/// Where inputs come from one after the other, read as they are needed.
pub struct Source {
    pub(super) columns: Columns,
    /// How many values each input has, where that is the same for all.
    pub(super) width: Option<usize>,
    pub(super) records: Records,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl Source {
    /// Words of a command line (`:::`), each an input of one value.
    pub fn words(words: impl IntoIterator<Item = Vec<u8>, IntoIter: Send + 'static>) -> Self {
        let records = words.into_iter().map(|word| Ok(Input::from_values([word])));
        Self { columns: Columns::None, width: Some(1), records: Box::new(records) }
    }

    /// Lines of a file (`::::`, `--inputs`), each an input of one value; empty ones too, as in GNU
    /// parallel. `name` is what errors call it.
    pub fn lines(
        name: impl Into<String>,
        reader: impl BufRead + Send + 'static,
        ending: Ending,
    ) -> Self {
        let records = Lines::new(name.into(), reader, ending)
            .map(|line| line.map(|(_, line)| Input::from_values([line])));
        Self { columns: Columns::None, width: Some(1), records: Box::new(records) }
    }

    /// Splits each value into columns (`--colsep`), which are values of their own: `{1}`, `{2}` ….
    #[must_use]
    pub fn split(self, separator: Separator) -> Self {
        let records = self.records.map(move |input| {
            input.map(|input| {
                Input::from_values(input.values().iter().flat_map(|value| separator.split(value)))
            })
        });
        Self { columns: Columns::None, width: None, records: Box::new(records) }
    }

    /// Lines of a CSV file (RFC 4180), whose first line names the columns; each column is a value,
    /// and has its name. Empty lines are skipped.
    ///
    /// # Errors
    /// When the first line can't be read, or names two columns alike.
    pub fn csv(
        name: impl Into<String>,
        reader: impl Read + Send + 'static,
        delimiter: u8,
    ) -> Result<Self, InputError> {
        let name = name.into();
        let mut csv = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(reader);
        let header = csv.byte_headers().map_err(|cause| csv_error(&name, cause))?;
        let names = header_names(header).map_err(|p| InputError::new(&name, 1, p))?;
        let columns = Columns::Known(names.clone());
        let width = Some(names.len());
        let names: Arc<[String]> = names.into();
        let records = csv.into_byte_records().map(move |record| match record {
            Ok(record) => {
                let values = record.iter().map(<[u8]>::to_vec);
                Ok(Input::from_values(values).with_header(Arc::clone(&names)))
            }
            Err(cause) => Err(csv_error(&name, cause)),
        });
        Ok(Self { columns, width, records: Box::new(records) })
    }

    /// Lines that are JSON objects each. The line is the value; each key has what stands for it as
    /// text: strings themselves, `null` nothing, numbers and all else as they are written. Lines
    /// of white space are skipped.
    pub fn json_lines(name: impl Into<String>, reader: impl BufRead + Send + 'static) -> Self {
        let name = name.into();
        let lines = Lines::new(name.clone(), reader, Ending::LineFeed);
        let is_blank = |line: &[u8]| line.trim_ascii().is_empty();
        let records = lines
            .filter(move |line| !matches!(line, Ok((_, line)) if is_blank(line)))
            .map(move |line| {
                let (number, line) = line?;
                let keys = object(&line)
                    .map_err(|cause| InputError::new(&name, number, InputProblem::Json(cause)))?;
                let line = line.trim_ascii().to_vec();
                Ok(Input::from_values([line]).with_keys(keys))
            });
        Self { columns: Columns::Any, width: Some(1), records: Box::new(records) }
    }

    /// The names that templates may use.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }
}

fn csv_error(name: &str, cause: csv::Error) -> InputError {
    let line = cause.position().map_or(1, csv::Position::line);
    InputError::new(name, line, InputProblem::Csv(cause))
}

fn header_names(header: &csv::ByteRecord) -> Result<Vec<String>, InputProblem> {
    if header.is_empty() {
        return Err(InputProblem::NoHeader);
    }
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (index, name) in header.iter().enumerate() {
        let name = std::str::from_utf8(name)
            .map_err(|_not_utf8| InputProblem::HeaderNotUtf8(index + 1))?;
        // Columns without a name are found by their places.
        if !name.is_empty() && names.iter().any(|known| known == name) {
            return Err(InputProblem::ColumnTwice(name.to_owned()));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Numbers are kept as they are written: an id of twenty digits, or 1.10, is no `f64`.
fn object(line: &[u8]) -> Result<Vec<(String, Vec<u8>)>, serde_json::Error> {
    let object: std::collections::BTreeMap<String, &RawValue> = serde_json::from_slice(line)?;
    object
        .into_iter()
        .map(|(key, value)| {
            let value = match value.get() {
                "null" => Vec::new(),
                text if text.starts_with('"') => serde_json::from_str::<String>(text)?.into_bytes(),
                text => text.as_bytes().to_vec(),
            };
            Ok((key, value))
        })
        .collect()
}

/// Records with their numbers, from 1; ends after the first error.
struct Lines<R> {
    name: String,
    reader: Option<R>,
    ending: u8,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(name: String, reader: R, ending: Ending) -> Self {
        let ending = match ending {
            Ending::LineFeed => b'\n',
            Ending::Nul => 0,
        };
        Self { name, reader: Some(reader), ending, number: 0 }
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let mut line = Vec::new();
        if reader.read_until(self.ending, &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&self.ending) {
            line.pop();
        }
        Ok(Some(line))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<(u64, Vec<u8>), InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.number += 1;
        let item = match self.read() {
            Ok(line) => line.map(|line| Ok((self.number, line))),
            Err(cause) => {
                let error = InputError::new(&self.name, self.number, InputProblem::Read(cause));
                self.reader = None;
                Some(Err(error))
            }
        };
        if item.is_none() {
            self.reader = None;
        }
        item
    }
}
