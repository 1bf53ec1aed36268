//! Results on their way home: unpacked aside, synced, then put where the user wants them.

mod archive;
mod claims;
mod copy;
mod group;
mod moves;
mod place;
mod sync;
#[cfg(test)]
mod tests;
mod turn;
mod unpack;

pub(crate) use claims::{Claim, Claims};
pub(crate) use group::{Written, is_of_ended, make_durable};
pub(crate) use place::{Replaced, place};
pub(crate) use sync::{sync_tree, walk};
pub(crate) use unpack::unpack;

use crate::Error;

/// How much a host may make here.
#[derive(Debug)]
pub(crate) struct Limits {
    /// The most bytes of results, files and output together; no limit when `None`.
    pub(crate) max_bytes: Option<u64>,
    /// How many of them are output, which has come already.
    pub(crate) output_bytes: u64,
    /// The most files, directories and links.
    pub(crate) max_entries: u64,
    /// Whether a member may come more than once, as where several globs match it: the last one counts.
    pub(crate) may_repeat: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: None, output_bytes: 0, max_entries: 1_000_000, may_repeat: false }
    }
}

/// Says that results take more than they may.
pub(crate) fn too_large(max: u64) -> String {
    let unit = if max == 1 { "byte" } else { "bytes" };
    format!("output and files are larger than the limit of {max} {unit} {TOO_LARGE}")
}

const TOO_LARGE: &str = "(`--max-results`)";

/// Whether that is why something failed.
pub(crate) fn is_too_large(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.is_some_and(|cause| cause.to_string().ends_with(TOO_LARGE))
}

/// What has been unpacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// How many files, symlinks and links.
    pub(crate) files: u64,
    /// How many bytes are in the files.
    pub(crate) bytes: u64,
    /// The members that were not made since they are no files (named pipes), fit for a message.
    pub(crate) skipped: Vec<String>,
}
