//! Parts of paths, as GNU parallel cuts them.

/// What a replacement string takes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// All of it: `{}`.
    Whole,
    /// Without the extension: `{.}`.
    NoExtension,
    /// Behind the last slash: `{/}`.
    Base,
    /// The directory: `{//}`.
    Dir,
    /// Behind the last slash and without the extension: `{/.}`.
    BaseNoExtension,
    /// Where the file stands on the host: `{dep}`.
    Dependency,
}

impl Shape {
    /// The shapes that a number or a name may have behind it, longest first.
    pub(super) const SUFFIXES: [(&'static str, Self); 4] = [
        ("//", Self::Dir),
        ("/.", Self::BaseNoExtension),
        ("/", Self::Base),
        (".", Self::NoExtension),
    ];

    /// Appends what it takes of `value`; false when there is no such thing.
    pub(super) fn push(self, value: &[u8], to: &mut Vec<u8>) -> bool {
        match self {
            Self::Whole => to.extend_from_slice(value),
            Self::NoExtension => to.extend_from_slice(without_extension(value)),
            Self::Base => to.extend_from_slice(base(value)),
            Self::Dir => to.extend_from_slice(directory(value)),
            Self::BaseNoExtension => to.extend_from_slice(without_extension(base(value))),
            Self::Dependency => {
                let Some(name) = dependency_name(value) else { return false };
                to.extend_from_slice(b"DEPS/");
                to.extend_from_slice(name);
            }
        }
        true
    }
}

/// The name that `{dep}` has for a path, behind `DEPS/`: its last part. None for a path that ends in
/// no name, as `..` does.
///
/// A dependency that `-d '{}'` sends must be given this name: without one, it has that of what a
/// symbolic link leads to.
pub fn dependency_name(path: &[u8]) -> Option<&[u8]> {
    let name = base(trim_slashes(path));
    (!matches!(name, b"" | b"." | b"..")).then_some(name)
}

/// GNU parallel: `s:.*/::`.
fn base(value: &[u8]) -> &[u8] {
    match value.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => &value[slash + 1..],
        None => value,
    }
}

/// GNU parallel: `s:\.[^/.]*$::`, so that of `.hidden` nothing is left.
fn without_extension(value: &[u8]) -> &[u8] {
    match value.iter().rposition(|byte| *byte == b'/' || *byte == b'.') {
        Some(at) if value[at] == b'.' => &value[..at],
        _ => value,
    }
}

/// GNU parallel: `dirname` of perl's `File::Basename`, which is dirname(1).
fn directory(value: &[u8]) -> &[u8] {
    let value = trim_slashes(value);
    let Some(slash) = value.iter().rposition(|byte| *byte == b'/') else {
        return b".";
    };
    match trim_slashes(&value[..=slash]) {
        b"" => b"/",
        directory => directory,
    }
}

/// Without slashes at the end; of nothing but slashes, the first is left.
fn trim_slashes(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    &value[..end.max(value.len().min(1))]
}
