//! What the sessions of a server see: user, home, shells, tools, mounts.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::account::Account;
use crate::program::{program, run};

/// The machine that a server's sessions run on.
///
/// It is this one, seen through a private mount namespace: as root by `unshare --mount`, otherwise
/// with a user namespace too, which the kernel has to allow. Without any wish an OpenSSH server starts
/// also where neither is possible: its sessions then begin in the user's real home, with the empty
/// one in `HOME`, and a detached process without environment outlives the server. Paths that begin with `~/` lie in the session's home.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    login_shell: Option<PathBuf>,
    system_shell: Option<PathBuf>,
    startup: Option<String>,
    home_files: Vec<(PathBuf, String)>,
    tools: Option<Tools>,
    mounts: Vec<(PathBuf, String)>,
    no_proc: bool,
    own_boot_id: bool,
    own_network: bool,
    user: Option<String>,
    name: Option<String>,
}

#[derive(Clone, Debug)]
enum Tools {
    Only(Vec<String>),
    Without(Vec<String>),
}

/// How this process may make mounts that nobody else sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privacy {
    Root,
    UserNamespace,
    None,
}

/// The user id of [`Machine::user`]: one that Debian hands out to nobody.
const USER_ID: u32 = 59_990;

impl Machine {
    /// This machine as it is, with an empty home.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the user's login shell (really, in passwd). Default: /bin/sh.
    #[must_use]
    pub fn login_shell(mut self, path: impl Into<PathBuf>) -> Self {
        self.login_shell = Some(path.into());
        self
    }

    /// Replaces the file behind /bin/sh by this shell.
    ///
    /// On Debian that file is /usr/bin/dash, which is thus another shell by that name too.
    #[must_use]
    pub fn system_shell(mut self, path: impl Into<PathBuf>) -> Self {
        self.system_shell = Some(path.into());
        self
    }

    /// Writes the start-up file that the login shell reads for `ssh host command`: `.bashrc`,
    /// `.zshenv`, `.config/fish/config.fish`, `.tcshrc`.
    ///
    /// The other shells read none then: theirs is `.profile`, read only with `-l`. A
    /// [`Self::home_file`] named `.ssh/rc` is run by every OpenSSH session.
    #[must_use]
    pub fn startup_file(mut self, text: impl Into<String>) -> Self {
        self.startup = Some(text.into());
        self
    }

    /// Writes a file below the home.
    #[must_use]
    pub fn home_file(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.home_files.push((path.into(), text.into()));
        self
    }

    /// Lets `PATH` name a directory that holds these tools and nothing else.
    #[must_use]
    pub fn only_tools(mut self, names: &[&str]) -> Self {
        self.tools = Some(Tools::Only(names.iter().map(ToString::to_string).collect()));
        self
    }

    /// Lets `PATH` name a directory with all tools of /usr/bin and /bin but these.
    #[must_use]
    pub fn without_tools(mut self, names: &[&str]) -> Self {
        self.tools = Some(Tools::Without(names.iter().map(ToString::to_string).collect()));
        self
    }

    /// Hides /proc behind an empty directory.
    #[must_use]
    pub fn no_proc(mut self) -> Self {
        self.no_proc = true;
        self
    }

    /// Mounts an empty file system of that size at a directory, which must exist or lie in `~/`.
    ///
    /// Its content is visible to tests through `Server::inside`, as for the other mounts.
    #[must_use]
    pub fn tmpfs(self, path: impl Into<PathBuf>, size_bytes: u64) -> Self {
        self.mount(path, format!("mode=0700,size={size_bytes}"))
    }

    /// Mounts an empty file system that refuses to run programs.
    #[must_use]
    pub fn noexec(self, path: impl Into<PathBuf>) -> Self {
        self.mount(path, "mode=0700,noexec".to_owned())
    }

    /// Mounts an empty file system that can't be written.
    #[must_use]
    pub fn read_only(self, path: impl Into<PathBuf>) -> Self {
        self.mount(path, "mode=0755,ro".to_owned())
    }

    fn mount(mut self, path: impl Into<PathBuf>, options: String) -> Self {
        self.mounts.push((path.into(), options));
        self
    }

    /// Logs in as a user of that name, who is not root, instead of the user who runs the tests.
    ///
    /// Only root can start such a server.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.user = Some(name.to_owned());
        self
    }

    /// Gives it a boot id of its own, which a test changes by writing to that file of the server:
    /// `/proc/sys/kernel/random/boot_id`.
    #[must_use]
    pub fn own_boot_id(mut self) -> Self {
        self.own_boot_id = true;
        self
    }

    /// Puts it into a network of its own, which nothing but itself is in: see [`Cable`](crate::Cable).
    #[must_use]
    pub fn own_network(mut self) -> Self {
        self.own_network = true;
        self
    }

    /// Calls it by that name, and takes its machine id away: to programs it is another machine.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    fn needs_namespace(&self) -> bool {
        self.name.is_some()
            || self.login_shell.is_some()
            || self.system_shell.is_some()
            || !self.mounts.is_empty()
            || self.no_proc
            || self.own_boot_id
            || self.own_network
            || self.user.is_some()
    }

    /// Lays out `dir` for this machine; `password` is the user's.
    pub(crate) fn prepare(&self, dir: &Path, password: Option<&str>, shells: Shells) -> Prepared {
        let privacy = privacy();
        let needed = self.needs_namespace() || password.is_some() || shells == Shells::Wrapped;
        assert!(
            privacy != Privacy::None || !needed,
            "this test needs a mount namespace: run it as root, or let users make user namespaces \
             (`sysctl kernel.unprivileged_userns_clone=1`, \
             `sysctl kernel.apparmor_restrict_unprivileged_userns=0`)"
        );
        let home = dir.join("home");
        make_dir(&home, 0o755);
        let mut prepared = Prepared {
            user: self.account(privacy),
            path: self.tools.as_ref().map(|tools| tools.lay(&dir.join("tools"))),
            home,
            own_network: self.own_network,
            script: None,
        };
        self.fill_home(&prepared);
        if privacy != Privacy::None {
            let script = self.script(dir, password, &prepared, shells, privacy);
            prepared.script = Some((privacy, script));
        }
        prepared
    }

    fn account(&self, privacy: Privacy) -> Account {
        match &self.user {
            Some(name) => {
                assert_eq!(privacy, Privacy::Root, "only root can log in as another user");
                Account { name: name.clone(), uid: USER_ID, gid: USER_ID }
            }
            None => Account::current(),
        }
    }

    fn fill_home(&self, prepared: &Prepared) {
        let shell = self.login_shell.as_deref().unwrap_or(Path::new("/bin/sh"));
        let startup = match shell.file_name().and_then(|name| name.to_str()) {
            Some("bash") => ".bashrc",
            // Not .zshrc, which is for interactive shells only.
            Some("zsh") => ".zshenv",
            Some("fish") => ".config/fish/config.fish",
            Some("tcsh" | "csh") => ".tcshrc",
            _ => ".profile",
        };
        let startup = self.startup.iter().map(|text| (Path::new(startup), text));
        let others = self.home_files.iter().map(|(path, text)| (path.as_path(), text));
        for (path, text) in startup.chain(others) {
            let path = prepared.home.join(path);
            fs_err::create_dir_all(path.parent().expect("it lies in the home")).expect("new home");
            fs_err::write(path, text).expect("new home");
        }
        for (path, _) in &self.mounts {
            if path.starts_with("~") {
                fs_err::create_dir_all(prepared.expand(path)).expect("new home");
            }
        }
        prepared.own(&prepared.home);
    }

    /// Writes the script that makes the mounts and then becomes its arguments.
    fn script(
        &self,
        dir: &Path,
        password: Option<&str>,
        prepared: &Prepared,
        shells: Shells,
        privacy: Privacy,
    ) -> PathBuf {
        let etc = dir.join("etc");
        make_dir(&etc, 0o755);
        let mut lines = vec!["set -e".to_owned()];
        if self.own_network {
            let ip = program("ip", "iproute2");
            lines.push(format!("{} link set lo up", ip.display()));
        }
        let mut bind = |source: &Path, target: &Path| {
            lines.push(format!("mount -n --bind {} {}", quote(source), quote(target)));
        };
        let login_shell = match &prepared.path {
            Some(path) if shells == Shells::Wrapped => {
                wrapper(&etc, self.login_shell.as_deref(), path)
            }
            _ => self.login_shell.clone().unwrap_or_else(|| PathBuf::from("/bin/sh")),
        };
        for (name, text) in prepared.user.files(&prepared.home, &login_shell, password) {
            let file = etc.join(name);
            fs_err::write(&file, text).expect("new directory");
            let mode = if name == "shadow" { 0o600 } else { 0o644 };
            set_mode(&file, mode);
            bind(&file, &Path::new("/etc").join(name));
        }
        if password.is_some() {
            let pam = etc.join("pam.d");
            make_dir(&pam, 0o755);
            for service in ["sshd", "other"] {
                fs_err::write(pam.join(service), PAM).expect("new directory");
            }
            bind(&pam, Path::new("/etc/pam.d"));
        }
        if let Some(shell) = &self.system_shell {
            let target = fs_err::canonicalize("/bin/sh").expect("every machine has /bin/sh");
            if *shell != target {
                bind(shell, &target);
            }
        }
        if self.own_boot_id {
            let file = etc.join("boot_id");
            fs_err::write(&file, "00000000-0000-4000-8000-000000000000\n").expect("new directory");
            bind(&file, Path::new("/proc/sys/kernel/random/boot_id"));
        }
        let owner = format!(",uid={},gid={}", prepared.user.uid, prepared.user.gid);
        for (path, options) in &self.mounts {
            let path = quote(&prepared.expand(path));
            lines.push(format!("mount -n -t tmpfs -o {options}{owner} tmpfs {path}"));
        }
        if self.no_proc {
            lines.push("mount -n -t tmpfs -o ro,mode=0555 tmpfs /proc".to_owned());
        }
        let mut own_name = String::new();
        if let Some(name) = &self.name {
            lines.push(
                "[ ! -e /etc/machine-id ] || mount -n --bind /dev/null /etc/machine-id".to_owned(),
            );
            let line = format!("echo {name} >/proc/sys/kernel/hostname && exec \"$@\"");
            own_name = format!("unshare --uts /bin/sh -c {} sh ", quote(Path::new(&line)));
        }
        // Without root the mounts were made with capabilities that the server must not have.
        let drop = if privacy == Privacy::Root { "" } else { " --ambient-caps=-all" };
        lines.push(format!("exec {own_name}setpriv{drop} --pdeathsig KILL -- \"$@\"\n"));
        let script = dir.join("namespace.sh");
        fs_err::write(&script, lines.join("\n")).expect("new directory");
        script
    }
}

/// How the `PATH` of sessions is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shells {
    /// The server does it.
    Plain,
    /// The login shell is a script that does it, and then becomes the real one.
    Wrapped,
}

const PAM: &str = "auth required pam_unix.so\naccount required pam_permit.so\n\
                   session required pam_permit.so\npassword required pam_deny.so\n";

fn wrapper(etc: &Path, shell: Option<&Path>, path: &Path) -> PathBuf {
    let file = etc.join("login-shell");
    let shell = quote(shell.unwrap_or(Path::new("/bin/sh")));
    let text = format!("#!/bin/sh\nPATH={}\nexport PATH\nexec {shell} \"$@\"\n", quote(path));
    fs_err::write(&file, text).expect("new directory");
    set_mode(&file, 0o755);
    file
}

impl Tools {
    fn lay(&self, dir: &Path) -> PathBuf {
        make_dir(dir, 0o755);
        match self {
            Self::Only(names) => {
                for name in names {
                    let target = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
                        .map(|place| Path::new(place).join(name))
                        .into_iter()
                        .find(|path| path.exists())
                        .unwrap_or_else(|| panic!("this machine lacks the tool `{name}`"));
                    symlink(target, dir.join(name)).expect("new directory");
                }
            }
            Self::Without(names) => {
                for place in ["/usr/bin", "/bin"] {
                    for entry in fs_err::read_dir(place).expect("it exists").flatten() {
                        let name = entry.file_name();
                        if !names.iter().any(|without| name == without.as_str()) {
                            // On a merged /usr the second place has the same names again.
                            let _same = symlink(entry.path(), dir.join(&name));
                        }
                    }
                }
            }
        }
        dir.to_owned()
    }
}

/// A machine laid out in a directory.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) user: Account,
    pub(crate) home: PathBuf,
    /// What `PATH` of sessions is to be, if anything special.
    pub(crate) path: Option<PathBuf>,
    own_network: bool,
    script: Option<(Privacy, PathBuf)>,
}

impl Prepared {
    /// Whether passwd names the home: a server has to be told otherwise.
    pub(crate) fn has_namespace(&self) -> bool {
        self.script.is_some()
    }

    /// Returns the command that runs `program` on this machine, to end with this process.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = match &self.script {
            None => {
                let mut command = Command::new(crate::program::program("setpriv", "util-linux"));
                command.args(["--pdeathsig", "KILL", "--"]);
                command
            }
            Some((privacy, script)) => {
                let mut command = Command::new(crate::program::program("unshare", "util-linux"));
                command.args(privacy.options());
                if self.own_network {
                    command.arg("--net");
                }
                command.arg("/bin/sh").arg(script);
                command
            }
        };
        command.arg(program);
        command
    }

    pub(crate) fn expand(&self, path: &Path) -> PathBuf {
        path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| self.home.join(rest))
    }

    /// Gives what lies at and below `path` to the user.
    pub(crate) fn own(&self, path: &Path) {
        if self.user.uid == rustix::process::getuid().as_raw() {
            return;
        }
        let owner = format!("{}:{}", self.user.uid, self.user.gid);
        run(Command::new(program("chown", "coreutils")).args(["-Rh", &owner]).arg(path));
    }
}

impl Privacy {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Root => &["--mount"],
            Self::UserNamespace => &["--user", "--map-current-user", "--keep-caps", "--mount"],
            Self::None => &[],
        }
    }
}

/// Finds out once what the kernel allows this process.
fn privacy() -> Privacy {
    static PRIVACY: OnceLock<Privacy> = OnceLock::new();
    *PRIVACY.get_or_init(|| {
        let root = rustix::process::geteuid().is_root();
        let wanted = if root { Privacy::Root } else { Privacy::UserNamespace };
        let probe = Command::new(program("unshare", "util-linux"))
            .args(wanted.options())
            .args(["mount", "-n", "-t", "tmpfs", "tmpfs", "/tmp"])
            .stderr(Stdio::null())
            .status();
        if probe.is_ok_and(|status| status.success()) { wanted } else { Privacy::None }
    })
}

pub(crate) fn make_dir(path: &Path, mode: u32) {
    fs_err::create_dir_all(path).expect("a new directory below our own");
    set_mode(path, mode);
}

/// Sets the mode of a file.
///
/// # Panics
///
/// When it can't be set.
pub fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is our own");
}

fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
