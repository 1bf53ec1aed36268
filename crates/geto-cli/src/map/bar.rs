//! How far a batch has come, on a terminal.

use std::time::Instant;

use geto::map::{Counts, MapHost};
use geto::text::printable;
use geto::units::human_duration;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printer::Printer;

/// More hosts than these have no line of their own.
const HOSTS_SHOWN: usize = 16;
const WIDTH: u64 = 30;

/// A line for the batch and one for each host; nothing where stderr is no terminal.
pub(super) struct Bar {
    line: Option<ProgressBar>,
    begun: Instant,
}

impl Bar {
    pub(super) fn new(printer: Printer) -> Self {
        let line = printer.is_talking().then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            match ProgressStyle::with_template("{msg}") {
                Ok(style) => line.with_style(style),
                Err(_) => line,
            }
        });
        let line = line.filter(|line| !line.is_hidden());
        Self { line, begun: Instant::now() }
    }

    pub(super) fn is_shown(&self) -> bool {
        self.line.is_some()
    }

    /// Shows how far it has come.
    pub(super) fn progress(&self, counts: &Counts, hosts: &[MapHost]) {
        if let Some(line) = &self.line {
            line.set_message(text(counts, hosts, self.begun.elapsed()));
        }
    }

    /// Does something that writes without the lines in its way.
    pub(super) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.line {
            Some(line) => line.suspend(work),
            None => work(),
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
        }
    }
}

fn text(counts: &Counts, hosts: &[MapHost], time: std::time::Duration) -> String {
    let done = counts.done();
    let mut parts = Vec::new();
    match counts.total {
        Some(total) => {
            let filled = (done * WIDTH).checked_div(total).unwrap_or(WIDTH);
            let bar: String = (0..WIDTH).map(|at| if at < filled { '█' } else { '░' }).collect();
            parts.push(format!("{bar} {done} of {total}"));
        }
        None => parts.push(format!("{done} done")),
    }
    if counts.unsuccessful() > 0 {
        parts.push(format!("{} failed", counts.unsuccessful()));
    }
    parts.push(format!("{} running", counts.running));
    #[expect(clippy::cast_precision_loss, reason = "a rate for a person")]
    let rate = done as f64 / time.as_secs_f64().max(0.001);
    parts.push(format!("{rate:.1}/s"));
    if let (Some(total), true) = (counts.total, done > 0) {
        #[expect(clippy::cast_precision_loss, reason = "a time for a person")]
        let left = time.mul_f64(total.saturating_sub(done) as f64 / done as f64);
        parts.push(format!("{} left", human_duration(left)));
    }
    let mut lines = vec![parts.join("  ")];
    for host in hosts.iter().take(HOSTS_SHOWN) {
        let name = printable(host.name.as_bytes());
        let state = if host.is_resting { "  resting" } else { "" };
        lines.push(format!(
            "  {name}  {}/{} running  {} done{state}",
            host.running, host.slots, host.ended
        ));
    }
    if let Some(more) = hosts.len().checked_sub(HOSTS_SHOWN).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more hosts"));
    }
    lines.join("\n")
}
