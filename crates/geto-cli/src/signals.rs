//! What geto does when it is asked to end.

use std::io;
use std::time::Duration;

use geto::{Canceller, ExitCode};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit;
use crate::output::Output;
use crate::printer::Printer;

/// How long geto stays after a second Ctrl-C for the host to hear of the first, at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be ended at the first Ctrl-C.
pub(crate) trait Interrupted: Send {
    /// It was asked to end; tells whether a task has started.
    fn ask(&self) -> bool;
    /// Whether there is no host that has yet to hear of it.
    fn is_told(&self) -> bool;
    /// Whether files are being put into place of which no host has a copy any more.
    fn is_placing(&self) -> bool;
}

/// The signals that ask geto to end, caught from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Caught,
    terminate: Caught,
    hangup: Caught,
    quit: Caught,
}

#[derive(Debug)]
struct Caught {
    signal: Signal,
    /// It was ignored when geto was started.
    ignored: bool,
}

impl Signals {
    /// Catches them. What was ignored when geto was started is caught and has no effect: `nohup`
    /// and shells that start something in the background mean geto. A task on this machine would
    /// inherit what is ignored, but not what is caught.
    ///
    /// # Errors
    /// When the system does not let geto do so.
    pub(crate) fn catch() -> io::Result<Self> {
        let ignored = ignored();
        let catch = |kind: SignalKind| {
            let ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            signal(kind).map(|signal| Caught { signal, ignored })
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hangup: catch(SignalKind::hangup())?,
            quit: catch(SignalKind::quit())?,
        })
    }

    /// Waits for one of them, and says what to end with.
    pub(crate) async fn any(mut self) -> ExitCode {
        self.next().await
    }

    /// Waits for the next of them, and says what to end with.
    pub(crate) async fn next(&mut self) -> ExitCode {
        tokio::select! {
            () = self.interrupt.next() => ExitCode::INTERRUPTED,
            () = self.terminate.next() => exit::TERMINATED,
            () = self.hangup.next() => exit::HANGUP,
            () = self.quit.next() => exit::QUIT,
        }
    }

    /// Ends the task at the first Ctrl-C; from then on output that is shown while it comes waits for
    /// no reader. Returns when geto is to leave it alone and end, and with
    /// what: after a second Ctrl-C not before the host has heard of the first, or has had the time to; and
    /// not before files are in place that are being put there, unless another signal asks for it.
    pub(crate) async fn watch(
        mut self,
        canceller: Canceller,
        output: Output,
        is_streaming: bool,
        task: impl Interrupted,
        printer: Printer,
    ) -> ExitCode {
        let mut interrupted = false;
        let code = loop {
            let code = self.next().await;
            if code != ExitCode::INTERRUPTED || interrupted {
                output.hurry();
                if code == ExitCode::INTERRUPTED {
                    self.wait_while(|| !task.is_told(), PATIENCE).await;
                }
                if task.is_placing() {
                    printer
                        .note("putting the files into place; once more leaves them where they are");
                    self.wait_while(|| task.is_placing(), Duration::MAX).await;
                }
                break code;
            }
            interrupted = true;
            canceller.cancel();
            if is_streaming {
                output.hurry();
            }
            if task.ask() {
                printer.note("ending the task; Ctrl-C once more leaves it");
            } else if task.is_placing() {
                printer.note("putting the files into place; the task has ended");
            }
        };
        output.hurry();
        code
    }

    /// Waits while something is so, but no longer than `patience`, nor for one who is in a hurry.
    async fn wait_while(&mut self, is_so: impl Fn() -> bool, patience: Duration) {
        let waiting = async {
            let mut look = tokio::time::interval(LOOK);
            while is_so() {
                look.tick().await;
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(patience, waiting) => {}
            _ = self.next() => {}
        }
    }
}

impl Caught {
    async fn next(&mut self) {
        if self.ignored || self.signal.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// The signals that this process ignores, a bit each, as proc(5) has them; none where there is no
/// such file.
fn ignored() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
