//! `--results`: stdout and stderr of each input, where GNU parallel puts them.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use geto::map::inputs::Input;
use rustix::fs::Access;

/// Makes the place for outputs.
///
/// # Errors
/// When nothing can be put there.
pub(super) fn prepare(root: &Path) -> io::Result<()> {
    fs_err::create_dir_all(root)?;
    Ok(rustix::fs::access(root, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Copies the outputs of a task to their place below `root`; of equal inputs the last stays.
pub(super) fn keep(root: &Path, input: &Input, results: &Path) -> io::Result<()> {
    let directory = place(root, input);
    fs_err::create_dir_all(&directory)?;
    for name in ["stdout", "stderr"] {
        // Whole or not at all.
        let aside = directory.join(format!(".{name}.part"));
        fs_err::copy(results.join(name), &aside)?;
        fs_err::rename(&aside, directory.join(name))?;
    }
    Ok(())
}

/// parallel(1), `--results name`: `name/1/<value>/2/<value>`.
fn place(root: &Path, input: &Input) -> PathBuf {
    let mut path = root.to_owned();
    for (number, value) in (1..).zip(input.values()) {
        path.push(format!("{number}"));
        path.push(OsString::from_vec(part(value)));
    }
    path
}

/// A value as one part of a path. parallel(1): tab, backslash, slash and NUL are `\t`, `\\`, `\_` and
/// `\0`. Nothing, `.` and `..`, which could be no part, have a backslash in front.
fn part(value: &[u8]) -> Vec<u8> {
    let mut part = Vec::with_capacity(value.len());
    if matches!(value, b"" | b"." | b"..") {
        part.push(b'\\');
    }
    for byte in value {
        match byte {
            b'\t' => part.extend_from_slice(b"\\t"),
            b'\\' => part.extend_from_slice(b"\\\\"),
            b'/' => part.extend_from_slice(b"\\_"),
            0 => part.extend_from_slice(b"\\0"),
            byte => part.push(*byte),
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parts_of_a_path() {
        for (values, expected) in [
            (&["a"][..], "r/1/a"),
            (&["a/b\t", "\\"], "r/1/a\\_b\\t/2/\\\\"),
            (&["..", ""], "r/1/\\../2/\\"),
        ] {
            let input = Input::from_values(values.iter().map(|value| value.as_bytes().to_vec()));
            assert_eq!(place(Path::new("r"), &input), Path::new(expected));
        }
    }
}
