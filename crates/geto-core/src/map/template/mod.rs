//! Replacement strings: `{}`, `{/.}`, `{2}`, `{host}`, `{column}`.
//!
//! As in parallel(1), section OPTIONS, `{}` to `{n/.}`; what is in braces and is no replacement
//! string is text. `{host}`, `{dep}` and `{key}` are geto's own.

mod error;
mod parse;
mod path;
#[cfg(test)]
mod tests;

pub use error::{RenderError, TemplateError, TemplateProblem};
pub use path::dependency_name;

use self::path::Shape;
use super::inputs::Input;

/// A text in which replacement strings stand, read once and rendered for each task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Value { which: Which, shape: Shape, at: usize },
    Sequence,
    Slot,
    Host,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    All,
    /// From 1, or from -1 at the end.
    Place(i32),
    Named(String),
}

/// The names by which inputs can be asked for their parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Columns {
    /// There are none: `{word}` is text.
    #[default]
    None,
    /// These, of CSV files: another `{word}` is an error, since it is mostly a slip.
    Known(Vec<String>),
    /// Keys of JSON lines, which differ from line to line: each `{word}` is one.
    Any,
}

/// What a task knows of itself when its texts are rendered.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Its input.
    pub input: &'a Input,
    /// Its number in this run, from 1: `{#}`.
    pub sequence: u64,
    /// Where it will run, once that was chosen.
    pub place: Option<Place<'a>>,
}

/// Where a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The name of the host: `{host}`.
    pub host: &'a str,
    /// The slot on it, from 1: `{%}`.
    pub slot: u32,
}

impl Template {
    /// Reads a text.
    ///
    /// `{0}` and, where columns have names, a `{word}` that is none of them are errors: as text
    /// they would be passed to thousands of tasks before anybody sees it. A word is letters,
    /// digits, `_` and `-`, not a digit or `-` first.
    ///
    /// # Errors
    /// Names the text, the byte where the replacement string begins, and what is wrong with it.
    pub fn parse(text: impl Into<Vec<u8>>, columns: &Columns) -> Result<Self, TemplateError> {
        let text = text.into();
        let parts = parse::parts(&text, columns)?;
        Ok(Self { text, parts })
    }

    /// Its text, as it was given.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether any replacement string occurs.
    pub fn replaces(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(_)))
    }

    /// Whether a replacement string occurs that stands for the input or a part of it.
    pub fn mentions_input(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Value { .. }))
    }

    /// Whether it can be rendered only when host and slot are chosen.
    pub fn needs_place(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Slot | Part::Host))
    }

    /// Checks that inputs of exactly `values` values have all that it asks for. To be called where
    /// the number is the same for all inputs: one value of each source, none of them split.
    ///
    /// # Errors
    /// For `{3}` where an input has two values.
    pub fn check_places(&self, values: usize) -> Result<(), TemplateError> {
        for part in &self.parts {
            if let Part::Value { which: Which::Place(place), at, .. } = part
                && place.unsigned_abs() as usize > values
            {
                let problem = TemplateProblem::NoSuchInput { place: *place, values };
                return Err(TemplateError::new(&self.text, *at, problem));
            }
        }
        Ok(())
    }

    /// Renders it as one text.
    ///
    /// `{}`, `{.}` and the like stand for all values of the input, each taken by itself, with a
    /// space between them. A place that the input doesn't have, as `{3}` for a line of two columns,
    /// is empty, as in GNU parallel.
    ///
    /// # Errors
    /// When the input lacks a key, or its name can't be a dependency's, or a place is asked for
    /// that was not chosen yet.
    pub fn render(&self, values: &Values<'_>) -> Result<Vec<u8>, RenderError> {
        let mut rendered = Vec::with_capacity(self.text.len() + 32);
        for part in &self.parts {
            self.push(part, values, &mut rendered)?;
        }
        Ok(rendered)
    }

    /// Renders it as words of a command line, appended to `words`: as one, but for a text that is
    /// nothing but `{}` (or `{.}`, `{/}`, `{//}`, `{/.}`, `{dep}`), which is a word for each value
    /// of the input, as the shell reads what GNU parallel puts there.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_words(
        &self,
        values: &Values<'_>,
        words: &mut Vec<Vec<u8>>,
    ) -> Result<(), RenderError> {
        if let [Part::Value { which: Which::All, shape, .. }] = self.parts.as_slice() {
            for value in values.input.values() {
                let mut word = Vec::with_capacity(value.len() + 8);
                self.push_value(*shape, value, &mut word)?;
                words.push(word);
            }
        } else {
            words.push(self.render(values)?);
        }
        Ok(())
    }

    fn push(&self, part: &Part, values: &Values<'_>, to: &mut Vec<u8>) -> Result<(), RenderError> {
        let place = || values.place.ok_or_else(|| RenderError::no_place(&self.text));
        match part {
            Part::Text(text) => to.extend_from_slice(text),
            Part::Sequence => to.extend_from_slice(values.sequence.to_string().as_bytes()),
            Part::Slot => to.extend_from_slice(place()?.slot.to_string().as_bytes()),
            Part::Host => to.extend_from_slice(place()?.host.as_bytes()),
            Part::Value { which: Which::All, shape, .. } => {
                for (index, value) in values.input.values().iter().enumerate() {
                    if index > 0 {
                        to.push(b' ');
                    }
                    self.push_value(*shape, value, to)?;
                }
            }
            Part::Value { which: Which::Place(place), shape, .. } => {
                if let Some(value) = values.input.at(*place) {
                    self.push_value(*shape, value, to)?;
                }
            }
            Part::Value { which: Which::Named(name), shape, .. } => {
                let value = values
                    .input
                    .named(name)
                    .ok_or_else(|| RenderError::no_key(&self.text, name))?;
                self.push_value(*shape, value, to)?;
            }
        }
        Ok(())
    }

    fn push_value(&self, shape: Shape, value: &[u8], to: &mut Vec<u8>) -> Result<(), RenderError> {
        match shape.push(value, to) {
            true => Ok(()),
            false => Err(RenderError::no_name(&self.text, value)),
        }
    }
}

/// Whether the values of the input are to be appended to the arguments, since nothing else would
/// tell the task of them: no replacement string in `args`, and in `others` none that stands for the
/// input.
///
/// parallel(1), `{}`: "If the command line contains no replacement strings then {} will be appended
/// to the command line". `others` are the texts beside it by which a task is told its input:
/// dependencies and variables.
pub fn appends_input<'a>(
    args: impl IntoIterator<Item = &'a Template>,
    others: impl IntoIterator<Item = &'a Template>,
) -> bool {
    !args.into_iter().any(Template::replaces) && !others.into_iter().any(Template::mentions_input)
}
