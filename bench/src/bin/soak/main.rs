//! Many tasks under random faults against a real sshd, several at once; then it is counted what was
//! lost, what ran twice, and what was left.
//!
//! ```text
//! soak [TASKS [SEED [AT_ONCE]]]        1000 tasks, a seed of its own, 3 at once
//! ```
//!
//! Faults are chosen by the seed, which is printed: the same seed breaks the same things at the same
//! bytes. Each task has a link of its own, through a proxy, to one host with two slots, and counts its
//! starts in a file that is none of geto's. It ends with 1 when anything was lost without a stated
//! reason, ran twice, or was left.

mod fault;
mod figures;
mod host;
mod task;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use self::figures::Figures;
use self::host::World;
use self::task::Task;

fn main() -> io::Result<ExitCode> {
    let word = |number| std::env::args().nth(number).and_then(|word| word.parse::<u64>().ok());
    let count = word(1).unwrap_or(1_000);
    let seed = word(2).unwrap_or_else(|| fastrand::u64(..1_000_000));
    let at_once = word(3).unwrap_or(3);
    say(&format!("{count} tasks, seed {seed}, {at_once} at once\n"))?;
    let begun = Instant::now();
    let world = World::start()?;
    let figures = Mutex::new(Figures::default());
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let task = Task::of(seed, number);
                    let came = task.run(&world);
                    let mut figures = figures.lock().unwrap_or_else(PoisonError::into_inner);
                    figures.add(&task, &came);
                    if number % 50 == 49 {
                        drop(say(&format!("{} done", figures.tasks())));
                    }
                }
            });
        }
    });
    let mut figures = figures.into_inner().unwrap_or_else(PoisonError::into_inner);
    figures.left = world.end()?;
    say(&figures.report(begun.elapsed()))?;
    Ok(if figures.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
