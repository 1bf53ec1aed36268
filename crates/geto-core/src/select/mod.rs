//! The words of `-H` and `-x` → hosts.

mod choose;
mod word;

pub use choose::{Aliases, Known, SelectError, possible_aliases, select};
pub use word::{HostWord, InvalidHostWord, parse};
pub(crate) use word::{is_address, is_user};
