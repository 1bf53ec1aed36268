//! What is said of a login shell whose start-up files keep it from running the loader.

use super::Session;
use crate::{Error, ErrorKind};

impl Session {
    /// What a login shell is called that does not run the loader. Its start-up files are named in the
    /// cause: those who know of a task have other advice.
    pub(super) fn no_answer(&self) -> Error {
        let hint = "see what start-up files do there without a terminal; in `.bashrc`, a first line `case $- in \
                    *i*) ;; *) return ;; esac` keeps them from it";
        let cause = match (self.is_swallowed(), self.parser.loader_reads()) {
            (true, _) => "its start-up files read, and print, what is sent to geto".to_owned(),
            (false, true) => "it was silent after its start-up files had ended".to_owned(),
            (false, false) => format!(
                "its start-up files did not end within {} s: they read what is sent to geto, have become \
                 something else, or are slow",
                self.start_up.1.as_secs_f64()
            ),
        };
        let message = "failed to get an answer from the login shell";
        let error = Error::new(ErrorKind::Host, message).on_host(&self.host);
        error.caused_by(format!("{cause}{}", self.said())).with_hint(hint)
    }

    /// The channel has ended: a login shell that ended by itself, without the loader, has run nothing, and
    /// does so the next time, too.
    pub(crate) fn ended(&self, kind: ErrorKind, message: &str) -> Error {
        match self.status {
            Some(_) if !self.greeted => self.shut_out(),
            _ => self.error(kind, message),
        }
    }

    /// A login shell that ends without running the loader.
    pub(crate) fn shut_out(&self) -> Error {
        let status = self.status.unwrap_or_default();
        let cause = format!(
            "status {status}: its start-up files have an `exit` or `exec` that is not for terminals only, \
             or it runs no commands{}",
            self.said()
        );
        let message = "the login shell ended without running a command";
        let error = Error::new(ErrorKind::NotStarted, message).on_host(&self.host).caused_by(cause);
        error.with_hint(
            "see them, and which shell the user has there (`getent passwd`): geto needs an account with a shell",
        )
    }

    /// What the host's shell said, to be put behind a cause.
    fn said(&self) -> String {
        match [self.stderr(), self.noise()].join(" ").trim() {
            "" => String::new(),
            said => format!("; it said `{said}`"),
        }
    }
}

/// Start-up files of a login shell that read what is sent in whatever way.
pub(crate) fn unread(host: &str) -> Error {
    Error::new(ErrorKind::Host, "failed to start a shell that reads its input")
        .on_host(host)
        .caused_by("start-up files of the login shell read what is sent to geto")
        .with_hint("see what they do when they are not on a terminal")
}
