//! What keeps the ledger, and the results that it knows of, in bounds.

use std::path::Path;
use std::time::Duration;

use geto_core::TaskId;

use super::Ledger;
use super::database::Failing as _;
use super::entry::since_1970;
use super::row::milliseconds;
use crate::Error;
use crate::clean::{has_no_results, remove_stale, stale_results};

/// How often it is done.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// After what time another process may begin anew: whoever has begun may be gone.
const LEASE: Duration = Duration::from_secs(60);
/// How long an entry is kept.
const ENTRY_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How many entries are kept.
const ENTRIES: i64 = 100_000;

impl Ledger {
    /// Notes that the results of these tasks are not there any more.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be written.
    pub fn record_results_removed(&self, ids: &[TaskId]) -> Result<(), Error> {
        let record = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            let sql = "UPDATE tasks SET results_removed = 1 WHERE id = ?1";
            let mut update = transaction.prepare(sql)?;
            for id in ids {
                update.execute([id.to_string()])?;
            }
            drop(update);
            transaction.commit()
        };
        record().failing("write to", &self.path)
    }

    /// Drops entries that are older than a year, and the oldest ones of more than 100,000.
    ///
    /// # Errors
    /// Of kind [`Local`](crate::ErrorKind::Local), when it can't be written.
    pub fn drop_old_entries(&self) -> Result<(), Error> {
        let oldest = milliseconds(since_1970().saturating_sub(ENTRY_AGE));
        let sql = "DELETE FROM tasks WHERE asked < MAX(?1, COALESCE(\
                   (SELECT asked FROM tasks ORDER BY asked DESC LIMIT 1 OFFSET ?2), 0))";
        let dropped = self.connection.execute(sql, [oldest, ENTRIES - 1]);
        dropped.map(drop).failing("write to", &self.path)
    }

    /// Whether a day has passed since the results were looked through; if so, this process is the
    /// one to do it now.
    pub(super) fn begin_upkeep(&self) -> Result<bool, Error> {
        let now = since_1970();
        let due = self.connection.query_row(
            "SELECT COALESCE((SELECT value FROM state WHERE name = 'next_upkeep'), 0) <= ?1",
            [milliseconds(now)],
            |row| row.get(0),
        );
        if !due.failing("read", &self.path)? {
            return Ok(false);
        }
        let sql = "INSERT INTO state (name, value) VALUES ('next_upkeep', ?1) \
                   ON CONFLICT (name) DO UPDATE SET value = ?1 WHERE value <= ?2";
        let values = [milliseconds(now + LEASE), milliseconds(now)];
        Ok(self.connection.execute(sql, values).failing("write to", &self.path)? == 1)
    }

    /// Removes what is older than `age` below `local_work_path`. What the ledger knows of comes
    /// first: a process that does not live long gets something done with that, too.
    pub(super) fn keep_up(&self, local_work_path: &Path, age: Duration) -> Result<(), Error> {
        let sql = "SELECT id FROM tasks WHERE asked < ?1 AND results IS NOT NULL \
                   AND NOT results_removed ORDER BY asked";
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(sql)?;
            let before = milliseconds(since_1970().saturating_sub(age));
            statement.query_map([before], |row| row.get(0))?.collect()
        };
        for id in read().failing("read", &self.path)? {
            let Ok(id) = id.parse() else { continue };
            let removed = remove_stale(local_work_path, id, age);
            if has_no_results(local_work_path, id) {
                self.record_results_removed(&[id])?;
            }
            if let Err(error) = removed {
                tracing::debug!(%error, "results could not be removed");
            }
        }
        self.drop_old_entries()?;
        let sql = "UPDATE state SET value = ?1 WHERE name = 'next_upkeep'";
        let put_off = self.connection.execute(sql, [milliseconds(since_1970() + EVERY)]);
        put_off.failing("write to", &self.path)?;
        match stale_results(local_work_path, age) {
            Ok(stale) => stale.remove(),
            Err(error) => {
                tracing::debug!(%error, "results can't be looked for");
                Ok(())
            }
        }
    }
}
