//! How far large transfers have come.

use std::collections::HashSet;
use std::time::Duration;

use geto::text::printable;
use geto::units::human_bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printer::Printer;

/// More than this is announced before it is sent.
const ANNOUNCED: u64 = 100 << 20;
/// More than this is worth a moving line.
const SHOWN: u64 = 8 << 20;

/// How often a moving line moves.
const TICK: Duration = Duration::from_millis(200);

/// Says how much is sent, and shows transfers on a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    printer: Printer,
    host: String,
    announced: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Makes one that has nothing to show yet.
    pub(crate) fn new(printer: Printer, host: &str) -> Self {
        Self { printer, host: host.to_owned(), announced: false, bar: None }
    }

    /// `bytes` of `total` have been sent.
    pub(crate) fn sending(&mut self, bytes: u64, total: u64) {
        if total > ANNOUNCED && !self.announced {
            self.announced = true;
            self.printer.note(&format!("sending {} to `{}`", human_bytes(total), self.host));
        }
        if total <= SHOWN {
            return;
        }
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        self.shown(template, Some(total), bytes);
    }

    /// `bytes` have been received.
    pub(crate) fn receiving(&mut self, bytes: u64) {
        if bytes > SHOWN {
            self.shown("{spinner} {bytes} received", None, bytes);
        }
    }

    /// A transfer has ended.
    pub(crate) fn done(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn shown(&mut self, template: &str, total: Option<u64>, bytes: u64) {
        if !self.printer.is_talking() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            // Where stderr is no terminal it draws nothing.
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(bytes);
    }
}

/// Says what a task waits for: on a terminal in a line that moves, elsewhere once for each host.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    told: HashSet<String>,
    line: Option<ProgressBar>,
}

impl Waits {
    /// The task waits on `host`.
    pub(crate) fn tell(&mut self, printer: Printer, host: &str, text: &str) {
        if !printer.is_talking() {
            return;
        }
        if self.told.insert(host.to_owned()) {
            printer.note(text);
        }
        let line = self.line.get_or_insert_with(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            line.enable_steady_tick(TICK);
            line
        });
        line.set_message(printable(text.as_bytes()));
    }

    /// It waits no longer.
    pub(crate) fn done(&mut self) {
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.done();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done();
    }
}
