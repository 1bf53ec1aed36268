//! The file of the ledger: its schema, and what may be wrong with it.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err::OpenOptions;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::row;
use crate::{Error, ErrorKind};

/// How long a process waits for another that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it waits before it tries again where the database does not wait by itself.
const PAUSE: Duration = Duration::from_millis(5);

/// What brings a database of version N to version N + 1.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE tasks (
        id TEXT PRIMARY KEY NOT NULL,
        script TEXT NOT NULL,
        asked INTEGER NOT NULL,
        host TEXT NOT NULL,
        address TEXT NOT NULL,
        port INTEGER,
        user TEXT,
        transport TEXT NOT NULL,
        remote_work_path TEXT NOT NULL,
        ssh_config_path TEXT,
        known_hosts_path TEXT,
        privkey_path TEXT,
        directory TEXT,
        started INTEGER,
        ended INTEGER,
        run_time INTEGER,
        outcome TEXT,
        code INTEGER,
        signal INTEGER,
        reason TEXT,
        error TEXT,
        results TEXT,
        results_removed INTEGER NOT NULL DEFAULT 0,
        files TEXT,
        file_count INTEGER,
        file_bytes INTEGER,
        on_host INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX tasks_by_asked ON tasks (asked);
",
    "
    CREATE TABLE state (
        name TEXT PRIMARY KEY NOT NULL,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
",
    "
    ALTER TABLE tasks ADD COLUMN max_results INTEGER;
    ALTER TABLE tasks ADD COLUMN keep INTEGER NOT NULL DEFAULT 0;
",
];

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    File(#[from] io::Error),
    /// Its own source says no more than it does.
    #[error("{0}")]
    Database(rusqlite::Error),
    #[error("a newer geto has written it (schema {found}; this one knows up to {known})")]
    Newer { found: usize, known: usize },
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// Opens the database at `path`, and makes it when there is none.
pub(super) fn open(directory: &Path, path: &Path) -> Result<Connection, Problem> {
    create(directory, path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The last to close it would write all back and wait for the disk; the writer does so at a
    // better time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let version = known_version(&connection)?;
    use_log(&connection)?;
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;")?;
    if version < MIGRATIONS.len() {
        migrate(&mut connection)?;
    }
    Ok(connection)
}

/// Makes an empty file that is for the user's eyes only; SQLite gives the files beside it the same
/// mode.
fn create(directory: &Path, path: &Path) -> io::Result<()> {
    let make = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let made = match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs_err::create_dir_all(directory)?;
            make()
        }
        made => made,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Returns the version of the schema, when this geto knows it.
fn known_version(connection: &Connection) -> Result<usize, Problem> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let known = MIGRATIONS.len();
    match found <= known {
        true => Ok(found),
        false => Err(Problem::Newer { found, known }),
    }
}

/// Turns the write-ahead log on. Two processes that do so at the same time are in each other's way,
/// and SQLite does not wait then.
fn use_log(connection: &Connection) -> rusqlite::Result<()> {
    let begun = Instant::now();
    loop {
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode == "wal" {
            return Ok(());
        }
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(error) if is_busy(&error) && begun.elapsed() < BUSY_TIMEOUT => {
                std::thread::sleep(PAUSE);
            }
            turned_on => return turned_on,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Brings the schema up to date, unless another process has done so meanwhile.
fn migrate(connection: &mut Connection) -> Result<(), Problem> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = known_version(&transaction)?;
    for step in MIGRATIONS.iter().skip(version) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", row::number(MIGRATIONS.len() as u64))?;
    Ok(transaction.commit()?)
}

/// Says what could not be done with a ledger.
pub(super) trait Failing<T> {
    /// Adds that it could not be done to the ledger at `path`, and what helps.
    fn failing(self, verb: &str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<Problem>> Failing<T> for Result<T, E> {
    fn failing(self, verb: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|problem| {
            let problem = problem.into();
            let shown = path.display();
            let hint = match &problem {
                Problem::File(_) => USABLE.to_owned(),
                Problem::Newer { .. } => {
                    "use the newer geto, or set another `local_work_path` in geto.ini".to_owned()
                }
                Problem::Database(error) => match error.sqlite_error_code() {
                    Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                        format!("move it away (`mv {shown} {shown}.broken`): a new one is made")
                    }
                    Some(
                        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied,
                    ) => USABLE.to_owned(),
                    _ => String::new(),
                },
            };
            let error =
                Error::new(ErrorKind::Local, format!("failed to {verb} the ledger `{shown}`"));
            let error = error.caused_by(problem);
            match hint.is_empty() {
                true => error,
                false => error.with_hint(hint),
            }
        })
    }
}

const USABLE: &str = "make it writable for you, or set another `local_work_path` in geto.ini";
