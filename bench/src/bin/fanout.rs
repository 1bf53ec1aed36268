//! One trivial command on 200 hosts at once, against `ssh` under xargs, clush and parallel-ssh, all
//! with curve25519. Then 1,000 hosts, without a comparison.
//!
//! The hosts are addresses of 127.0.0.0/8 on one sshd. Processor time is that of the origin: of the
//! command and all its children, and not of sshd.
//!
//! It needs `clush` and `parallel-ssh` (of Debian: `apt-get install clustershell pssh`).

use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use geto_bench::{Contender, geto, geto_ini, print, rounds, shell};
use geto_testkit::{Server, Sshd, program};

/// Of the peers as of geto.
const FANOUT: &str = "64";
const HOSTS: usize = 200;
const MANY: usize = 1_000;
const CURVE: &str = "-oKexAlgorithms=curve25519-sha256";

fn main() -> io::Result<()> {
    let server = Sshd::builder().everywhere().start();
    let dir = tempfile::tempdir()?;
    let config = ssh_config(&server, dir.path())?;
    let list = dir.path().join("hosts");
    fs_err::write(&list, hosts(HOSTS).join("\n") + "\n")?;
    let ini = geto_ini(dir.path(), server.name(), &config);
    let each = |hosts: &[String], options: &[&str]| {
        let mut command = Command::new(geto());
        command.args(["each", "-q", "--config"]).arg(&ini).args(options);
        command.args(["-H", &hosts.join(","), "--", "true"]);
        command
    };
    let mut clush = Command::new(program("clush", "clustershell"));
    clush.args(["-q", "-b", "-f", FANOUT, "-o"]).arg(format!("-F{} {CURVE}", config.display()));
    clush.args(["-w", &hosts(HOSTS).join(","), "true"]);
    let mut pssh = Command::new(program("parallel-ssh", "pssh"));
    pssh.args(["-i", "-p", FANOUT, "-x"]).arg(format!("-F{} {CURVE}", config.display()));
    pssh.arg("-h").arg(&list).arg("true");
    let xargs = format!("exec xargs -P {FANOUT} -I {{}} ssh -F \"$1\" {CURVE} {{}} true <\"$2\"");
    let commands = [
        ("`geto each`", each(&hosts(HOSTS), &[])),
        ("`ssh` under xargs", shell(&xargs, &[config.as_os_str(), list.as_os_str()])),
        ("`clush`", clush),
        ("`parallel-ssh`", pssh),
    ];
    let mut contenders: Vec<Contender> =
        commands.iter().map(|(name, _)| Contender::new(*name)).collect();
    for _ in 0..rounds(5) {
        for (contender, (_, command)) in contenders.iter_mut().zip(&commands) {
            contender.run_through(command, None);
        }
        fs_err::remove_dir_all(dir.path().join("results"))?;
    }
    print(&format!("`true` on {HOSTS} hosts"), &contenders)?;

    let mut all = [Contender::new("all at once"), Contender::new("one")];
    for _ in 0..3 {
        for (contender, count) in all.iter_mut().zip([HOSTS, 1]) {
            contender.run_through(&each(&hosts(count), &["--fanout", "1000"]), None);
        }
    }
    let [at_once, one] = all.each_ref().map(|contender| contender.median().memory);
    let mut out = io::stdout().lock();
    let connection = (at_once - one) / (HOSTS - 1) as f64;
    writeln!(out, "\nmemory per connection: {connection:.0} KiB")?;

    let mut many = Contender::new("many");
    many.run_through(&each(&hosts(MANY), &[]), None);
    let cost = many.median();
    writeln!(
        out,
        "{MANY} hosts, none failed: {:.1} s, {:.1} s of processor time, {:.1} MiB",
        cost.wall,
        cost.cpu,
        cost.memory / 1024.0
    )
}

/// The first addresses of 127.0.1.0/24 and the networks behind it.
fn hosts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("127.0.{}.{}", 1 + number / 250, 1 + number % 250)).collect()
}

fn ssh_config(server: &Server, dir: &Path) -> io::Result<std::path::PathBuf> {
    let section = server.ssh_config_section(server.address());
    let mine = format!("HostName {}", server.host());
    // Each is reached by the address that it is named by.
    let text = section.replace(&format!("Host {}", server.name()), "Host 127.*");
    let text: String =
        text.lines().filter(|line| line.trim() != mine).fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        });
    let path = dir.join("ssh_config");
    fs_err::write(&path, text)?;
    Ok(path)
}
