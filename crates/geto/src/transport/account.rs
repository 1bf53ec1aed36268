//! Who runs geto, as `ssh` sees it.

use std::path::PathBuf;
use std::sync::OnceLock;

/// The account of this process.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) home: String,
    pub(crate) uid: u32,
}

impl Account {
    /// The account, looked up once: each connection and each task asks for it.
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Account> = OnceLock::new();
        CURRENT.get_or_init(Self::look_up).clone()
    }

    /// Looks the account up where `ssh` does: the database of users comes before `$HOME`.
    fn look_up() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let number = uid.to_string();
        if let Some((user, home)) = entry(|_, id| id == number) {
            return Self { user, home, uid };
        }
        let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/"));
        let user = std::env::var("USER").unwrap_or(number);
        Self { user, home: home.to_string_lossy().into_owned(), uid }
    }

    /// The home of another user.
    pub(crate) fn home_of(user: &str) -> Option<String> {
        entry(|name, _| name == user).map(|(_, home)| home)
    }
}

fn entry(matches: impl Fn(&str, &str) -> bool) -> Option<(String, String)> {
    let text = fs_err::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [name, _, uid, _, _, home, ..] if matches(name, uid) => {
                Some((name.to_owned(), home.to_owned()))
            }
            _ => None,
        }
    })
}
