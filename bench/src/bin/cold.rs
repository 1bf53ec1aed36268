//! A task on a host that geto is not connected to yet, against `ssh host sh < script`: connect, run,
//! bring results, disconnect.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use geto_bench::{Contender, geto, geto_ini, print, rounds, shell};
use geto_testkit::{Proxy, Sshd};

fn main() -> io::Result<()> {
    let server = Sshd::builder().start();
    let dir = tempfile::tempdir()?;
    let script = dir.path().join("script.sh");
    fs_err::write(&script, "echo done\n")?;
    let rounds = rounds(20);

    let compare = |title: &str, config: &Path, rounds: usize, proxy: Option<&Proxy>| {
        let ini = geto_ini(dir.path(), server.name(), config);
        let mut geto_run = Command::new(geto());
        geto_run.args(["run", "-q", "--config"]).arg(&ini).args(["-H", server.name()]).arg(&script);
        let ssh = |options: &str| {
            let line = format!("exec ssh -F \"$1\" {options} {} sh <\"$2\"", server.name());
            shell(&line, &[config.as_os_str(), script.as_os_str()])
        };
        let commands = [
            ("`geto run`", geto_run),
            ("`ssh` with curve25519", ssh("-o KexAlgorithms=curve25519-sha256")),
            ("`ssh` as it comes", ssh("")),
        ];
        let mut contenders: Vec<Contender> =
            commands.iter().map(|(name, _)| Contender::new(*name)).collect();
        for _ in 0..rounds {
            for (contender, (_, command)) in contenders.iter_mut().zip(&commands) {
                contender.run_through(command, proxy);
            }
        }
        print(title, &contenders)
    };

    compare("Cold task, loopback", &server.ssh_config(), rounds, None)?;
    let proxy = Proxy::builder(server.address()).delay(Duration::from_millis(25)).start();
    let config = server.ssh_config_via(proxy.address());
    compare("Cold task, 50 ms of round trip", &config, rounds.div_ceil(2), Some(&proxy))
}
