//! What is read here before a task is sent.

use std::path::Path;

use bytes::Bytes;
use geto_core::{ScriptBody, Stdin, Task};

use crate::text::printable;
use crate::{Error, ErrorKind};

/// The text of the script and what it reads, in memory.
#[derive(Debug, Clone)]
pub(super) struct Input {
    /// `None` for a command of the host.
    pub(super) text: Option<Bytes>,
    /// `None` is `/dev/null`.
    pub(super) stdin: Option<Bytes>,
}

impl Input {
    /// Reads the files that the task names.
    ///
    /// # Errors
    /// Of kind [`Usage`](ErrorKind::Usage), when one can't be read.
    pub(super) async fn of(task: &Task) -> Result<Self, Error> {
        let text = match task.script.body() {
            ScriptBody::Text(text) => Some(Bytes::copy_from_slice(text)),
            ScriptBody::File(path) => Some(read("script", path).await?),
            _ => None,
        };
        let stdin = match &task.stdin {
            Stdin::Null => None,
            Stdin::Bytes(bytes) => Some(Bytes::copy_from_slice(bytes)),
            Stdin::File(path) => Some(read("input", path).await?),
            _ => return Err(Error::new(ErrorKind::Usage, "unknown kind of input")),
        };
        Ok(Self { text, stdin })
    }
}

async fn read(what: &str, path: &Path) -> Result<Bytes, Error> {
    let bytes = fs_err::tokio::read(path).await.map_err(|error| {
        let shown = printable(path.as_os_str().as_encoded_bytes());
        Error::new(ErrorKind::Usage, format!("failed to read the {what} `{shown}`"))
            .caused_by(error)
    })?;
    Ok(Bytes::from(bytes))
}
