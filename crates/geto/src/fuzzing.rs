//! Ways in for the fuzz targets, to what is not public. No part of the interface.

use std::path::Path;

use crate::Error;
use crate::results::{self, Limits};

/// Unpacks an archive as one of a host, and returns how many bytes its files have.
///
/// # Errors
/// As for any archive of a host.
pub fn unpack(mut archive: &[u8], into: &Path, max_bytes: u64) -> Result<u64, Error> {
    let limits = Limits { max_bytes: Some(max_bytes), ..Limits::default() };
    Ok(results::unpack(&mut archive, into, &limits)?.bytes)
}
