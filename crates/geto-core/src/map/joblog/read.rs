//! A log, read line by line.

use std::io::{self, BufRead};

use super::entry::{Entry, HEADER};

/// What was found in a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reading {
    /// How many tasks it tells of.
    pub entries: u64,
    /// The length of all whole lines, in bytes. Who goes on with the log must cut it to this length
    /// first, or write [`HEADER`] when it is 0.
    pub whole_bytes: u64,
    /// What was not understood: of lines that are no entry, the first ten.
    pub warnings: Vec<Warning>,
}

/// What was not understood in a log. Whoever resumes from it runs such tasks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The last line has no end: who wrote it died, or is writing.
    #[error("the last line, {line}, is torn; it is ignored")]
    Torn {
        /// The line, from 1.
        line: u64,
    },
    /// A line that is none of a joblog.
    #[error("line {line} is none of a joblog; it is ignored")]
    NoEntry {
        /// The line, from 1.
        line: u64,
    },
}

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoblogError {
    /// The file can't be read.
    #[error("line {line} can't be read")]
    Read {
        /// The line, from 1.
        line: u64,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The first line is neither the header nor an entry.
    #[error(
        "it is no joblog: the first line must be `Seq Host Starttime JobRuntime Send Receive Exitval Signal Command`, with tabs"
    )]
    NoJoblog,
}

const MOST_WARNINGS: usize = 10;

/// Reads a log of geto or of GNU parallel, and calls `each` with its entries in their order.
///
/// # Errors
/// When it can't be read, or is something else: a file that is given by mistake must not be
/// written to.
pub fn read(mut log: impl BufRead, mut each: impl FnMut(Entry)) -> Result<Reading, JoblogError> {
    let mut reading = Reading::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let length =
            log.read_until(b'\n', &mut bytes).map_err(|cause| JoblogError::Read { line, cause })?;
        if length == 0 {
            break;
        }
        let Some(text) = bytes.strip_suffix(b"\n") else {
            if line == 1 && !HEADER.as_bytes().starts_with(&bytes) && Entry::parse(&bytes).is_none()
            {
                return Err(JoblogError::NoJoblog);
            }
            reading.warnings.push(Warning::Torn { line });
            break;
        };
        // Logs that were put together have several headers.
        if text != HEADER.trim_end().as_bytes() {
            match Entry::parse(text) {
                Some(entry) => {
                    reading.entries += 1;
                    each(entry);
                }
                None if line == 1 => return Err(JoblogError::NoJoblog),
                None if reading.warnings.len() < MOST_WARNINGS => {
                    reading.warnings.push(Warning::NoEntry { line });
                }
                None => {}
            }
        }
        reading.whole_bytes += length as u64;
    }
    Ok(reading)
}
