//! `--log`: which tasks have ended, for other programs and for `--resume`.

use std::collections::HashMap;
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use geto::map::joblog::{Entry, HEADER, JoblogError, Resume, ResumeMode, exit_and_signal, read};
use geto::map::{Fate, MapDone};
use geto::{Error, ErrorKind, ExitCode};

use super::job::Job;
use crate::args::MapArgs;
use crate::printer::Printer;

/// A log that is written to.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// Of tasks that have been begun.
    commands: HashMap<u64, String>,
    unwritten: Unwritten,
}

/// Lines that are not in the file yet, each with the number of its task.
type Unwritten = Arc<Mutex<Vec<(u64, String)>>>;

/// Its file, for who writes on a thread of their own.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: fs_err::File,
    /// The length of all whole lines.
    length: u64,
    unwritten: Unwritten,
}

/// A log that was opened.
pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) file: LogFile,
    /// What is not to be run again.
    pub(super) resume: Option<Resume>,
}

impl Log {
    /// Opens the log that the arguments name, if they do, and reads from it what is not to be run
    /// again.
    pub(super) fn open(args: &MapArgs, printer: Printer) -> Result<Option<Opened>, Error> {
        let Some(path) = &args.show.log else { return Ok(None) };
        let mode = match (args.show.resume, args.show.resume_failed) {
            (_, true) => Some(ResumeMode::Succeeded),
            (true, _) => Some(ResumeMode::Ended),
            _ => None,
        };
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            let message = format!("failed to open the log `{}`", path.display());
            Error::new(ErrorKind::Usage, message).caused_by(error)
        };
        let (mut file, resume) = opened(path, mode, printer).map_err(failed)?;
        let length = file.stream_position().map_err(|error| failed(error.into()))?;
        // By which hosts know its tasks, from wherever it is named.
        let path = fs_err::canonicalize(path).map_err(|error| failed(error.into()))?;
        let unwritten = Unwritten::default();
        let file = LogFile { path: path.clone(), file, length, unwritten: Arc::clone(&unwritten) };
        let log = Self { path, commands: HashMap::new(), unwritten };
        Ok(Some(Opened { log, file, resume }))
    }

    /// Where it is, from the root on.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A task is begun.
    pub(super) fn begin(&mut self, sequence: u64, command: String) {
        self.commands.insert(sequence, command);
    }

    /// Takes note of a task that has ended; [`LogFile::keep`] writes it down.
    pub(super) fn add(&mut self, done: &MapDone<'_, Job>) {
        let command = self.commands.remove(&done.sequence).unwrap_or_default();
        let results = done.tried.and_then(|tried| tried.result.as_ref().ok());
        let lost = (i32::from(ExitCode::LOST.0), 0);
        let ended = match (done.fate, results) {
            (Fate::Succeeded | Fate::Failed(_) | Fate::Lost, Some(results)) => {
                exit_and_signal(&results.outcome)
            }
            (Fate::Succeeded | Fate::Failed(_) | Fate::Lost, None) => Some(lost),
            // These were not run to an end: a run that resumes does so.
            (Fate::Cancelled | Fate::NotStarted | Fate::Left, _) => None,
        };
        let Some((exit_value, signal)) = ended else { return };
        let entry = Entry {
            sequence: done.sequence,
            host: done.host.to_owned(),
            started: results.map_or(Duration::ZERO, |results| results.started),
            ran: results.map_or(Duration::ZERO, |results| results.run_time),
            sent: results.map_or(0, |results| results.bytes_sent),
            received: results.map_or(0, |results| results.bytes_received),
            exit_value,
            signal,
            command,
            key: done.job.key,
        };
        lock(&self.unwritten).push((done.sequence, entry.line()));
    }

    /// The numbers of the tasks that have ended and are not in the file.
    pub(super) fn unwritten(&self) -> Vec<u64> {
        lock(&self.unwritten).iter().map(|(sequence, _)| *sequence).collect()
    }
}

impl LogFile {
    /// Writes all that was noted to the disk, with one sync. It is there before hosts forget the tasks.
    ///
    /// # Errors
    /// When it can't be written: the file then ends with the last line that could.
    pub(super) fn keep(&mut self) -> Result<(), Error> {
        let lines = std::mem::take(&mut *lock(&self.unwritten));
        let text: String = lines.iter().map(|(_, line)| line.as_str()).collect();
        if let Err(error) = self.write(text.as_bytes()) {
            lock(&self.unwritten).splice(0..0, lines);
            // A torn line would be one that a later one is appended to.
            drop(self.file.set_len(self.length));
            drop(self.file.seek(SeekFrom::Start(self.length)));
            let message = format!("failed to write the log `{}`", self.path.display());
            return Err(Error::new(ErrorKind::Local, message).caused_by(error).with_hint(
                "hosts keep the tasks that are not in the log: free space, and go on with `--resume`",
            ));
        }
        self.length += text.len() as u64;
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.write_all(text)?;
        self.file.sync_data()
    }
}

fn lock(lines: &Unwritten) -> MutexGuard<'_, Vec<(u64, String)>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

type FileAndResume = (fs_err::File, Option<Resume>);

fn opened(
    path: &Path,
    mode: Option<ResumeMode>,
    printer: Printer,
) -> Result<FileAndResume, Box<dyn std::error::Error + Send + Sync>> {
    // What others write to might never come to an end when it is read.
    if path.exists() && !path.is_file() {
        return Err("it is no regular file".into());
    }
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    if let Err(error) = file.file().try_lock() {
        return Err(match error {
            std::fs::TryLockError::WouldBlock => "another geto writes to it".into(),
            // Where there are no locks, nobody is kept from it.
            std::fs::TryLockError::Error(error) if is_unsupported(&error) => {
                return go_on(file, path, mode, printer);
            }
            std::fs::TryLockError::Error(error) => error.into(),
        });
    }
    file.rewind()?;
    go_on(file, path, mode, printer)
}

fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

fn go_on(
    mut file: fs_err::File,
    path: &Path,
    mode: Option<ResumeMode>,
    printer: Printer,
) -> Result<FileAndResume, Box<dyn std::error::Error + Send + Sync>> {
    let mut resume = mode.map(Resume::new);
    // Also one that is begun anew is looked at: another file may be meant.
    let reading = read(BufReader::new(&mut file), |entry| {
        if let Some(resume) = &mut resume {
            resume.add(&entry);
        }
    });
    let reading = match reading {
        Err(error @ JoblogError::NoJoblog) => return Err(Box::new(error)),
        reading => reading?,
    };
    let keep = if resume.is_some() { reading.whole_bytes } else { 0 };
    if resume.is_some() {
        for warning in &reading.warnings {
            printer.warning(&format!("`{}`: {warning}", path.display()));
        }
    }
    file.set_len(keep)?;
    file.seek(SeekFrom::End(0))?;
    if keep == 0 {
        file.write_all(HEADER.as_bytes())?;
    }
    // Also that there is such a file.
    file.sync_all()?;
    if let Some(parent) = fs_err::canonicalize(path)?.parent() {
        fs_err::File::open(parent)?.sync_all()?;
    }
    Ok((file, resume))
}
