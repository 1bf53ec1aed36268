//! What happens to a task, as notifications.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use geto::bytes::Bytes;
use geto::{Error, ErrorKind, Event, TaskId};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::service::Caller;
use super::spool::Spool;
use crate::events::{self, merge};

/// How often a full disk is tried again.
const ROOM_LOOKS: Duration = Duration::from_millis(100);

/// In which form output is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OutputForm {
    /// Exactly, piece by piece.
    #[default]
    Base64,
    /// As text, no character of which is torn; what is no UTF-8 in it is replaced.
    Text,
    /// Not at all.
    None,
}

/// Tells one client of one task.
#[derive(Debug)]
pub(super) struct Notes {
    telling: Arc<Spool>,
    out: mpsc::Sender<Bytes>,
    /// The id of the request that is served.
    request: Value,
    task: TaskId,
    /// The script's name.
    script: String,
    form: OutputForm,
    /// The beginnings of characters, of stdout and stderr, whose ends are still to come.
    torn: [Vec<u8>; 2],
}

/// Passes notes on, as fast as a client takes them, until it is dropped.
#[derive(Debug)]
pub(super) struct Telling {
    spool: Arc<Spool>,
    passing: JoinSet<io::Result<()>>,
}

impl Telling {
    /// Waits until the client has been told all there is.
    ///
    /// # Errors
    /// When what waited on the disk can't be read.
    pub(super) async fn end(mut self) -> Result<(), Error> {
        self.spool.end();
        let Some(Ok(Err(failed))) = self.passing.join_next().await else { return Ok(()) };
        let message = "failed to tell what had to wait for the client";
        Err(Error::new(ErrorKind::Local, message).caused_by(failed))
    }
}

impl Notes {
    /// Begins to tell `caller` of a task. What has to wait is kept in `directory`.
    pub(super) fn start(
        caller: Caller,
        directory: &Path,
        task: TaskId,
        script: &str,
        form: OutputForm,
    ) -> (Self, Telling) {
        let Caller { out, id: request } = caller;
        let spool = Arc::new(Spool::new(directory.to_owned()));
        let mut passing = JoinSet::new();
        passing.spawn({
            let (spool, out) = (Arc::clone(&spool), out.clone());
            async move { spool.pass_on(&out).await }
        });
        let (telling, script) = (Arc::clone(&spool), script.to_owned());
        let notes = Self { telling, out, request, task, script, form, torn: Default::default() };
        (notes, Telling { spool, passing })
    }

    /// Tells what has happened, without waiting for the client.
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Stdout(bytes) => self.piece(0, &bytes),
            Event::Stderr(bytes) => self.piece(1, &bytes),
            event => {
                if matches!(event, Event::Ended { .. }) {
                    self.finish();
                }
                if let Some(object) = events::object(event, &self.script) {
                    self.tell(&object);
                }
            }
        }
    }

    fn piece(&mut self, stream: usize, bytes: &[u8]) {
        let event = ["stdout", "stderr"][stream];
        match self.form {
            OutputForm::None => {}
            OutputForm::Base64 => {
                self.tell(&json!({ "event": event, "base64": STANDARD.encode(bytes) }));
            }
            OutputForm::Text => {
                let text = whole(&mut self.torn[stream], bytes);
                if !text.is_empty() {
                    self.tell(&json!({ "event": event, "text": text }));
                }
            }
        }
    }

    /// Nothing more comes: beginnings of characters stay that.
    fn finish(&mut self) {
        for (stream, event) in ["stdout", "stderr"].into_iter().enumerate() {
            let torn = std::mem::take(&mut self.torn[stream]);
            if !torn.is_empty() {
                let text = String::from_utf8_lossy(&torn);
                self.tell(&json!({ "event": event, "text": text }));
            }
        }
    }

    fn tell(&self, object: &Value) {
        let mut params = json!({ "request": self.request, "task": self.task });
        merge(&mut params, object);
        let note = json!({ "jsonrpc": "2.0", "method": "event", "params": params });
        let line = events::line(&note);
        let is_taken = || self.telling.put(&line).is_ok() || self.out.is_closed();
        if !is_taken() {
            // There is no room on the disk, until the client takes something. That holds the task's link up.
            tokio::task::block_in_place(|| {
                while !is_taken() {
                    std::thread::sleep(ROOM_LOOKS);
                }
            });
        }
    }
}

/// Returns the text of `torn` and `bytes`, but for a character at its end that is not whole yet, which
/// is left in `torn`.
fn whole(torn: &mut Vec<u8>, bytes: &[u8]) -> String {
    torn.extend_from_slice(bytes);
    let end = torn.utf8_chunks().last().map_or(0, |chunk| {
        let rest = chunk.invalid();
        match std::str::from_utf8(rest).map_err(|error| error.error_len()) {
            Err(None) => torn.len() - rest.len(),
            _ => torn.len(),
        }
    });
    let rest = torn.split_off(end);
    let text = String::from_utf8_lossy(torn).into_owned();
    *torn = rest;
    text
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn tears_no_character() {
        let mut torn = Vec::new();
        assert_eq!(whole(&mut torn, b"a\xe2\x82"), "a");
        assert_eq!(whole(&mut torn, b"\xacb"), "€b");
        assert_eq!(whole(&mut torn, b"\xe2\x82x\xff\xf0"), "\u{fffd}x\u{fffd}");
        assert_eq!(whole(&mut torn, b"y"), "\u{fffd}y");
        assert_eq!(whole(&mut torn, b""), "");
    }
}
