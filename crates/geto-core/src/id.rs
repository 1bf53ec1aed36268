//! The id of a task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of a task: 64 random bits, written `xxxx-xxxx-xxxx-xxxx` in lower-case hex.
///
/// It names the task's directory on the host and here, and is what makes a repeated request for
/// the same task harmless.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TaskId(u64);

/// A text that is not a task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task id: four groups of four hex digits, as in `0123-4567-89ab-cdef`")]
pub struct ParseTaskIdError(String);

impl TaskId {
    /// Makes an id of 64 bits, which the caller takes from a source of randomness.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0;
        write!(
            f,
            "{:04x}-{:04x}-{:04x}-{:04x}",
            bits >> 48,
            (bits >> 32) & 0xffff,
            (bits >> 16) & 0xffff,
            bits & 0xffff
        )
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

impl FromStr for TaskId {
    type Err = ParseTaskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let groups: Vec<&str> = text.split('-').collect();
        let sound = groups.len() == 4
            && groups.iter().all(|group| {
                group.len() == 4 && group.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            });
        let bits = u64::from_str_radix(&groups.concat(), 16);
        match (sound, bits) {
            (true, Ok(bits)) => Ok(Self(bits)),
            _ => Err(ParseTaskIdError(text.to_owned())),
        }
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for TaskId {
    type Error = ParseTaskIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_in_four_groups_and_read_back() {
        let id = TaskId::from_bits(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "0123-4567-89ab-cdef");
        assert_eq!("0123-4567-89ab-cdef".parse(), Ok(id));
    }

    #[test]
    fn refuses_what_could_be_taken_for_something_else() {
        for text in
            ["", "0123", "0123-4567-89ab-cdeg", "0123-4567-89AB-cdef", "../3-4567-89ab-cdef"]
        {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }
}
