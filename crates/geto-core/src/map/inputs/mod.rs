//! Where tasks come from: words, lines, CSV and JSON lines, and how several of them combine.
//!
//! Whoever opens files does so elsewhere; here they are readers.

mod combine;
mod error;
mod input;
mod separator;
mod source;
#[cfg(test)]
mod tests;

pub use combine::Inputs;
pub use error::{InputError, InputProblem};
pub use input::Input;
pub use separator::{InvalidSeparator, Separator};
pub use source::{Ending, Source};
