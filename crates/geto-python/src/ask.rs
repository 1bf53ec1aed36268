//! Asking by a callable of Python.

use geto::Secret;
use geto::transport::Prompter;
use pyo3::prelude::*;

use crate::runtime::in_python;

/// Asks `ask(question, echo)`, which returns a text, or `None` when there is no answer.
#[derive(Debug)]
pub(crate) struct Callable(pub(crate) Py<PyAny>);

impl Prompter for Callable {
    fn secret(&self, prompt: &str, echo: bool) -> Option<Secret> {
        let mut answer = None;
        in_python(|py| {
            answer = self.0.call1(py, (prompt, echo))?.extract::<Option<String>>(py)?;
            Ok(())
        });
        answer.map(Secret::from)
    }

    fn confirm(&self, question: &str) -> bool {
        let answer = self.secret(&format!("{question} (yes/no) "), true);
        answer.is_some_and(|answer| answer.expose().eq_ignore_ascii_case(b"yes"))
    }
}
