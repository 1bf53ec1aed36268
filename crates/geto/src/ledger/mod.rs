//! What this machine has started, kept in a database that any number of processes share.

mod database;
mod entry;
mod row;
mod upkeep;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use geto_core::{Outcome, TaskId};
use rusqlite::{Connection, named_params};

use self::database::Failing as _;
use self::row::{COLUMNS, entry, milliseconds, path_text};
use crate::Error;

pub(crate) use entry::absolute;
pub use entry::{LedgerEnd, LedgerEntry, LedgerFilter, LedgerHost};
pub(crate) use writer::{LedgerWriter, Note};

/// What this machine has started: `<local_work_path>/ledger.db`.
///
/// [`Run`](crate::Run) writes to it; a run whose process was killed leaves an entry without an end.
/// It holds no arguments, no variables and no passwords, and only its owner can read it. Any number
/// of processes may have it open. Each call reads or writes the disk, and waits up to 5 s for
/// another process that writes.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
}

impl Ledger {
    /// The name of the file below `local_work_path`.
    pub const FILE: &'static str = "ledger.db";

    /// Opens the ledger below `local_work_path`, and makes one when there is none. One of an older
    /// geto is brought up to date.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when the file is no ledger, is broken, can't be
    /// used, or was written by a newer geto; it is left as it is then.
    pub fn open(local_work_path: &Path) -> Result<Self, Error> {
        let path = local_work_path.join(Self::FILE);
        let connection = database::open(local_work_path, &path).failing("open", &path)?;
        Ok(Self { connection, path })
    }

    /// Opens the ledger below `local_work_path` if there is one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_existing(local_work_path: &Path) -> Result<Option<Self>, Error> {
        match fs_err::symlink_metadata(local_work_path.join(Self::FILE)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => Self::open(local_work_path).map(Some),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a task that is about to be sent to its host. One that is there already is replaced.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be written.
    pub fn record_start(&self, new: &LedgerEntry) -> Result<(), Error> {
        let LedgerHost { name, address, port, user, transport, .. } = &new.host;
        let host = &new.host;
        let values = named_params! {
            ":id": new.id.to_string(), ":script": new.script, ":asked": milliseconds(new.asked),
            ":host": name, ":address": address, ":port": port, ":user": user,
            ":transport": row::transport_name(*transport),
            ":remote_work_path": host.remote_work_path,
            ":ssh_config_path": host.ssh_config_path.as_deref().map(path_text),
            ":known_hosts_path": host.known_hosts_path.as_deref().map(path_text),
            ":privkey_path": host.privkey_path.as_deref().map(path_text),
            ":max_results": new.max_results.map(row::number), ":keep": new.keep,
        };
        let sql = "INSERT OR REPLACE INTO tasks (id, script, asked, host, address, port, user, \
                   transport, remote_work_path, ssh_config_path, known_hosts_path, privkey_path, \
                   max_results, keep) \
                   VALUES (:id, :script, :asked, :host, :address, :port, :user, :transport, \
                   :remote_work_path, :ssh_config_path, :known_hosts_path, :privkey_path, \
                   :max_results, :keep)";
        self.connection.execute(sql, values).map(drop).failing("write to", &self.path)
    }

    /// Notes that the script of a task runs: since when, by the clock of this machine, and in which
    /// directory of the host.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be written.
    pub fn record_started(
        &self,
        id: TaskId,
        started: Duration,
        directory: &str,
    ) -> Result<(), Error> {
        let values = named_params! {
            ":id": id.to_string(), ":started": milliseconds(started), ":directory": directory,
        };
        let sql = "UPDATE tasks SET started = :started, directory = :directory WHERE id = :id";
        self.connection.execute(sql, values).map(drop).failing("write to", &self.path)
    }

    /// Notes how the script of a task ended; its results are not home yet.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be written.
    pub fn record_outcome(
        &self,
        id: TaskId,
        outcome: &Outcome,
        run_time: Duration,
    ) -> Result<(), Error> {
        let end = LedgerEnd {
            outcome: Some(outcome.clone()),
            run_time: Some(run_time),
            ..LedgerEnd::default()
        };
        self.record_end(id, &end)
    }

    /// Notes what became of a task. What `end` does not tell stays as it was, but for the error.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be written.
    pub fn record_end(&self, id: TaskId, end: &LedgerEnd) -> Result<(), Error> {
        let outcome = end.outcome.as_ref().map(row::OutcomeColumns::of);
        let kind = outcome.as_ref().map(|outcome| outcome.kind);
        let code = outcome.as_ref().and_then(|outcome| outcome.code);
        let signal = outcome.as_ref().and_then(|outcome| outcome.signal);
        let reason = outcome.as_ref().and_then(|outcome| outcome.reason);
        let values = named_params! {
            ":id": id.to_string(),
            ":started": end.started.map(milliseconds), ":ended": end.ended.map(milliseconds),
            ":run_time": end.run_time.map(milliseconds),
            ":outcome": kind, ":code": code, ":signal": signal, ":reason": reason,
            ":error": end.error.map(crate::ErrorKind::name),
            ":results": end.results.as_deref().map(path_text),
            ":files": end.files.as_ref().map(|files| path_text(&files.directory)),
            ":file_count": end.files.as_ref().map(|files| row::number(files.count)),
            ":file_bytes": end.files.as_ref().map(|files| row::number(files.bytes)),
            ":on_host": end.on_host,
        };
        let sql = "UPDATE tasks SET \
                   started = COALESCE(:started, started), ended = COALESCE(:ended, ended), \
                   run_time = COALESCE(:run_time, run_time), \
                   code = CASE WHEN :outcome IS NULL THEN code ELSE :code END, \
                   signal = CASE WHEN :outcome IS NULL THEN signal ELSE :signal END, \
                   reason = CASE WHEN :outcome IS NULL THEN reason ELSE :reason END, \
                   outcome = COALESCE(:outcome, outcome), error = :error, \
                   results = COALESCE(:results, results), files = COALESCE(:files, files), \
                   file_count = COALESCE(:file_count, file_count), \
                   file_bytes = COALESCE(:file_bytes, file_bytes), \
                   on_host = COALESCE(:on_host, on_host) WHERE id = :id";
        self.connection.execute(sql, values).map(drop).failing("write to", &self.path)
    }

    /// Notes that the host does not keep the task any more.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be written.
    pub fn record_removed(&self, id: TaskId) -> Result<(), Error> {
        let sql = "UPDATE tasks SET on_host = 0 WHERE id = ?1";
        let updated = self.connection.execute(sql, [id.to_string()]);
        updated.map(drop).failing("write to", &self.path)
    }

    /// Drops the entry of a task.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be written.
    pub fn forget(&self, id: TaskId) -> Result<(), Error> {
        let dropped = self.connection.execute("DELETE FROM tasks WHERE id = ?1", [id.to_string()]);
        dropped.map(drop).failing("write to", &self.path)
    }

    /// Returns the entry of a task.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be read.
    pub fn entry(&self, id: TaskId) -> Result<Option<LedgerEntry>, Error> {
        let found = self.select("WHERE id = ?1", [id.to_string()])?;
        Ok(found.into_iter().next())
    }

    /// Returns what `word` may mean, newest first: the task of that id; else, of the tasks of the
    /// script of that name, those without a known end if they are several, or the newest one; else
    /// the tasks whose id begins like that. Empty when it means nothing here; more than one when the
    /// user has to say which.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be read.
    pub fn find(&self, word: &str) -> Result<Vec<LedgerEntry>, Error> {
        let of_id = self.select("WHERE id = ?1", [word])?;
        if !of_id.is_empty() {
            return Ok(of_id);
        }
        let unfinished = format!("WHERE script = ?1 AND {UNFINISHED} ORDER BY asked DESC");
        let unfinished = self.select(&unfinished, [word])?;
        if unfinished.len() > 1 {
            return Ok(unfinished);
        }
        // Many a name is also the beginning of some id: what somebody has chosen is meant.
        let newest = self.select("WHERE script = ?1 ORDER BY asked DESC LIMIT 1", [word])?;
        match newest.is_empty() && is_start_of_id(word) {
            true => self.select("WHERE id GLOB ?1 || '*' ORDER BY asked DESC", [word]),
            false => Ok(newest),
        }
    }

    /// Returns the task that was asked for last.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be read.
    pub fn last(&self) -> Result<Option<LedgerEntry>, Error> {
        Ok(self.select("ORDER BY asked DESC LIMIT 1", [])?.into_iter().next())
    }

    /// Returns the tasks without a known end, newest first: they run, or nobody here has seen them
    /// end. Those that are known to be removed from their hosts are left out.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be read.
    pub fn unfinished(&self) -> Result<Vec<LedgerEntry>, Error> {
        self.select(&format!("WHERE {UNFINISHED} ORDER BY asked DESC"), [])
    }

    /// Returns the tasks that pass `filter`, newest first.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be read.
    pub fn list(&self, filter: &LedgerFilter) -> Result<Vec<LedgerEntry>, Error> {
        let mut wanted = String::from("1");
        let mut values: Vec<rusqlite::types::Value> = Vec::new();
        let any = |count: usize, test: &str| vec![test; count].join(" OR ");
        for (words, test) in [
            (&filter.hosts, "host GLOB ?"),
            (&filter.scripts, "script GLOB ?"),
            (&filter.states, "COALESCE(error, outcome, 'unknown') = ?"),
        ] {
            if !words.is_empty() {
                wanted.push_str(&[" AND (", &any(words.len(), test), ")"].concat());
                values.extend(words.iter().cloned().map(Into::into));
            }
        }
        if !filter.tasks.is_empty() {
            let test = "script = ? OR (? AND id GLOB ? || '*')";
            wanted.push_str(&[" AND (", &any(filter.tasks.len(), test), ")"].concat());
            for word in &filter.tasks {
                values.extend([
                    word.clone().into(),
                    is_start_of_id(word).into(),
                    word.clone().into(),
                ]);
            }
        }
        if let Some(since) = filter.since {
            wanted.push_str(" AND asked >= ?");
            values.push(milliseconds(since).into());
        }
        let limit = filter.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(-1));
        values.push(limit.into());
        let tail = format!("WHERE {wanted} ORDER BY asked DESC LIMIT ?");
        self.select(&tail, rusqlite::params_from_iter(values))
    }

    fn select(&self, tail: &str, values: impl rusqlite::Params) -> Result<Vec<LedgerEntry>, Error> {
        let read = || -> rusqlite::Result<Vec<LedgerEntry>> {
            let sql = format!("SELECT {COLUMNS} FROM tasks {tail}");
            let mut statement = self.connection.prepare(&sql)?;
            let entries = statement.query_map(values, entry)?;
            entries.collect()
        };
        read().failing("read", &self.path)
    }
}

/// The condition of tasks whose end nobody here has seen, and which may still be on their hosts.
const UNFINISHED: &str = "outcome IS NULL AND (error IS NULL OR error IN ('lost', 'results')) \
                          AND on_host IS NOT 0";

/// Whether an id may begin like that.
fn is_start_of_id(word: &str) -> bool {
    let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    !word.is_empty() && word.len() <= 19 && word.bytes().all(is_part)
}
