//! An entry of the ledger as an object.

use std::time::Duration;

use geto::LedgerEntry;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::events::merge;

/// Makes an object of an entry; docs/json.md describes it.
pub(super) fn object(entry: &LedgerEntry) -> Value {
    let mut object = json!({
        "task": entry.id, "script": entry.script,
        "host": entry.host.name, "address": entry.host.address, "directory": entry.directory,
        "state": entry.state(), "error": entry.error.map(geto::ErrorKind::name),
        "asked": rfc3339(entry.asked), "started": entry.started.map(rfc3339),
        "ended": entry.ended.map(rfc3339),
        "run_time": entry.run_time.map(|time| time.as_secs_f64()),
        "outcome": null,
    });
    if let Some(outcome) = &entry.outcome {
        merge(&mut object, &serde_json::to_value(outcome).unwrap_or_default());
    }
    let files = entry.files.as_ref().map(
        |files| json!({ "directory": files.directory, "count": files.count, "bytes": files.bytes }),
    );
    let rest = json!({
        "results": entry.results, "results_removed": entry.results_removed, "files": files,
        "on_host": entry.on_host,
    });
    merge(&mut object, &rest);
    object
}

/// A time of UTC for programs.
pub(crate) fn rfc3339(time: Duration) -> Option<String> {
    (time::OffsetDateTime::UNIX_EPOCH + time).format(&Rfc3339).ok()
}
