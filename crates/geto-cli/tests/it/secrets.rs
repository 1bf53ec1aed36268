//! Secrets stay where they belong.

use std::os::unix::fs::PermissionsExt as _;

use geto_testkit::Sshd;

use crate::support::{World, entries};

#[test]
fn values_of_variables_are_in_no_process_list_and_no_file_of_others() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    world.env.write_geto_ini(&format!("{ini}[server1]\nenv.INI=s3cret-ini\n"));
    world.env.file("vars", "FILE=s3cret-file\n");
    let line = "echo \"$INI $FILE $HERE\"; \
                cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c \"s3cret[-]\"; \
                stat -c %a \"$PWD/..\" \"$PWD/../..\"";
    for transport in ["native", "ssh"] {
        let ini = format!(
            "{ini}[server1]\nenv.INI=s3cret-ini\npassword=s3cret-password\ntransport={transport}\n"
        );
        world.env.write_geto_ini(&ini);
        let mut command =
            world.command(&["run", "-v", "--keep", "--env-file", "vars", "-e", "HERE", "-c", line]);
        command.args(["--", "priv4te"]);
        let ran = world.env.run(command.env("HERE", "s3cret-here"));
        assert_eq!(ran.text(), "s3cret-ini s3cret-file s3cret-here\n0\n700\n700\n", "{ran:?}");
        assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
    }
    for directory in [server.inside("~/.cache/geto"), world.env.state_home().join("geto")] {
        for path in entries(&directory) {
            let mode = fs_err::metadata(&path).unwrap().permissions().mode() & 0o777;
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{}", path.display());
        }
    }
    let outcome = world.results()[0].join("outcome.json");
    assert!(!fs_err::read_to_string(outcome).unwrap().contains("s3cret"));
    let ledger: Vec<_> =
        entries(&world.local_work_path()).into_iter().filter(|p| p.is_file()).collect();
    assert!(!ledger.is_empty());
    for path in ledger {
        let bytes = fs_err::read(&path).unwrap();
        for secret in ["s3cret", "priv4te"] {
            let found = bytes.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    }
}
