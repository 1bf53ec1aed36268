//! The user whom a server lets in.

use std::path::Path;
use std::process::Command;

use crate::program::{program, run};

/// A user as passwd has it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    pub(crate) fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let passwd = fs_err::read_to_string("/etc/passwd").expect("every machine has it");
        let name = passwd
            .lines()
            .find(|line| line.split(':').nth(2) == Some(&uid.to_string()))
            .and_then(|line| line.split(':').next())
            .map_or_else(|| "tester".to_owned(), str::to_owned);
        Self { name, uid, gid }
    }

    /// Returns names and texts of the files below /etc that make this account.
    pub(crate) fn files(
        &self,
        home: &Path,
        shell: &Path,
        password: Option<&str>,
    ) -> [(&'static str, String); 4] {
        let Self { name, uid, gid } = self;
        let mut files = ["passwd", "group", "shadow", "shells"].map(|file| {
            let old = fs_err::read_to_string(Path::new("/etc").join(file)).unwrap_or_default();
            let own = format!("{name}:");
            let kept = old.lines().filter(|line| file == "group" || !line.starts_with(&own));
            (file, kept.map(|line| format!("{line}\n")).collect::<String>())
        });
        let hash = password.map_or_else(|| "*".to_owned(), hash);
        let (home, shell) = (home.display(), shell.display());
        let added = [
            format!("{name}:x:{uid}:{gid}::{home}:{shell}\n"),
            format!("{name}:x:{gid}:\n"),
            format!("{name}:{hash}:19000:0:99999:7:::\n"),
            format!("{shell}\n"),
        ];
        for ((file, text), added) in files.iter_mut().zip(added) {
            if *file != "group" || !text.contains(&format!(":{gid}:")) {
                // First, because the first one counts.
                text.insert_str(0, &added);
            }
        }
        files
    }
}

fn hash(password: &str) -> String {
    let mut openssl = Command::new(program("openssl", "openssl"));
    let output = run(openssl.args(["passwd", "-6", password]));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
