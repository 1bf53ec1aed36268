//! `geto trust`.

use geto_testkit::Sshd;

use crate::support::World;

fn strangers(world: &World, server: &geto_testkit::Server) {
    let ini = world.env.use_servers(&[server]);
    let known = world.env.home().join("known");
    world.env.write_geto_ini(
        &ini.replace("[geto]\n", &format!("[geto]\nknown_hosts_path={}\n", known.display())),
    );
}

#[test]
fn unknown_hosts_are_refused_with_what_would_trust_them() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    strangers(&world, &server);
    let ran = world.geto(&["run", "-c", ":"]);
    assert_eq!(ran.code(), 125);
    assert!(ran.stderr.contains("SHA256:") && ran.stderr.contains("geto trust"), "{}", ran.stderr);
    // Nobody is there to compare.
    let ran = world.geto(&["trust", "server1"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("there is no terminal"), "{}", ran.stderr);
    assert_eq!(world.geto(&["run", "-c", ":"]).code(), 125);
    let ran = world.geto(&["trust", "--yes", "server1"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.stderr.contains("ssh-ed25519 SHA256:"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("1 key added to `$HOME/known`\n"), "{}", ran.stderr);
    assert_eq!(world.geto(&["run", "-c", ":"]).code(), 0);
    let ran = world.geto(&["trust", "server1"]);
    assert_eq!(
        (ran.code(), &*ran.stderr),
        (0, "geto: `server1`: all its keys are in `$HOME/known` already\n")
    );
}

#[test]
fn another_key_is_never_added() {
    let (server, other) =
        (Sshd::builder().name("server1").start(), Sshd::builder().name("other").start());
    let world = World::new();
    strangers(&world, &server);
    let line = other.known_hosts_lines(other.address());
    let changed = format!("* {}", line.split_once(' ').unwrap().1);
    let known = world.env.home().join("known");
    fs_err::write(&known, &changed).unwrap();
    let ran = world.geto(&["trust", "--yes", "server1"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("ssh-keygen -R"), "{}", ran.stderr);
    assert_eq!(fs_err::read_to_string(&known).unwrap(), changed);
}

#[test]
fn a_host_behind_another_is_asked_through_it() {
    let (jump, target) =
        (Sshd::builder().name("jump").start(), Sshd::builder().name("server1").start());
    let world = World::new();
    let ini = world.env.use_servers(&[&jump, &target]);
    let config = ini.lines().find_map(|line| line.strip_prefix("ssh_config_path=")).unwrap();
    let text = fs_err::read_to_string(config).unwrap();
    fs_err::write(config, format!("Host server1\n  ProxyJump jump\n{text}")).unwrap();
    let ran = world.geto(&["trust", "--yes", "server1"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(jump.log().contains("Accepted publickey"), "{}", jump.log());
}

/// A world whose ssh_config has something else instead of `from`.
fn with_config(server: &geto_testkit::Server, from: &str, to: &str) -> World {
    let world = World::new();
    let ini = world.env.use_servers(&[server]);
    let config = ini.lines().find_map(|line| line.strip_prefix("ssh_config_path=")).unwrap();
    let text = fs_err::read_to_string(config).unwrap();
    assert!(text.contains(from), "{text}");
    fs_err::write(config, text.replace(from, to)).unwrap();
    world
}

#[test]
fn keys_that_nothing_would_keep_are_shown_and_not_asked_about() {
    let server = Sshd::builder().name("server1").start();
    let known = format!("UserKnownHostsFile {}", server.known_hosts().display());
    let world = with_config(&server, &known, "UserKnownHostsFile /dev/null");
    for args in [&["trust", "server1"][..], &["trust", "--yes", "server1"]] {
        let ran = world.geto(args);
        assert_eq!(ran.code(), 1, "{ran:?}");
        assert!(ran.stderr.contains("ssh-ed25519 SHA256:"), "{}", ran.stderr);
        assert!(ran.stderr.contains("`/dev/null` keeps nothing"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("added to"), "{}", ran.stderr);
    }
}

#[test]
fn what_a_proxy_command_complains_of_is_shown() {
    let server = Sshd::builder().name("server1").start();
    let user = format!("  User {}\n", server.user());
    let command = "  ProxyCommand sh -c 'echo no such tunnel >&2; exit 1'\n";
    let world = with_config(&server, &user, &format!("{user}{command}"));
    let ran = world.geto(&["trust", "--yes", "server1"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.contains("no such tunnel"), "{}", ran.stderr);
}
