//! A task on a host as an object.

use geto::HostTask;
use serde_json::{Value, json};

use super::table::state;
use crate::events::{merge, numbers};
use crate::history::rfc3339;

/// Makes an object of a task on a host; docs/json.md describes it.
pub(crate) fn object(task: &HostTask) -> Value {
    let mut object = json!({
        "task": task.id, "script": task.script, "host": task.host, "state": state(task),
        "outcome": null,
    });
    if let Some(outcome) = &task.outcome {
        merge(&mut object, &serde_json::to_value(outcome).unwrap_or_default());
    }
    let rest = json!({
        "slots": numbers(&task.slots), "started": task.started.map(rfc3339),
        "run_time": task.run_time.map(|time| time.as_secs_f64()),
        "cpu_time": task.cpu_time.map(|time| time.as_secs_f64()),
        "origin": task.origin,
    });
    merge(&mut object, &rest);
    object
}
