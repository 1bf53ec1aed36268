//! By what a task is recognised when a batch is resumed.

use std::fmt;
use std::str::FromStr;

use super::inputs::Input;

/// What a task is recognised by in another run: the same for the same input and arguments, and
/// different for others, whatever their order is.
///
/// Two tasks of a run may have the same key, since a list may say the same thing twice:
/// [`Resume`](super::joblog::Resume) counts them. A key is 128 bits of a BLAKE3 hash, so that two
/// tasks that differ don't share one by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 16]);

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 hexadecimal digits")]
pub struct InvalidKey;

impl Key {
    /// The key of `--resume-key input`, the default: the input and the words of the command line as
    /// they were given (script and arguments, before replacement strings in them were replaced).
    ///
    /// Neither the rendered command nor the number of the line will do. A `{host}` makes the one
    /// differ from run to run, and an input that goes by `-d '{}'` isn't in it; the other changes
    /// when a line is added above.
    pub fn of_input<'a>(words: impl IntoIterator<Item = &'a [u8]>, input: &Input) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("geto map 1: words and input");
        let words: Vec<_> = words.into_iter().collect();
        add(&mut hasher, &words);
        add(&mut hasher, input.values());
        Self::cut(&hasher)
    }

    /// The key of `--resume-key content`: `self`, and `digests` of all that the task is sent.
    #[must_use]
    pub fn with_content<'a>(self, digests: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("geto map 1: key and content");
        hasher.update(&self.0);
        let digests: Vec<_> = digests.into_iter().collect();
        add(&mut hasher, &digests);
        Self::cut(&hasher)
    }

    /// The key of a line that has none of its own, as those of GNU parallel: its command.
    pub(super) fn of_command(command: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("geto map 1: command");
        hasher.update(command);
        Self::cut(&hasher)
    }

    fn cut(hasher: &blake3::Hasher) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(key)
    }
}

/// With counts and lengths, so that no two lists make the same bytes.
fn add(hasher: &mut blake3::Hasher, values: &[impl AsRef<[u8]>]) {
    hasher.update(&(values.len() as u64).to_le_bytes());
    for value in values {
        hasher.update(&(value.as_ref().len() as u64).to_le_bytes());
        hasher.update(value.as_ref());
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidKey);
        }
        let mut key = [0; 16];
        for (index, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16)
                .map_err(|_not_hexadecimal| InvalidKey)?;
        }
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(words: &[&str], values: &[&str]) -> Key {
        let input = Input::from_values(values.iter().map(|value| value.as_bytes().to_vec()));
        Key::of_input(words.iter().map(|word| word.as_bytes()), &input)
    }

    #[test]
    fn a_key_is_stable_and_tells_tasks_apart() {
        // Logs of other versions must be understood.
        insta::assert_snapshot!(key(&["job.sh", "{}"], &["a"]), @"6ed170d199973f001cc475d1fce0cfd4");
        let all = [
            key(&["job.sh"], &["a"]),
            key(&["job.sh"], &["a", ""]),
            key(&["job.sh", "a"], &[]),
            key(&["job.sh"], &["b"]),
            key(&["jo", "b.sh"], &["a"]),
            key(&["job.sh"], &["a"]).with_content([]),
            key(&["job.sh"], &["a"]).with_content([&b"x"[..]]),
            Key::of_command(b"job.sh a"),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
        assert_eq!(key(&["job.sh"], &["a"]), all[0]);
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = key(&["x"], &["y"]);
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["", "0", "+0000000000000000000000000000000", "é000000000000000000000000000000"]
        {
            assert_eq!(text.parse::<Key>(), Err(InvalidKey), "{text}");
        }
    }
}
