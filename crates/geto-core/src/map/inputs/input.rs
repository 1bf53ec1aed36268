//! What one task is made for.

use std::sync::Arc;

/// The input of one task: the values that `{1}`, `{2}` … stand for, and the names that some of
/// them have.
///
/// A source gives one value, or one for each column where lines are split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Input {
    values: Vec<Vec<u8>>,
    names: Vec<Names>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    /// The values from `first` on have these names.
    Header { names: Arc<[String]>, first: usize },
    /// A key with a value of its own.
    Keys(Vec<(String, Vec<u8>)>),
}

impl Input {
    /// Makes an input of values without names.
    pub fn from_values(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { values: values.into_iter().collect(), names: Vec::new() }
    }

    /// Gives the values names, in their order.
    #[must_use]
    pub fn with_header(mut self, names: Arc<[String]>) -> Self {
        self.names.push(Names::Header { names, first: 0 });
        self
    }

    /// Adds values that have a name only.
    #[must_use]
    pub fn with_keys(mut self, keys: Vec<(String, Vec<u8>)>) -> Self {
        self.names.push(Names::Keys(keys));
        self
    }

    /// All values, in their order.
    pub fn values(&self) -> &[Vec<u8>] {
        &self.values
    }

    /// The value at a place, from 1, or from -1 at the end.
    pub fn at(&self, place: i32) -> Option<&[u8]> {
        let index = place.unsigned_abs() as usize;
        let index = match place > 0 {
            true => index.checked_sub(1)?,
            false if index == 0 => return None,
            false => self.values.len().checked_sub(index)?,
        };
        self.values.get(index).map(Vec::as_slice)
    }

    /// The value of that name; of several sources that have it, the first's.
    pub fn named(&self, name: &str) -> Option<&[u8]> {
        self.names.iter().find_map(|names| match names {
            Names::Header { names, first } => {
                let column = names.iter().position(|known| known == name)?;
                self.values.get(first + column).map(Vec::as_slice)
            }
            Names::Keys(keys) => {
                keys.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
            }
        })
    }

    /// Puts another input behind this one.
    pub(super) fn append(&mut self, other: &Self) {
        let offset = self.values.len();
        self.values.extend_from_slice(&other.values);
        self.names.extend(other.names.iter().map(|names| match names {
            Names::Header { names, first } => {
                Names::Header { names: Arc::clone(names), first: first + offset }
            }
            Names::Keys(keys) => Names::Keys(keys.clone()),
        }));
    }
}
