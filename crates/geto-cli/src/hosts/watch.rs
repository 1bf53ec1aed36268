//! `geto hosts --watch`.

use std::io;
use std::time::Duration;

use geto::{Error, ExitCode, Fleet, Host, HostStatus, Observer};
use rustix::termios;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::object::object;
use super::table::{Listing, Row, State};
use super::{Answer, Stop};
use crate::printer::{Form, Printer};
use crate::prompt::is_asking;
use crate::streams::write_stdout;

/// What a host answered in which round.
struct Heard {
    index: usize,
    round: u64,
    answer: Answer,
}

/// Shows all hosts again and again. Each keeps its connection; who does not answer in time, or has
/// to be connected to once more, does not hold up the others.
pub(super) async fn watch(
    fleet: &Fleet,
    hosts: &[Host],
    interval: Duration,
    printer: Printer,
) -> Result<ExitCode, Stop> {
    let (rounds, _) = watch::channel(0);
    let (answers, mut heard) = mpsc::channel(hosts.len());
    // They end with this call: dropping a JoinSet ends its tasks.
    let mut asking = tokio::task::JoinSet::new();
    for (index, host) in hosts.iter().cloned().enumerate() {
        let (fleet, answers) = (fleet.clone(), answers.clone());
        asking.spawn(keep_asking(fleet, host, index, rounds.subscribe(), answers));
    }
    let mut screen = Screen { hosts, latest: hosts.iter().map(|_| None).collect(), drawn: false };
    for round in 0.. {
        rounds.send_replace(round);
        let end = Instant::now() + interval;
        let mut drawn = false;
        loop {
            if !drawn && screen.is_whole(round) {
                screen.show(round, printer)?;
                drawn = true;
            }
            match timeout_at(end, heard.recv()).await {
                Ok(Some(answer)) => screen.learn(answer, printer)?,
                Ok(None) => return Ok(ExitCode::SUCCESS),
                Err(_elapsed) => break,
            }
        }
        if !drawn {
            screen.show(round, printer)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks one host once a round, over one connection as long as that lasts.
async fn keep_asking(
    fleet: Fleet,
    host: Host,
    index: usize,
    mut rounds: watch::Receiver<u64>,
    answers: mpsc::Sender<Heard>,
) {
    let mut observer = None;
    loop {
        let round = *rounds.borrow_and_update();
        let status = ask(&fleet, &host, &mut observer).await;
        let answer = Answer { status, faults: None };
        let nobody_listens = answers.send(Heard { index, round, answer }).await.is_err();
        if nobody_listens || rounds.changed().await.is_err() {
            return;
        }
    }
}

async fn ask(
    fleet: &Fleet,
    host: &Host,
    known: &mut Option<Observer>,
) -> Result<HostStatus, Error> {
    let mut observer = match known.take() {
        Some(observer) => observer,
        None => fleet.observe(host).await?,
    };
    let status = observer.status().await?;
    *known = Some(observer);
    Ok(status)
}

/// What is shown.
struct Screen<'a> {
    hosts: &'a [Host],
    latest: Vec<Option<Heard>>,
    drawn: bool,
}

impl Screen<'_> {
    fn learn(&mut self, heard: Heard, printer: Printer) -> Result<(), Stop> {
        if printer.form() == Form::Json {
            printer.object(&object(&self.hosts[heard.index], &heard.answer))?;
        }
        let index = heard.index;
        self.latest[index] = Some(heard);
        Ok(())
    }

    /// Whether everybody has answered in this round.
    fn is_whole(&self, round: u64) -> bool {
        self.latest.iter().all(|heard| heard.as_ref().is_some_and(|heard| heard.round == round))
    }

    fn show(&mut self, round: u64, printer: Printer) -> Result<(), Stop> {
        if printer.form() == Form::Json {
            return Ok(());
        }
        let table = self.table(round, printer.is_verbose());
        Ok(draw(&table, &mut self.drawn)?)
    }

    /// The hosts that are ready, those that are waited for, and the others.
    fn table(&self, round: u64, verbose: bool) -> String {
        let mut rows: Vec<Row<'_>> = self
            .hosts
            .iter()
            .zip(&self.latest)
            .map(|(host, heard)| Row { host, state: state(heard.as_ref(), round), verbose })
            .collect();
        rows.sort_by_key(|row| match row.state {
            State::Ready(_) => 0,
            State::Waiting => 1,
            State::Down(_) => 2,
        });
        let mut listing = Listing::new();
        rows.iter().for_each(|row| listing.add(row));
        listing.new_lines()
    }
}

/// What is known of a host: its last answer, unless it was ready and has become silent.
fn state(heard: Option<&Heard>, round: u64) -> State<'_> {
    match heard {
        None => State::Waiting,
        Some(heard) if heard.answer.is_ready() && heard.round + 1 < round => State::Waiting,
        Some(heard) => heard.answer.state(),
    }
}

/// Shows a table in place of the one before it, and behind it where stdout is no terminal; `drawn`
/// is whether there was one. Nothing is drawn over a question.
pub(crate) fn draw(table: &str, drawn: &mut bool) -> io::Result<()> {
    let stdout = rustix::stdio::stdout();
    let text = match termios::isatty(stdout).then(|| termios::tcgetwinsize(stdout)) {
        // Each question is asked once, and the table is drawn again soon.
        Some(_) if is_asking() => return Ok(()),
        Some(Ok(size)) => in_place(table, size.ws_row.into(), size.ws_col.into()),
        _ if *drawn => format!("\n{table}"),
        _ => table.to_owned(),
    };
    *drawn = true;
    write_stdout(text.as_bytes())
}

/// Draws over what a terminal of that many lines and columns shows; what has no room is left out.
fn in_place(table: &str, rows: usize, columns: usize) -> String {
    // A terminal that does not know its size has none of these limits.
    let limit = |size: usize| if size == 0 { usize::MAX } else { size };
    let mut text = "\x1b[H".to_owned();
    // The last line is where the cursor stays.
    for line in table.lines().take(limit(rows).saturating_sub(1)) {
        text.extend(line.chars().take(limit(columns)));
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_fits_the_terminal() {
        assert_eq!(in_place("abc\nde\nf\n", 3, 2), "\x1b[Hab\x1b[K\nde\x1b[K\n\x1b[J");
        assert_eq!(in_place("abc\nde\n", 0, 0), "\x1b[Habc\x1b[K\nde\x1b[K\n\x1b[J");
    }
}
