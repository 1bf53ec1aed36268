//! How far a batch has come, on a terminal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
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
    total: Total,
    begun: Instant,
}

/// How many inputs there are, where that is known before they are read.
#[derive(Debug, Default)]
pub(super) struct Total {
    /// All of them, once they are counted.
    pub(super) count: Option<Arc<OnceLock<u64>>>,
    /// Those that were done before.
    pub(super) skipped: Arc<AtomicU64>,
}

impl Total {
    fn get(&self) -> Option<u64> {
        let count = self.count.as_ref()?.get()?;
        Some(count.saturating_sub(self.skipped.load(Ordering::Relaxed)))
    }
}

impl Bar {
    /// Whether there is a terminal to show it on.
    pub(super) fn is_visible(printer: Printer) -> bool {
        printer.is_talking() && !ProgressDrawTarget::stderr().is_hidden()
    }

    pub(super) fn new(printer: Printer, total: Total) -> Self {
        let line = Self::is_visible(printer).then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            match ProgressStyle::with_template("{msg}") {
                Ok(style) => line.with_style(style),
                Err(_) => line,
            }
        });
        Self { line, total, begun: Instant::now() }
    }

    pub(super) fn is_shown(&self) -> bool {
        self.line.is_some()
    }

    /// Shows how far it has come.
    pub(super) fn progress(&self, counts: &Counts, hosts: &[MapHost]) {
        if let Some(line) = &self.line {
            let mut counts = *counts;
            counts.total = counts.total.or_else(|| self.total.get());
            line.set_message(text(&counts, hosts, self.begun.elapsed()));
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
        let state = match host {
            MapHost { is_slow: true, .. } => "  slow",
            MapHost { is_resting: true, .. } => "  resting",
            MapHost { is_full: true, .. } => "  full",
            _ => "",
        };
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
