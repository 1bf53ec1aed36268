//! `geto hosts --check`.

use std::os::unix::fs::PermissionsExt as _;

use geto_testkit::{Dropbear, KeyKind, Machine, Ran, Server, Sshd, UserKey};
use serde_json::Value;

use crate::hosts::fake_program;
use crate::support::{World, entries};

/// What `geto hosts --check` says of a server whose work path is `work`.
fn check(server: &Server, work: &str) -> Ran {
    let world = World::new();
    let ini = world.env.use_servers(&[server]);
    let setting = format!("[geto]\nremote_work_path={work}\n");
    world.env.write_geto_ini(&ini.replace("[geto]\n", &setting));
    world.geto(&["hosts", "--check", "--json"])
}

fn object(ran: &Ran) -> Value {
    serde_json::from_str(&ran.text()).unwrap_or_else(|_| panic!("{ran:?}"))
}

/// The faults' names, messages and hints, a line each.
fn faults(ran: &Ran) -> String {
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{ran:?}");
    let object = object(ran);
    let faults = object["faults"].as_array().unwrap();
    let line = |fault: &Value| {
        let text = |key: &str| fault[key].as_str().unwrap().to_owned();
        format!("{}: {}; {}\n", text("kind"), text("message"), text("hint"))
    };
    faults.iter().map(line).collect()
}

/// Outside the home, geto works in a directory that the user's number names.
fn without_uid(text: &str) -> String {
    text.replace(&format!("/{}`", rustix::process::getuid().as_raw()), "/<uid>`")
}

fn kinds(ran: &Ran) -> Vec<String> {
    faults(ran).lines().map(|line| line.split_once(':').unwrap().0.to_owned()).collect()
}

fn start(machine: Machine) -> Server {
    Sshd::builder().name("server1").machine(machine).start()
}

#[test]
fn a_work_path_in_memory_is_told() {
    let ran = check(&start(Machine::new().tmpfs("/srv", 2 << 30)), "/srv/geto");
    insta::assert_snapshot!(without_uid(&faults(&ran)), @"volatile: `/srv/geto/<uid>` is in memory (tmpfs): results that were not fetched are lost at a reboot; set `remote_work_path` in geto.ini to a directory elsewhere");
}

#[test]
fn a_work_path_that_is_small_and_noexec_is_told() {
    let server = start(Machine::new().noexec("/srv"));
    assert!(kinds(&check(&server, "/srv/geto")).contains(&"noexec".to_owned()));
    let server = start(Machine::new().tmpfs("/srv", 1 << 20));
    let said = faults(&check(&server, "/srv/geto"));
    assert!(said.contains("low-disk: ") && said.contains(" MiB are free at `/srv/geto/"), "{said}");
    // Nothing is left of the attempt to write and to run something.
    let machines = entries(&entries(&server.inside("/srv/geto"))[0]);
    let names: Vec<_> =
        entries(&machines[0]).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["gone", "pids", "tasks"]);
}

#[test]
fn a_work_path_on_a_full_disk_is_named() {
    let server = start(Machine::new().tmpfs("/srv", 1 << 20));
    check(&server, "/srv/geto");
    assert!(fs_err::write(server.inside("/srv/rest"), vec![1; 2 << 20]).is_err());
    let said = check(&server, "/srv/geto");
    let said = format!("{}{}", said.text(), said.stderr);
    assert!(said.contains("/srv/geto/") && said.contains("No space left on device"), "{said}");
}

#[test]
fn a_work_path_that_is_cleaned_by_age_is_told() {
    let server = start(Machine::new().tmpfs("/var/tmp", 2 << 30));
    assert_eq!(kinds(&check(&server, "/var/tmp/geto")), ["volatile", "cleaned"]);
    // A symbolic link does not hide where it is.
    std::os::unix::fs::symlink("/var/tmp", server.home().join("link")).unwrap();
    assert_eq!(kinds(&check(&server, "~/link/geto")), ["volatile", "cleaned"]);
}

#[test]
fn start_up_files_that_print_or_read_are_told() {
    let machine = Machine::new().login_shell("/bin/bash").tmpfs("/srv", 2 << 30);
    let ran = check(&start(machine.clone().startup_file("echo welcome\n")), "/srv/geto");
    let said = faults(&ran);
    assert!(said.starts_with("noise: start-up files of bash print `welcome`;"), "{said}");
    assert!(said.contains("`case $- in *i*) ;; *) return ;; esac`"), "{said}");
    let reads = "for i in 1 2 3 4 5 6 7 8 9; do read answer; done\n";
    let said = faults(&check(&start(machine.startup_file(reads)), "/srv/geto"));
    assert!(said.starts_with("greedy: start-up files of bash read their input"), "{said}");
    let machine = Machine::new().login_shell("/usr/bin/fish").tmpfs("/srv", 2 << 30);
    let said = faults(&check(&start(machine.startup_file("echo hi\n")), "/srv/geto"));
    assert!(said.contains("print `hi`;") && said.contains("status is-interactive"), "{said}");
}

#[test]
fn a_missing_tar_is_told() {
    let machine = Machine::new().without_tools(&["tar"]).tmpfs("/srv", 2 << 30);
    let said = faults(&check(&start(machine), "/srv/geto"));
    assert!(said.starts_with("missing-program: `tar` is not there: "), "{said}");
    assert!(said.lines().next().unwrap().ends_with("; install the package `tar`"), "{said}");
}

#[test]
fn a_work_path_that_can_not_be_written_is_an_error() {
    let ran = check(&start(Machine::new().read_only("/srv")), "/srv/geto");
    assert_eq!(ran.code(), 1);
    let said = object(&ran);
    assert_eq!(
        (&said["state"], &said["message"]),
        (&"host".into(), &"failed to use the work path on host `server1`".into())
    );
    assert_eq!(said["hint"], "set `remote_work_path` in geto.ini");
    assert!(said["causes"][0].as_str().unwrap().contains("Read-only file system"), "{said}");
}

#[test]
fn a_work_path_that_became_read_only_is_an_error_without_a_check() {
    let server = start(Machine::new().user("athos"));
    let world = World::new();
    world.env.use_servers(&[&server]);
    assert_eq!(world.geto(&["hosts"]).code(), 0);
    let machine = entries(&server.home().join(".cache/geto")).remove(0);
    let tasks = machine.join("tasks");
    fs_err::set_permissions(&tasks, std::fs::Permissions::from_mode(0o500)).unwrap();
    let ran = world.geto(&["hosts"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("/tasks: can't be written"), "{ran:?}");
}

#[test]
fn a_logind_that_ends_what_a_session_leaves_is_told() {
    let ends = "[Login]\n KillUserProcesses = yes\nKillExcludeUsers=\n";
    let cases: [(&[(&str, &str)], bool); 5] = [
        (&[], false),
        (&[("logind.conf", "[Login]\n#KillUserProcesses=yes\n")], false),
        (&[("logind.conf", ends)], true),
        // Drop-ins count by name, and more than the file.
        (&[("logind.conf", "[Login]"), ("logind.conf.d/1.conf", ends)], true),
        (
            &[
                ("logind.conf", ends),
                ("logind.conf.d/1.conf", ends),
                ("logind.conf.d/2.conf", "KillUserProcesses=no"),
            ],
            false,
        ),
    ];
    let machine = Machine::new().tmpfs("/srv", 2 << 30).tmpfs("/etc/systemd", 1 << 20);
    let session =
        Sshd::builder().name("server1").set_env("XDG_SESSION_ID", "c1").machine(machine.clone());
    for (files, told) in cases {
        let server = session.clone().start();
        for (name, text) in files {
            let file = server.inside("/etc/systemd").join(name);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        }
        let said = faults(&check(&server, "/srv/geto"));
        assert_eq!(said.contains("logind: "), told, "{files:?}: {said}");
        assert!(!told || said.contains("`KillUserProcesses=no`"), "{said}");
    }
    // Without a session of logind there is nothing to end.
    let server = start(machine);
    fs_err::write(server.inside("/etc/systemd/logind.conf"), ends).unwrap();
    assert_eq!(kinds(&check(&server, "/srv/geto")), ["volatile"]);
}

#[test]
fn a_lock_path_that_can_not_be_shared_is_told() {
    let server = start(Machine::new().tmpfs("/srv", 2 << 30));
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    world.env.write_geto_ini(&ini.replace("[geto]\n", "[geto]\nremote_work_path=/srv/geto\n"));
    std::os::unix::fs::symlink("/tmp", world.env.tmp().join("geto_lock")).unwrap();
    let ran = world.geto(&["hosts", "--check", "--json"]);
    let lines = faults(&ran);
    let said = lines.lines().last().unwrap();
    assert!(said.starts_with("lock: tasks can't be counted, and get no slot: /"), "{said}");
    assert!(said.contains("geto_lock: is a symbolic link, which could lead anywhere"), "{said}");
    assert!(said.ends_with("set another `remote_lock_path` in geto.ini, or pass `--no-slot`"));
    assert_eq!(object(&ran)["slots"], Value::Null);
    // It is a host all the same.
    let ran = world.geto(&["hosts"]);
    assert_eq!(ran.code(), 0, "{ran:?}");
    assert!(ran.text().contains("?"), "{ran:?}");
}

#[test]
fn a_server_that_takes_few_channels_is_told() {
    let machine = Machine::new().tmpfs("/srv", 2 << 30);
    for (limit, told) in [(1, true), (3, true), (10, false)] {
        let server = Sshd::builder().name("server1").machine(machine.clone());
        let server = server.config(&format!("MaxSessions {limit}")).start();
        let said = faults(&check(&server, "/srv/geto"));
        let text = format!("max-sessions: its server takes {limit} channels on a connection");
        assert_eq!(said.contains(&text), told, "{said}");
        assert_eq!(server.log().matches("Accepted publickey").count(), 1, "{}", server.log());
    }
}

/// The hint of the one host, which is down with `state`, by each way to reach it; and the causes.
fn down(world: &World, ini: &str, state: &str) -> Vec<(String, String)> {
    let mut said = Vec::new();
    for transport in ["native", "ssh"] {
        world.env.write_geto_ini(&format!("{ini}[server1]\ntransport={transport}\n"));
        let ran = world.geto(&["hosts", "--check", "--json"]);
        assert_eq!(ran.code(), 1, "{ran:?}");
        let object = object(&ran);
        assert_eq!(object["state"], state, "{ran:?}");
        let hint = object["hint"].as_str().unwrap_or_else(|| panic!("{ran:?}")).to_owned();
        said.push((hint, object["causes"].to_string()));
    }
    said
}

#[test]
fn a_host_that_refuses_says_what_helps() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    drop(server);
    for (hint, _) in down(&world, &ini, "unreachable") {
        assert!(hint.contains("systemctl status ssh") && hint.contains("`port`"), "{hint}");
    }
}

#[test]
fn a_host_without_an_address_says_what_helps() {
    let world = World::new();
    for (hint, _) in down(&world, "[hosts]\nserver1=no-such-host.invalid\n", "unreachable") {
        assert!(hint.contains("`getent hosts no-such-host.invalid`"), "{hint}");
    }
}

#[test]
fn a_host_key_that_is_unknown_or_wrong_says_what_helps() {
    let server = Sshd::builder().name("server1").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    fs_err::write(server.known_hosts(), "").unwrap();
    for (hint, _) in down(&world, &ini, "host-key") {
        assert!(hint.contains("`geto trust server1`"), "{hint}");
    }
    let other = Sshd::builder().start();
    fs_err::write(server.known_hosts(), other.known_hosts_lines(server.address())).unwrap();
    let hints = down(&world, &ini, "host-key").into_iter().map(|(hint, _)| hint);
    let [native, ssh]: [String; 2] = hints.collect::<Vec<_>>().try_into().unwrap();
    assert!(native.contains(&format!("`ssh-keygen -R '[{}]:", server.host())), "{native}");
    // What it says itself names file and line.
    assert!(ssh.contains("remove that line"), "{ssh}");
}

#[test]
fn a_login_that_fails_says_what_was_tried() {
    let server = Sshd::builder().name("server1").user_key(UserKey::new(KeyKind::Ed25519)).start();
    let wrong = Sshd::builder().name("wrong").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    let file = world.env.cwd().join("ssh_config");
    let section = server.ssh_config_section(server.address());
    let (own, others) = (server.key().display().to_string(), wrong.key().display().to_string());
    fs_err::write(&file, section.replace(&own, &others)).unwrap();
    let setting = format!("ssh_config_path={}\n", file.display());
    let ini: String = ini
        .lines()
        .map(|line| match line.starts_with("ssh_config_path") {
            true => setting.clone(),
            false => format!("{line}\n"),
        })
        .collect();
    for (hint, causes) in down(&world, &ini, "authentication") {
        assert!(causes.contains("tried publickey ") && causes.contains(&others), "{causes}");
        assert!(causes.contains("publickey"), "{causes}");
        assert!(hint.contains("`privkey_path`") && hint.contains("ssh-add"), "{hint}");
    }
}

#[test]
fn a_wrong_password_is_told_and_not_shown() {
    for server in [
        Sshd::builder().name("server1").password("right").start(),
        Dropbear::builder().name("server1").password("right").start(),
    ] {
        let world = World::new();
        let ini = world.env.use_servers(&[&server]);
        world.env.write_geto_ini(&format!("{ini}[server1]\npassword=wr0ng\n"));
        let ran = world.geto(&["hosts", "--check"]);
        assert_eq!(ran.code(), 1);
        assert!(ran.text().contains(" authentication"), "{ran:?}");
        assert!(ran.stderr.contains("tried password of geto.ini"), "{ran:?}");
        assert!(ran.stderr.contains("hint: "), "{ran:?}");
        assert!(!ran.stderr.contains("wr0ng"), "{ran:?}");
    }
}

#[test]
fn an_account_without_a_shell_says_what_helps() {
    let server = Sshd::builder().name("server1").config("ForceCommand internal-sftp").start();
    let world = World::new();
    let ini = world.env.use_servers(&[&server]);
    world.env.write_geto_ini(&ini);
    let ran = world.geto(&["hosts", "--check"]);
    assert_eq!(ran.code(), 1);
    assert!(ran.stderr.contains("geto needs an account with a shell"), "{ran:?}");
}

#[test]
fn faults_are_messages_beside_the_table() {
    let world = World::new();
    let path = fake_program(&world, "nothing", "");
    let machine = Machine::new().tmpfs("/srv", 2 << 30);
    let server = Sshd::builder().name("server1").set_env("PATH", &path).machine(machine).start();
    let ini = world.env.use_servers(&[&server]);
    world.env.write_geto_ini(&ini.replace("[geto]\n", "[geto]\nremote_work_path=/srv/geto\n"));
    let ran = world.geto(&["hosts", "--check"]);
    assert_eq!((ran.code(), ran.text().lines().count()), (0, 2), "{ran:?}");
    insta::assert_snapshot!(without_uid(&ran.stderr), @"
    geto: warning: `server1`: `/srv/geto/<uid>` is in memory (tmpfs): results that were not fetched are lost at a reboot
      hint: set `remote_work_path` in geto.ini to a directory elsewhere
    ");
    assert_eq!(world.geto(&["hosts", "--check", "-q"]).stderr, "");
}
