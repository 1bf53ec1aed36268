//! Text → parts.

use super::error::{TemplateError, TemplateProblem};
use super::path::Shape;
use super::{Columns, Part, Which};
use crate::message::nearest;

/// What stands between braces, once it is known.
enum Found {
    Text,
    Part(Part),
}

pub(super) fn parts(text: &[u8], columns: &Columns) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut plain = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if let Some(inner) = inner(&text[at..]) {
            let found = match std::str::from_utf8(inner) {
                Ok(word) => {
                    replacement(word, at, columns).map_err(|p| TemplateError::new(text, at, p))?
                }
                Err(_) => Found::Text,
            };
            if let Found::Part(part) = found {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(part);
                at += inner.len() + 2;
                continue;
            }
        }
        plain.push(byte);
        at += 1;
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// What stands between the brace that `text` begins with and the next one, if that closes it.
fn inner(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"{")?;
    let end = text.iter().position(|byte| matches!(byte, b'{' | b'}'))?;
    (text[end] == b'}').then(|| &text[..end])
}

fn replacement(word: &str, at: usize, columns: &Columns) -> Result<Found, TemplateProblem> {
    let all = |shape| Ok(Found::Part(Part::Value { which: Which::All, shape, at }));
    match word {
        "" => return all(Shape::Whole),
        "#" => return Ok(Found::Part(Part::Sequence)),
        "%" => return Ok(Found::Part(Part::Slot)),
        "host" | "dep" => {
            if let Columns::Known(names) = columns
                && names.iter().any(|name| name == word)
            {
                return Err(TemplateProblem::Ambiguous(format!("{{{word}}}")));
            }
            match word {
                "host" => return Ok(Found::Part(Part::Host)),
                _ => return all(Shape::Dependency),
            }
        }
        _ => {}
    }
    if let Some((_, shape)) = Shape::SUFFIXES.iter().find(|(suffix, _)| *suffix == word) {
        return all(*shape);
    }
    let named = |name: &str, shape| {
        Ok(Found::Part(Part::Value { which: Which::Named(name.to_owned()), shape, at }))
    };
    let (stem, shape) = split_shape(word);
    if is_number(stem) {
        let place = stem.parse().ok().filter(|place| *place != 0);
        let place = place.ok_or_else(|| TemplateProblem::Zero(stem.to_owned()))?;
        return Ok(Found::Part(Part::Value { which: Which::Place(place), shape, at }));
    }
    match columns {
        Columns::Known(names) => {
            // A column's name may end as a shape does: the whole word goes first.
            let is_column = |word: &str| names.iter().any(|name| name == word);
            if is_column(word) {
                return named(word, Shape::Whole);
            }
            if is_column(stem) {
                return named(stem, shape);
            }
            if is_word(stem) {
                return Err(TemplateProblem::NoColumn {
                    name: stem.to_owned(),
                    nearest: nearest(stem, names.iter().map(String::as_str)).map(str::to_owned),
                });
            }
        }
        Columns::Any if is_word(stem) => return named(stem, shape),
        Columns::Any | Columns::None => {}
    }
    Ok(Found::Text)
}

fn split_shape(word: &str) -> (&str, Shape) {
    Shape::SUFFIXES
        .iter()
        .find_map(|(suffix, shape)| Some((word.strip_suffix(suffix)?, *shape)))
        .unwrap_or((word, Shape::Whole))
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix('-').unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word(word: &str) -> bool {
    let letter = |c: char| c == '_' || c.is_alphabetic();
    word.starts_with(letter) && word.chars().all(|c| letter(c) || c.is_numeric() || c == '-')
}
