//! geto.ini, and the words of `-H`.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::World;

#[test]
fn what_is_wrong_in_geto_ini_is_named() {
    let world = World::new();
    let path = world.env.write_geto_ini("[hosts]\nserver1=10.0.0.1\n[server1]\nusernam=x\n");
    let ran = world.geto(&["run", "-c", ":"]);
    assert_eq!(ran.code(), 2);
    insta::assert_snapshot!(ran.stderr, @"
    geto: error: failed to read the configuration `$XDG_CONFIG_HOME/geto/geto.ini`
      caused by: `$XDG_CONFIG_HOME/geto/geto.ini` line 4, section `server1`, key `usernam`: no such key; did you mean `username`?
    ");
    world.env.write_geto_ini("[hosts]\nserver1=10.0.0.1\n[server1]\npassword=s3cret\n");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = world.geto(&["run", "-c", ":"]);
    assert_eq!(ran.code(), 2);
    insta::assert_snapshot!(ran.stderr, @"
    geto: error: failed to read the configuration `$XDG_CONFIG_HOME/geto/geto.ini`
      caused by: it holds a password, and others can read it (mode 644)
      hint: chmod 600 $XDG_CONFIG_HOME/geto/geto.ini
    ");
    let ran = world.geto(&["hosts", "--config", "nowhere.ini"]);
    assert_eq!(ran.code(), 2);
    insta::assert_snapshot!(ran.stderr, @"
    geto: error: failed to read the configuration `nowhere.ini`
      caused by: failed to open file `nowhere.ini`: No such file or directory (os error 2)
    ");
}

#[test]
fn geto_ini_is_looked_for_in_order() {
    let world = World::new();
    let says = |world: &World, args: &[&str], env: &[(&str, &str)]| {
        let mut command = world.command(&[&["run", "--dry-run", "-c", ":"], args].concat());
        command.envs(env.iter().copied());
        let ran = world.env.run(&mut command);
        ran.stderr.lines().next().unwrap_or_default().to_owned()
    };
    let ini = |name: &str| format!("[hosts]\n{name}=10.0.0.1\n");
    assert!(says(&world, &[], &[]).contains("running on `local`"));
    world.env.write_geto_ini(&ini("xdg"));
    assert!(says(&world, &[], &[]).contains("on `xdg`"));
    world.env.file("geto.ini", ini("here"));
    assert!(says(&world, &[], &[]).contains("on `here`"));
    world.env.file("other.ini", ini("env"));
    assert!(says(&world, &[], &[("GETO_CONFIG", "other.ini")]).contains("on `env`"));
    world.env.file("option.ini", ini("option"));
    let args = ["--config", "option.ini"];
    assert!(says(&world, &args, &[("GETO_CONFIG", "other.ini")]).contains("on `option`"));
    // Somebody else's file may be anything.
    std::os::unix::fs::chown(world.env.cwd().join("geto.ini"), Some(12345), None).unwrap();
    let said = says(&world, &[], &[]);
    let warning = "geto: warning: `./geto.ini` is not read: it belongs to another user";
    assert!(said.starts_with(warning), "{said}");
}

#[test]
fn words_name_hosts_and_slips_are_told() {
    let world = World::new();
    world.env.write_geto_ini("[hosts]\nnode1=10.0.0.1\nnode2=10.0.0.2\n");
    let said = |args: &[&str]| {
        let ran = world.geto(&[&["run", "--dry-run"], args, &["-c", ":"]].concat());
        (ran.code(), ran.stderr)
    };
    assert!(said(&[]).1.contains("on `node1` or `node2`"));
    assert!(said(&["-H", "node*", "-x", "node1"]).1.contains("on `node2`\n"));
    assert!(said(&["-H", "node2,node1"]).1.contains("on `node2` or `node1`"));
    let (code, text) = said(&["-H", "nod1"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!(text, @"
    geto: error: failed to choose a host
      caused by: neither geto.ini nor ssh_config knows a host `nod1`; did you mean `node1`?
      hint: if it is an address, write `nod1:22`
    ");
    assert!(said(&["-H", "node2"]).1.contains("on `node2`"));
    assert!(said(&["-H", "me@10.9.8.7:22"]).1.contains("on `me@10.9.8.7:22`"));
    assert!(said(&["-H", "local"]).1.contains("on `local`"));
}
