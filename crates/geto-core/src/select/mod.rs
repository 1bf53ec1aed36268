//! The words of `-H` and `-x` → hosts.

mod choose;
mod pick;
mod word;

pub use choose::{Aliases, Known, SelectError, possible_aliases, select};
pub use pick::{Pick, rank};
pub use word::{HostWord, InvalidHostWord, parse};
pub(crate) use word::{is_address, is_user};
