//! The shells that hosts have.

use std::path::PathBuf;

use crate::program::program;

/// A shell of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// What messages call it.
    pub name: &'static str,
    /// Its program.
    pub path: PathBuf,
}

/// Shells that some system has as /bin/sh, with program and Debian package.
const SYSTEM: [(&str, &str, &str); 6] = [
    ("dash", "dash", "dash"),
    ("bash", "bash", "bash"),
    ("busybox ash", "busybox", "busybox"),
    ("ksh93", "ksh93", "ksh93u+m"),
    ("mksh", "mksh", "mksh"),
    ("zsh", "zsh", "zsh"),
];

/// Shells that a user may have in passwd.
const LOGIN: [(&str, &str, &str); 8] = [
    ("dash", "dash", "dash"),
    ("bash", "bash", "bash"),
    ("zsh", "zsh", "zsh"),
    ("fish", "fish", "fish"),
    ("tcsh", "tcsh", "tcsh"),
    ("ksh93", "ksh93", "ksh93u+m"),
    ("mksh", "mksh", "mksh"),
    ("yash", "yash", "yash"),
];

/// Returns all shells that /bin/sh may be: dash, bash, busybox ash, ksh93, mksh, zsh.
///
/// Each is the POSIX shell only when its argument 0 is `sh`, which `Machine::system_shell` and
/// `Command::arg0` bring about; busybox is no shell at all otherwise.
///
/// # Panics
///
/// When one is missing; the message names the Debian package.
#[must_use]
pub fn system_shells() -> Vec<Shell> {
    all(&SYSTEM)
}

/// Returns shells of every family that users log in with.
///
/// # Panics
///
/// When one is missing; the message names the Debian package.
#[must_use]
pub fn login_shells() -> Vec<Shell> {
    all(&LOGIN)
}

fn all(list: &[(&'static str, &str, &str)]) -> Vec<Shell> {
    list.iter().map(|&(name, file, package)| Shell { name, path: program(file, package) }).collect()
}
