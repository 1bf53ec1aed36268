//! The verdict on a host key compared with that of the machine's own `ssh`, which is connected to
//! a real `sshd -i` through a ProxyCommand. Without these programs the tests fail.

#![expect(clippy::disallowed_types, reason = "this is where the pure code meets real programs")]
#![expect(clippy::disallowed_methods, reason = "a certificate is judged at a time")]
#![expect(clippy::unwrap_used, reason = "a test ends there")]

mod cases;

use cases::{Case, ENTRIES, MARKERS, PORTS_AND_ALIASES};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use geto_core::known_hosts::{
    CertificateRules, HostIdentity, HostKeyVerdict, KnownHosts, OfferedCertificate, OfferedKey,
    line_for,
};
use geto_core::ssh_config::SshOptions;

/// Keys of every kind, made once per test.
struct Keys {
    dir: tempfile::TempDir,
}

/// Host keys, a stranger of each type, and two authorities.
const KEYS: [(&str, &str); 8] = [
    ("ed", "ed25519"),
    ("ed2", "ed25519"),
    ("ed3", "ed25519"),
    ("ec", "ecdsa"),
    ("ec2", "ecdsa"),
    ("rsa", "rsa"),
    ("ca", "ed25519"),
    ("ca2", "ed25519"),
];

/// Certificates of the key `ed`: name, made by, options of ssh-keygen.
const CERTIFICATES: [(&str, &str, &[&str]); 6] = [
    ("good", "ca", &["-h", "-n", "n1.lab,other"]),
    ("any", "ca", &["-h"]),
    ("stranger", "ca", &["-h", "-n", "n2.lab"]),
    ("star", "ca", &["-h", "-n", "*.lab"]),
    ("expired", "ca", &["-h", "-n", "n1.lab", "-V", "20200101:20210101"]),
    ("users", "ca", &["-n", "n1.lab"]),
];

impl Keys {
    fn make() -> Self {
        let keys = Self { dir: tempfile::tempdir().unwrap() };
        for (name, kind) in KEYS {
            let bits = if kind == "rsa" { "2048" } else { "256" };
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", kind, "-b", bits, "-N", "", "-C", "c", "-f"])
                .arg(keys.path(name)));
        }
        for (name, authority, options) in CERTIFICATES {
            for suffix in ["", ".pub"] {
                let (from, to) = (keys.path(&format!("ed{suffix}")), format!("{name}{suffix}"));
                fs_err::copy(from, keys.path(&to)).unwrap();
            }
            run(Command::new("ssh-keygen")
                .arg("-q")
                .arg("-s")
                .arg(keys.path(authority))
                .args(["-I", "id"])
                .args(options)
                .arg(keys.path(&format!("{name}.pub"))));
        }
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `type base64` of a key, as in its file.
    fn text(&self, name: &str) -> String {
        let line = fs_err::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        line.split(' ').take(2).collect::<Vec<_>>().join(" ")
    }

    fn blob(&self, name: &str) -> (String, Vec<u8>) {
        let text = self.text(name);
        let (key_type, encoded) = text.split_once(' ').unwrap();
        (key_type.to_owned(), STANDARD.decode(encoded).unwrap())
    }

    /// Puts keys in for `{name}`, and hashed names for `{#name}`.
    fn fill(&self, template: &str) -> Vec<u8> {
        let mut text = template.to_owned();
        for (name, _) in KEYS {
            text = text.replace(&format!("{{{name}}}"), &self.text(name));
        }
        while let Some(start) = text.find("{#") {
            let end = start + text[start..].find('}').unwrap();
            let host = HostIdentity { host: "", port: 22, alias: Some(&text[start + 2..end]) };
            let line = line_for(&host, Some([7; 20]), "t", b"");
            let name = line.split(' ').next().unwrap().to_owned();
            text.replace_range(start..=end, &name);
        }
        text.into_bytes()
    }
}

#[test]
fn entries_are_judged_as_by_openssh() {
    compare(ENTRIES);
}

#[test]
fn ports_and_aliases_are_judged_as_by_openssh() {
    compare(PORTS_AND_ALIASES);
}

#[test]
fn markers_are_judged_as_by_openssh() {
    compare(MARKERS);
}

#[test]
fn the_same_lines_are_found_as_by_ssh_keygen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("known");
    let hosts = [
        "n1",
        "N1",
        "n1,n2",
        "n*",
        "n?",
        "*,!n1",
        "!n2,n*",
        "[n1]:2222",
        "[n*]:2222",
        "[n1]:*",
        "*",
        "10.0.0.?",
        "::1",
        "[::1]:2222",
        "web",
        "n1,",
        ",n1",
        "n1\t",
        "\u{e9}",
        "n[12]",
    ];
    let mut text = String::new();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for host in hosts.iter().map(|host| (*host).to_owned()).chain(
        // The same as geto would write them, hashed.
        ["n1", "n2", "[n1]:2222", "::1", "\u{e9}"].map(|alias| {
            let host = HostIdentity { host: "", port: 22, alias: Some(alias) };
            let line = line_for(&host, Some([9; 20]), "", b"");
            line.split(' ').next().unwrap().to_owned()
        }),
    ) {
        let number = u8::try_from(lines.len()).unwrap();
        let blob = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), &[number; 32]].concat();
        text.extend([&host, " ssh-ed25519 ", &STANDARD.encode(&blob), "\n"]);
        lines.push(blob);
    }
    fs_err::write(&path, &text).unwrap();
    compare_found(&path, &lines);
    // ssh-keygen's own hashing leaves the lines where they are.
    run(Command::new("ssh-keygen").arg("-Hf").arg(&path));
    assert!(fs_err::read_to_string(&path).unwrap().matches("|1|").count() > 5);
    let hashed = fs_err::read(&path).unwrap();
    let blobs: Vec<_> = String::from_utf8_lossy(&hashed)
        .lines()
        .map(|line| STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap())
        .collect();
    compare_found(&path, &blobs);
}

/// Compares which of the lines are found for each of some names; `blobs` are the lines' keys.
fn compare_found(path: &Path, blobs: &[Vec<u8>]) {
    let mut known = KnownHosts::default();
    known.add_file(path, &fs_err::read(path).unwrap());
    let names = [
        "n1",
        "n2",
        "n10",
        "n1n",
        "[n1]:2222",
        "[n2]:2222",
        "[n1]:22",
        "10.0.0.7",
        "10.0.0.77",
        "::1",
        "[::1]:2222",
        "web",
        "n[12]",
        "\u{e9}",
        "other",
    ];
    for name in names {
        // It ends with 1 when nothing is found.
        let output = Command::new("ssh-keygen").args(["-F", name, "-f"]).arg(path).output();
        let said = String::from_utf8(output.expect("ssh-keygen is not installed").stdout).unwrap();
        let theirs: Vec<usize> = said
            .lines()
            .filter_map(|line| line.strip_prefix("# Host ")?.split_once(" found: line "))
            .map(|(_, line)| line.split(' ').next().unwrap().parse().unwrap())
            .collect();
        let host = HostIdentity { host: "", port: 22, alias: Some(name) };
        let rules = CertificateRules { now: 0, signature_algorithms: &[] };
        let mut ours: Vec<usize> = blobs
            .iter()
            .filter_map(|blob| {
                let key = OfferedKey { key_type: "ssh-ed25519", blob, certificate: None };
                match known.verify(&host, &key, &rules) {
                    HostKeyVerdict::Known { line, .. } => Some(line),
                    _ => None,
                }
            })
            .collect();
        ours.dedup();
        assert_eq!(ours, theirs, "{name} in {}", fs_err::read_to_string(path).unwrap());
    }
}

fn compare(cases: &[Case]) {
    // An sshd of root's wants its directory, which only the service's start makes; one of another
    // user needs none, and can't make it.
    drop(fs_err::create_dir_all("/run/sshd"));
    let keys = Keys::make();
    let mut wrong = Vec::new();
    for case in cases {
        let files: Vec<_> = (1..)
            .zip(case.files)
            .map(|(number, text)| {
                let path = keys.path(&format!("known{number}"));
                fs_err::write(&path, keys.fill(text)).unwrap();
                path
            })
            .collect();
        let (ssh, order) = ask_ssh(&keys, case, &files);
        let (ours, our_order) = ask_geto(&keys, case, &files);
        let without_place = |verdict: &str| verdict.split(' ').next().unwrap().to_owned();
        // ssh does not say which line revokes a key.
        let expected = without_place(case.verdict);
        if ssh != case.verdict || without_place(&ours) != expected {
            wrong.push(format!("{}: ssh {ssh}, geto {ours}, expected {}", case.fact, case.verdict));
        }
        if expected != "revoked" && ours != case.verdict {
            wrong.push(format!("{}: geto {ours}, expected {}", case.fact, case.verdict));
        }
        if order != our_order {
            wrong.push(format!("{}: ssh offers {order:?}, geto {our_order:?}", case.fact));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn identity(case: &'static str) -> HostIdentity<'static> {
    // `fe80::1` and `fe80::1:2222` are the addresses in the tables.
    if let Some(rest) = case.strip_prefix("fe80::1") {
        let port = rest.strip_prefix(':').map_or(22, |port| port.parse().unwrap());
        return HostIdentity { host: "fe80::1", port, alias: None };
    }
    let mut parts = case.split(':');
    let host = parts.next().unwrap();
    let port = parts.next().map_or(22, |port| port.parse().unwrap());
    HostIdentity { host, port, alias: parts.next() }
}

/// Returns ssh's verdict and the order in which it offers algorithms for the host's key.
fn ask_ssh(keys: &Keys, case: &Case, files: &[PathBuf]) -> (String, Vec<String>) {
    let certificate = keys.path(&format!("{}-cert.pub", case.server));
    let mut config = format!(
        "HostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n",
        keys.path(case.server).display()
    );
    if certificate.exists() {
        config.extend(["HostCertificate ", certificate.to_str().unwrap(), "\n"]);
    }
    let sshd_config = keys.path("sshd_config");
    fs_err::write(&sshd_config, config).unwrap();
    let quoted: Vec<_> = files.iter().map(|path| format!("{}", path.display())).collect();
    let host = identity(case.host);
    let mut ssh = Command::new("ssh");
    ssh.env_remove("SSH_AUTH_SOCK").env("LC_ALL", "C");
    ssh.args(["-F", "none", "-vv", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes"]);
    ssh.args(["-oPreferredAuthentications=none", "-oUpdateHostKeys=no", "-oIdentityFile=none"]);
    ssh.arg("-oKexAlgorithms=curve25519-sha256");
    ssh.arg(format!("-oProxyCommand={} -i -f {}", sshd().display(), sshd_config.display()));
    ssh.arg(format!("-oUserKnownHostsFile={}", quoted.join(" ")));
    ssh.arg("-oGlobalKnownHostsFile=none").arg(format!("-p{}", host.port));
    ssh.args(host.alias.map(|alias| format!("-oHostKeyAlias={alias}")));
    let output = ssh.arg(host.host).arg("true").output().expect("ssh is not installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let order = said
        .lines()
        .find_map(|line| line.strip_prefix("debug2: host key algorithms: "))
        .unwrap_or_else(|| panic!("{}: ssh did not get to the key exchange: {said}", case.fact));
    let order = order.trim().split(',').map(ToOwned::to_owned).collect();
    (verdict_of(&said, case, files), order)
}

fn verdict_of(said: &str, case: &Case, files: &[PathBuf]) -> String {
    let place = |line: &str| {
        let (path, line) = line.trim().rsplit_once(':').unwrap();
        let number = 1 + files.iter().position(|file| file == Path::new(path)).unwrap();
        format!("{number}:{line}")
    };
    let after = |words: &str| {
        said.lines()
            .filter_map(|line| line.split_once(words))
            .map(|(_, rest)| place(rest))
            .next_back()
    };
    if said.contains("REVOKED HOST KEY DETECTED") {
        "revoked".to_owned()
    } else if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        let offending = said.lines().find(|line| line.starts_with("Offending ")).unwrap();
        format!("changed {}", place(offending.split(" key in ").nth(1).unwrap()))
    } else if said.contains("and you have requested strict checking") {
        "unknown".to_owned()
    } else if said.contains("Permission denied") {
        format!("known {}", after(" key in ").or_else(|| after("Found key in ")).unwrap())
    } else {
        panic!("{}: ssh said something else: {said}", case.fact)
    }
}

fn ask_geto(keys: &Keys, case: &Case, files: &[PathBuf]) -> (String, Vec<String>) {
    let mut known = KnownHosts::default();
    for path in files {
        known.add_file(path, &fs_err::read(path).unwrap());
    }
    let made = CERTIFICATES.iter().find(|(name, ..)| *name == case.server);
    let (key_type, blob) = keys.blob(if made.is_some() { "ed" } else { case.server });
    let (_, authority) = keys.blob("ca");
    let principals: Vec<String> = match made.and_then(|(_, _, options)| {
        options.iter().position(|option| *option == "-n").map(|at| options[at + 1])
    }) {
        Some(names) => names.split(',').map(ToOwned::to_owned).collect(),
        None => Vec::new(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let certificate = made.map(|(name, _, options)| OfferedCertificate {
        authority: &authority,
        is_host: options.contains(&"-h"),
        principals: &principals,
        valid_after: 0,
        valid_before: if *name == "expired" { 1_609_459_200 } else { u64::MAX },
        has_critical_options: false,
        signature_algorithm: "ssh-ed25519",
    });
    let printed = run(Command::new("ssh").args(["-F", "none", "-G", "x"]));
    let options = SshOptions::parse(&printed, None).unwrap();
    let rules = CertificateRules { now, signature_algorithms: &options.ca_signature_algorithms };
    let alias = identity(case.host).alias.map(str::to_lowercase);
    let host = HostIdentity { alias: alias.as_deref(), ..identity(case.host) };
    let key = OfferedKey { key_type: &key_type, blob: &blob, certificate };
    let place = |path: &PathBuf, line: usize| {
        format!("{}:{line}", 1 + files.iter().position(|file| file == path).unwrap())
    };
    let verdict = match known.verify(&host, &key, &rules) {
        HostKeyVerdict::Known { path, line } => format!("known {}", place(&path, line)),
        HostKeyVerdict::Changed { path, line, .. } => format!("changed {}", place(&path, line)),
        HostKeyVerdict::Revoked { path, line } => format!("revoked {}", place(&path, line)),
        HostKeyVerdict::Unknown { .. } => "unknown".to_owned(),
        other => panic!("new verdict {other:?}"),
    };
    (verdict, known.order_algorithms(&host, &options.host_key_algorithms))
}

fn sshd() -> PathBuf {
    let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"].map(PathBuf::from);
    places.into_iter().find(|path| path.exists()).expect("sshd is not installed")
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("OpenSSH's client programs are not installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
