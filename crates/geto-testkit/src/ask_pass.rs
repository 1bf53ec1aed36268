//! An SSH_ASKPASS program that gives prepared answers.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::machine::set_mode;

/// A program for `SSH_ASKPASS`. It gives the first answer at the first question and so on, and
/// fails when there is none left.
#[derive(Debug)]
pub struct AskPass {
    dir: TempDir,
}

impl AskPass {
    /// Makes one with these answers.
    ///
    /// # Panics
    ///
    /// When the temporary directory can't be written.
    #[must_use]
    pub fn new(answers: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("askpass-").tempdir().expect("a writable TMPDIR");
        for (number, answer) in answers.iter().enumerate() {
            fs_err::write(dir.path().join(format!("answer.{}", number + 1)), format!("{answer}\n"))
                .expect("own directory");
        }
        let program = dir.path().join("askpass");
        // The mkdir makes questions that are asked at the same time get one answer each.
        let text = format!(
            "#!/bin/sh\ncd '{}' || exit 1\nprintf '%s\\n' \"$1\" >>questions\nn=1\n\
             until mkdir asked.$n 2>/dev/null; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; done\n\
             exec cat answer.$n\n",
            dir.path().display()
        );
        fs_err::write(&program, text).expect("own directory");
        set_mode(&program, 0o755);
        Self { dir }
    }

    /// The program.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("askpass")
    }

    /// Lets `command` ask this program, terminal or not.
    pub fn serve<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SSH_ASKPASS", self.path()).env("SSH_ASKPASS_REQUIRE", "force")
    }

    /// Returns the questions so far, one a line.
    #[must_use]
    pub fn questions(&self) -> String {
        let file: &Path = &self.dir.path().join("questions");
        fs_err::read_to_string(file).unwrap_or_default()
    }
}
