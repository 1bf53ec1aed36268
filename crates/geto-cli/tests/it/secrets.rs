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
        let ini = format!("{ini}[server1]\nenv.INI=s3cret-ini\ntransport={transport}\n");
        world.env.write_geto_ini(&ini);
        let mut command =
            world.command(&["run", "-v", "--keep", "--env-file", "vars", "-e", "HERE", "-c", line]);
        let ran = world.env.run(command.env("HERE", "s3cret-here"));
        assert_eq!(ran.text(), "s3cret-ini s3cret-file s3cret-here\n0\n700\n700\n", "{ran:?}");
        assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
    }
    for directory in [server.inside("~/.cache/geto"), world.env.state_home().join("geto")] {
        for path in entries(&directory) {
            let mode = fs_err::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o700, "{}", path.display());
        }
    }
    let outcome = world.results()[0].join("outcome.json");
    assert!(!fs_err::read_to_string(outcome).unwrap().contains("s3cret"));
}
