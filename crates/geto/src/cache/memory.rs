//! What is in local files, and which trees were sent lately: a database that may be lost at any time.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::stage::{Manifest, Remember, Stamp, Tree};

/// The file below `local_work_path`.
const FILE: &str = "digests.db";
/// A file that was written so lately may be written again without another time.
const GRAIN: i128 = 2_000_000_000;
/// How many trees of a path are remembered.
const TREES: usize = 4;
/// After this time without use, a file or a tree is forgotten.
const KEPT: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// How long a process waits for another that writes.
const BUSY: Duration = Duration::from_secs(2);

const SCHEMA: &str = "
    PRAGMA journal_mode = wal;
    PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS files (
        path BLOB PRIMARY KEY NOT NULL,
        stamp BLOB NOT NULL,
        digest BLOB NOT NULL,
        used INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS trees (
        root BLOB NOT NULL,
        digest TEXT NOT NULL,
        manifest BLOB NOT NULL,
        used INTEGER NOT NULL,
        PRIMARY KEY (root, digest)
    ) WITHOUT ROWID;
";

/// What is remembered. Without a database that works, nothing is: that costs time and no more.
#[derive(Debug)]
pub(crate) struct Memory {
    connection: Option<Connection>,
    /// What is new, until [`keep`](Self::keep).
    fresh: Vec<(PathBuf, Stamp, [u8; 32])>,
    now: SystemTime,
}

impl Memory {
    /// Opens what is remembered below `local_work_path`.
    pub(crate) fn open(local_work_path: &Path) -> Self {
        let path = local_work_path.join(FILE);
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY)?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let made = fs_err::create_dir_all(local_work_path);
        let connection = made.ok().and_then(|()| match open() {
            Ok(connection) => Some(connection),
            Err(error) => {
                tracing::debug!(%error, "no memory of files");
                None
            }
        });
        Self { connection, fresh: Vec::new(), now: SystemTime::now() }
    }

    /// Writes down what is new.
    pub(crate) fn keep(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() {
            return;
        }
        let used = self.seconds();
        self.write(|connection| {
            let mut insert = connection.prepare(
                "INSERT OR REPLACE INTO files (path, stamp, digest, used) VALUES (?, ?, ?, ?)",
            )?;
            for (path, stamp, digest) in &fresh {
                insert.execute(params![path.as_os_str().as_bytes(), bytes(stamp), digest, used])?;
            }
            Ok(())
        });
    }

    /// The trees that were sent from the same place, the latest first.
    pub(crate) fn bases(&self, tree: &Tree) -> Vec<(String, Manifest)> {
        let read = |connection: &Connection| {
            let mut query = connection.prepare(
                "SELECT digest, manifest FROM trees WHERE root = ? AND digest <> ? ORDER BY used DESC",
            )?;
            let root = tree.root().as_os_str().as_bytes();
            let rows = query.query_map(params![root, tree.digest()], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = self.connection.as_ref().and_then(|connection| read(connection).ok());
        let rows = rows.unwrap_or_default().into_iter().take(TREES);
        rows.filter_map(|(digest, manifest)| Some((digest, Manifest::parse(&manifest)?))).collect()
    }

    /// Remembers that a host has this tree now.
    pub(crate) fn sent(&mut self, tree: &Tree) {
        let used = self.seconds();
        let root = tree.root().as_os_str().as_bytes().to_vec();
        let oldest = used.saturating_sub(i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX));
        self.write(|connection| {
            connection.execute(
                "INSERT OR REPLACE INTO trees (root, digest, manifest, used) VALUES (?, ?, ?, ?)",
                params![root, tree.digest(), tree.manifest().to_bytes(), used],
            )?;
            connection.execute(
                "DELETE FROM trees WHERE root = ?1 AND digest NOT IN
                     (SELECT digest FROM trees WHERE root = ?1 ORDER BY used DESC LIMIT ?2)",
                params![root, i64::try_from(TREES).unwrap_or(i64::MAX)],
            )?;
            connection.execute("DELETE FROM trees WHERE used < ?", params![oldest])?;
            connection.execute("DELETE FROM files WHERE used < ?", params![oldest])?;
            Ok(())
        });
    }

    fn write(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) {
        let Some(connection) = &mut self.connection else { return };
        let written = connection.transaction().and_then(|transaction| {
            work(&transaction)?;
            transaction.commit()
        });
        if let Err(error) = written {
            tracing::debug!(%error, "failed to remember what is in files");
        }
    }

    fn seconds(&self) -> i64 {
        let time = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
    }
}

impl Remember for Memory {
    fn recall(&mut self, path: &Path, stamp: &Stamp) -> Option<[u8; 32]> {
        let connection = self.connection.as_ref()?;
        let mut query = connection
            .prepare_cached("SELECT digest FROM files WHERE path = ? AND stamp = ?")
            .ok()?;
        let row =
            query.query_row(params![path.as_os_str().as_bytes(), bytes(stamp)], |row| row.get(0));
        row.optional().ok().flatten()
    }

    fn remember(&mut self, path: &Path, stamp: &Stamp, digest: [u8; 32]) {
        let now = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
        if stamp.modified.max(stamp.changed) < now - GRAIN {
            self.fresh.push((path.to_owned(), *stamp, digest));
        }
    }
}

fn bytes(stamp: &Stamp) -> Vec<u8> {
    let Stamp { device, inode, size, modified, changed } = stamp;
    [device.to_le_bytes(), inode.to_le_bytes(), size.to_le_bytes()]
        .concat()
        .into_iter()
        .chain(modified.to_le_bytes())
        .chain(changed.to_le_bytes())
        .collect()
}
