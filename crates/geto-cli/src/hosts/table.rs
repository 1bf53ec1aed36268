//! The table of hosts.

use std::cmp::Reverse;

use comfy_table::{Table, presets};
use geto::units::human_bytes;
use geto::{Error, Host, HostStatus, TransportKind};

/// More scripts than these are not named in a row.
const NAMED: usize = 4;

/// One host in the table.
pub(crate) struct Row<'a> {
    pub(crate) host: &'a Host,
    pub(crate) state: State<'a>,
    /// Whether tasks are named.
    pub(crate) verbose: bool,
}

/// What is known of a host.
pub(crate) enum State<'a> {
    /// It has not answered yet.
    Waiting,
    Ready(&'a HostStatus),
    Down(&'a Error),
}

/// A column: its title, and what stands in it.
struct Column(&'static str, fn(&Row<'_>) -> String);

/// All columns, from left to right.
const COLUMNS: &[Column] = &[
    Column("HOST", |row| row.host.name.clone()),
    Column("ADDRESS", |row| address(row.host)),
    Column("STATE", |row| row.state.name()),
    Column("LOGIN", |row| row.ready(|status| Some(format!("{} ms", status.login.as_millis())))),
    Column("SLOTS", |row| {
        row.ready(|status| Some(format!("{}/{}", status.slots_taken, status.slots?)))
    }),
    Column("RUNNING", |row| row.ready(|status| running(status, row.verbose))),
    Column("LOAD", |row| row.ready(|status| Some(format!("{:.2}", status.load?)))),
    Column("CPUS", |row| row.ready(|status| Some(status.processors?.to_string()))),
    Column("FREE MEMORY", |row| row.ready(|status| Some(human_bytes(status.free_memory?)))),
    Column("GPUS", |row| row.ready(|status| Some(gpus(row.host, status).to_string()))),
    Column("FREE DISK", |row| row.ready(|status| Some(human_bytes(status.free_disk?)))),
    Column("SYSTEM", |row| row.ready(|status| Some(status.system.clone()))),
    Column("SHELL", |row| row.ready(|status| Some(status.shell.clone()))),
];

impl State<'_> {
    /// A name for people.
    fn name(&self) -> String {
        match self {
            Self::Waiting => "waiting".to_owned(),
            Self::Ready(_) => "ready".to_owned(),
            Self::Down(error) => error.kind().name().replace('-', " "),
        }
    }
}

impl Row<'_> {
    /// What a host that answered says; `?` where it can't tell.
    fn ready(&self, say: impl FnOnce(&HostStatus) -> Option<String>) -> String {
        match self.state {
            State::Ready(status) => say(status).unwrap_or_else(|| "?".to_owned()),
            _ => String::new(),
        }
    }
}

/// A table that grows at its end.
#[derive(Debug)]
pub(crate) struct Listing {
    table: Table,
    taken: usize,
}

impl Listing {
    /// Makes one with nothing but titles.
    pub(crate) fn new() -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(COLUMNS.iter().map(|Column(title, _)| *title));
        Self { table, taken: 0 }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        self.table.add_row(COLUMNS.iter().map(|Column(_, cell)| cell(row)));
    }

    /// Returns the lines that were not returned before, aligned with those that were.
    pub(crate) fn new_lines(&mut self) -> String {
        let mut text = String::new();
        let lines: Vec<String> = self.table.lines().collect();
        for line in lines.iter().skip(self.taken) {
            text.push_str(line.trim());
            text.push('\n');
        }
        self.taken = lines.len();
        text
    }
}

/// How many tasks run that have a slot, by the names of their scripts when `verbose`.
fn running(status: &HostStatus, verbose: bool) -> Option<String> {
    status.slots?;
    let mut names: Vec<_> = status.running.iter().collect();
    let count: u32 = status.running.values().sum();
    let waiting = match status.waiting {
        0 => String::new(),
        waiting => format!(", {waiting} waiting"),
    };
    if !verbose || names.is_empty() {
        return Some(format!("{count}{waiting}"));
    }
    names.sort_by_key(|(name, count)| (Reverse(**count), *name));
    let more: u32 = names.iter().skip(NAMED).map(|(_, count)| *count).sum();
    let mut words: Vec<_> =
        names.iter().take(NAMED).map(|(name, count)| format!("{count} {name}")).collect();
    if more > 0 {
        words.push(format!("{more} others"));
    }
    Some(format!("{}{waiting}", words.join(", ")))
}

/// How many GPUs a host has: what geto.ini says, or the host.
pub(crate) fn gpus(host: &Host, status: &HostStatus) -> u32 {
    host.gpus.unwrap_or(status.gpus)
}

/// Where a host is, as a person would write it.
pub(crate) fn address(host: &Host) -> String {
    let user = host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    match (host.transport, host.port) {
        (TransportKind::Local, _) => "this machine".to_owned(),
        (_, None) => format!("{user}{}", host.address),
        (_, Some(port)) if host.address.contains(':') => {
            format!("{user}[{}]:{port}", host.address)
        }
        (_, Some(port)) => format!("{user}{}:{port}", host.address),
    }
}
