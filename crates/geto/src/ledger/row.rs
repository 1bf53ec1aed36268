//! A task in a row of the database.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use geto_core::{Outcome, TransportKind};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Error, Result, Row};

use super::{LedgerEntry, LedgerHost};
use crate::{ErrorKind, FilesHome};

/// The columns that [`entry`] reads.
pub(super) const COLUMNS: &str = "id, script, asked, host, address, port, user, transport, remote_work_path, ssh_config_path, \
     known_hosts_path, privkey_path, started, ended, run_time, outcome, code, signal, reason, \
     error, directory, results, results_removed, files, file_count, file_bytes, on_host, \
     max_results, keep";

/// Reads a task.
pub(super) fn entry(row: &Row<'_>) -> Result<LedgerEntry> {
    let time = |name: &str| Ok::<_, Error>(row.get::<_, Option<i64>>(name)?.map(duration));
    let path = |name: &str| Ok::<_, Error>(row.get::<_, Option<OwnPath>>(name)?.map(|path| path.0));
    let count = |name: &str| -> Result<u64> {
        Ok(row.get::<_, Option<i64>>(name)?.and_then(|n| u64::try_from(n).ok()).unwrap_or_default())
    };
    let id: String = row.get("id")?;
    let transport: String = row.get("transport")?;
    let error: Option<String> = row.get("error")?;
    Ok(LedgerEntry {
        id: id
            .parse()
            .map_err(|error| Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))?,
        script: row.get("script")?,
        host: LedgerHost {
            name: row.get("host")?,
            address: row.get("address")?,
            port: row.get("port")?,
            user: row.get("user")?,
            transport: transport_of(&transport),
            remote_work_path: row.get("remote_work_path")?,
            ssh_config_path: path("ssh_config_path")?,
            known_hosts_path: path("known_hosts_path")?,
            privkey_path: path("privkey_path")?,
        },
        asked: duration(row.get("asked")?),
        started: time("started")?,
        ended: time("ended")?,
        run_time: time("run_time")?,
        outcome: outcome(row)?,
        error: error.as_deref().map(error_of),
        directory: row.get("directory")?,
        results: path("results")?,
        results_removed: row.get("results_removed")?,
        files: match path("files")? {
            Some(directory) => Some(FilesHome {
                directory,
                count: count("file_count")?,
                bytes: count("file_bytes")?,
            }),
            None => None,
        },
        on_host: row.get("on_host")?,
        max_results: row.get::<_, Option<i64>>("max_results")?.and_then(|n| u64::try_from(n).ok()),
        keep: row.get("keep")?,
    })
}

/// An outcome in its columns.
pub(super) struct OutcomeColumns<'a> {
    pub(super) kind: &'static str,
    pub(super) code: Option<u8>,
    pub(super) signal: Option<u8>,
    pub(super) reason: Option<&'a str>,
}

impl<'a> OutcomeColumns<'a> {
    pub(super) fn of(outcome: &'a Outcome) -> Self {
        let mut columns = Self { kind: outcome.kind(), code: None, signal: None, reason: None };
        match outcome {
            Outcome::Exited { code } => columns.code = Some(*code),
            Outcome::Signalled { signal } => columns.signal = Some(*signal),
            Outcome::Lost { reason } | Outcome::NotStarted { reason } => {
                columns.reason = Some(reason);
            }
            _ => {}
        }
        columns
    }
}

fn outcome(row: &Row<'_>) -> Result<Option<Outcome>> {
    let number = |name: &str| Ok::<_, Error>(row.get::<_, Option<u8>>(name)?.unwrap_or_default());
    let reason = || Ok::<_, Error>(row.get::<_, Option<String>>("reason")?.unwrap_or_default());
    let Some(kind) = row.get::<_, Option<String>>("outcome")? else { return Ok(None) };
    Ok(Some(match &*kind {
        "exited" => Outcome::Exited { code: number("code")? },
        "signalled" => Outcome::Signalled { signal: number("signal")? },
        "timed-out" => Outcome::TimedOut,
        "cancelled" => Outcome::Cancelled,
        "not-started" => Outcome::NotStarted { reason: reason()? },
        _ => Outcome::Lost { reason: reason()? },
    }))
}

fn error_of(name: &str) -> ErrorKind {
    ErrorKind::from_name(name).unwrap_or(ErrorKind::Local)
}

pub(super) fn transport_name(transport: TransportKind) -> &'static str {
    match transport {
        TransportKind::Ssh => "ssh",
        TransportKind::Local => "local",
        _ => "native",
    }
}

fn transport_of(name: &str) -> TransportKind {
    match name {
        "ssh" => TransportKind::Ssh,
        "local" => TransportKind::Local,
        _ => TransportKind::Native,
    }
}

/// A span of time as it is kept.
pub(super) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

/// A number as it is kept.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A path as it is kept: text of any bytes, which a person can read with other tools.
pub(super) struct PathText<'a>(&'a [u8]);

pub(super) fn path_text(path: &Path) -> PathText<'_> {
    PathText(path.as_os_str().as_bytes())
}

impl ToSql for PathText<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

struct OwnPath(PathBuf);

impl FromSql for OwnPath {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                Ok(Self(PathBuf::from(OsString::from_vec(bytes.to_vec()))))
            }
            _ => Err(FromSqlError::InvalidType),
        }
    }
}
