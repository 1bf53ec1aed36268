//! A host as an object.

use geto::Host;
use serde_json::{Value, json};

use super::Answer;
use super::table::{address, gpus};
use crate::printer::causes;

/// Makes an object of what a host answered; docs/json.md describes it.
pub(super) fn object(host: &Host, answer: &Answer) -> Value {
    let mut object = match &answer.status {
        Ok(status) => json!({
            "host": host.name, "address": address(host), "state": "ready",
            "login": status.login.as_secs_f64(), "slots": status.slots,
            "slots_taken": status.slots.map(|_| status.slots_taken),
            "waiting": status.slots.map(|_| status.waiting),
            "running": status.slots.map(|_| &status.running), "load": status.load,
            "processors": status.processors, "free_memory": status.free_memory,
            "gpus": gpus(host, status), "free_disk": status.free_disk,
            "system": status.system, "shell": status.shell, "user": status.user,
            "work_path": status.work_path, "missing": status.missing, "noise": status.noise,
        }),
        Err(error) => json!({
            "host": host.name, "address": address(host), "state": error.kind().name(),
            "message": error.to_string(), "causes": causes(error), "hint": error.hint(),
        }),
    };
    if let (Ok(_), Some(faults)) = (&answer.status, &answer.faults) {
        let faults = faults.iter().map(|fault| {
            json!({ "kind": fault.kind.name(), "message": fault.message, "hint": fault.hint })
        });
        object["faults"] = faults.collect();
    }
    object
}
