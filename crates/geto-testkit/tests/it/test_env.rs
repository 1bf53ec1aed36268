//! The world of the binary under test.

use geto_testkit::{Proxy, Sshd, TestEnv, program};

#[test]
fn a_command_sees_nothing_of_this_process() {
    let world = TestEnv::new();
    let mut command = world.command(program("sh", "dash"));
    let ran = world.run(command.args(["-c", "env | grep -v ^_= | sort; pwd >&2; exit 3"]));
    assert_eq!(ran.code(), 3);
    assert_eq!(ran.stderr, "$CWD\n");
    let text = world.redact(&ran.text());
    let names: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    let wanted = "HOME LANG PATH PWD TMPDIR TZ XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME \
                  XDG_RUNTIME_DIR XDG_STATE_HOME";
    assert_eq!(names, wanted.split_whitespace().collect::<Vec<_>>());
    assert!(text.contains("HOME=$HOME\n"), "{text}");
}

#[test]
fn servers_become_a_fleet_that_ssh_reaches_through_a_proxy() {
    let (a, b) = (Sshd::builder().name("n1").start(), Sshd::builder().name("n2").start());
    let proxy = Proxy::builder(b.address()).start();
    let world = TestEnv::new();
    let ini = world.use_servers_at(&[(&a, a.address()), (&b, proxy.address())]);
    assert!(ini.ends_with("[hosts]\nn1=n1\nn2=n2\n\n"), "{ini}");
    let config = ini.lines().find_map(|line| line.strip_prefix("ssh_config_path=")).unwrap();
    for host in ["n1", "n2"] {
        let mut ssh = world.command(program("ssh", "openssh-client"));
        let ran = world.run(ssh.args(["-F", config, host, "echo in"]));
        assert_eq!(ran.text(), "in\n", "{ran:?}");
    }
    assert_eq!(proxy.wait_for_close().len(), 1);
}
