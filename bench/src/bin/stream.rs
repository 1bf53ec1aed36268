//! 200 MB of a task's standard output, against the same through `ssh`.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use geto_bench::{Contender, geto, geto_ini, print, rounds};
use geto_testkit::{Proxy, Sshd};

const LINE: &str = "head -c 200000000 /dev/zero";

fn main() -> io::Result<()> {
    let server = Sshd::builder().start();
    let dir = tempfile::tempdir()?;
    let rounds = rounds(7);

    let compare = |title: &str, config: &Path, rounds: usize, proxy: Option<&Proxy>| {
        let ini = geto_ini(dir.path(), server.name(), config);
        let mut contenders = [
            Contender::new("`geto run`"),
            Contender::new("`ssh` with curve25519"),
            Contender::new("`ssh` with curve25519, aes128-gcm"),
        ];
        for _ in 0..rounds {
            let mut command = Command::new(geto());
            command.args(["run", "-q", "--config"]).arg(&ini).args([
                "-H",
                server.name(),
                "-c",
                LINE,
            ]);
            contenders[0].run_through(&command, proxy);
            for (contender, cipher) in [(1, None), (2, Some("aes128-gcm@openssh.com"))] {
                let mut command = Command::new("ssh");
                command.arg("-F").arg(config).args(["-o", "KexAlgorithms=curve25519-sha256"]);
                if let Some(cipher) = cipher {
                    command.args(["-c", cipher]);
                }
                contenders[contender].run_through(command.args([server.name(), LINE]), proxy);
            }
            // Each round leaves 200 MB here.
            fs_err::remove_dir_all(dir.path().join("results"))?;
        }
        print(title, &contenders)
    };

    compare("200 MB of output, loopback", &server.ssh_config(), rounds, None)?;
    let proxy = Proxy::builder(server.address()).delay(Duration::from_millis(25)).start();
    let config = server.ssh_config_via(proxy.address());
    compare("200 MB of output, 50 ms of round trip", &config, rounds.div_ceil(3), Some(&proxy))
}
