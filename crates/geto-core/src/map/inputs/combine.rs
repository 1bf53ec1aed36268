//! Several sources → one sequence of inputs.

use super::Input;
use super::error::InputError;
use super::source::{Records, Source};
use crate::map::template::Columns;

/// The combinations of several sources, one input after the other; after an error there are no
/// more.
///
/// parallel(1), `:::` and `:::+`: sources make a product, in which the last varies fastest; a source
/// that is linked goes in step with the one before it, and the shortest of them determines the
/// length. A source without inputs makes no combinations: GNU parallel takes it for one empty value
/// where there are others, and would run tasks that nobody asked for.
///
/// The first source and those linked to it are read as they are needed, however long they are. All
/// others are read to their ends at the first input, and held in memory, since they are needed again
/// for each input of the first.
#[derive(Debug, Default)]
pub struct Inputs {
    groups: Vec<Vec<Source>>,
    combining: Option<Combining>,
    ended: bool,
}

struct Combining {
    first: Vec<Records>,
    current: Input,
    others: Vec<Vec<Input>>,
    /// For each of the others, which one is next. All zero: the next input of the first is due.
    next: Vec<usize>,
}

impl std::fmt::Debug for Combining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Combining").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Inputs {
    /// Makes a sequence without sources, which is empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source (`:::`, `::::`) of which each input goes with each of those before.
    #[must_use]
    pub fn cross(mut self, source: Source) -> Self {
        self.groups.push(vec![source]);
        self
    }

    /// Adds a source (`:::+`, `::::+`) that goes in step with the one before it. As the first, it
    /// is like any other.
    #[must_use]
    pub fn link(mut self, source: Source) -> Self {
        match self.groups.last_mut() {
            Some(group) => group.push(source),
            None => self.groups.push(vec![source]),
        }
        self
    }

    /// The names that templates may use; to be asked before the first input is taken.
    pub fn columns(&self) -> Columns {
        let mut known = Vec::new();
        for source in self.groups.iter().flatten() {
            match &source.columns {
                Columns::Any => return Columns::Any,
                Columns::Known(names) => known.extend_from_slice(names),
                Columns::None => {}
            }
        }
        match known.is_empty() {
            true => Columns::None,
            false => Columns::Known(known),
        }
    }

    /// How many values each input has, where that is the same for all: not with `--colsep`. To be
    /// asked before the first input is taken; see
    /// [`Template::check_places`](crate::map::template::Template::check_places).
    pub fn width(&self) -> Option<usize> {
        self.groups.iter().flatten().map(|source| source.width).sum()
    }

    fn take(&mut self) -> Result<Option<Input>, InputError> {
        let combining = match &mut self.combining {
            Some(combining) => combining,
            none => {
                let mut groups = std::mem::take(&mut self.groups).into_iter().map(|group| {
                    group.into_iter().map(|source| source.records).collect::<Vec<_>>()
                });
                let Some(first) = groups.next() else { return Ok(None) };
                let others = groups.map(read_all).collect::<Result<Vec<_>, _>>()?;
                let next = vec![0; others.len()];
                none.insert(Combining { first, current: Input::default(), others, next })
            }
        };
        combining.take()
    }
}

impl Combining {
    fn take(&mut self) -> Result<Option<Input>, InputError> {
        if self.others.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        if self.next.iter().all(|next| *next == 0) {
            match step(&mut self.first)? {
                Some(input) => self.current = input,
                None => return Ok(None),
            }
        }
        let mut input = self.current.clone();
        for (others, next) in self.others.iter().zip(&self.next) {
            input.append(&others[*next]);
        }
        for (others, next) in self.others.iter().zip(&mut self.next).rev() {
            *next += 1;
            if *next < others.len() {
                break;
            }
            *next = 0;
        }
        Ok(Some(input))
    }
}

impl Iterator for Inputs {
    type Item = Result<Input, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let taken = self.take();
        self.ended = !matches!(taken, Ok(Some(_)));
        taken.transpose()
    }
}

fn read_all(mut records: Vec<Records>) -> Result<Vec<Input>, InputError> {
    let mut inputs = Vec::new();
    while let Some(input) = step(&mut records)? {
        inputs.push(input);
    }
    Ok(inputs)
}

/// One input of each, put together; none when one of them has no more.
fn step(records: &mut [Records]) -> Result<Option<Input>, InputError> {
    let mut whole: Option<Input> = None;
    for records in records {
        match (records.next().transpose()?, &mut whole) {
            (None, _) => return Ok(None),
            (Some(input), None) => whole = Some(input),
            (Some(input), Some(whole)) => whole.append(&input),
        }
    }
    Ok(whole)
}
