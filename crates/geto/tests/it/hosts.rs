//! What hosts say of themselves, under each shell that /bin/sh may be.

use std::os::unix::fs::PermissionsExt as _;

use geto::{FaultKind, Fleet, Host};
use geto_testkit::{Machine, Sshd, system_shells};

use crate::support::runtime;

#[test]
fn each_shell_tells_all_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let open =
        |path| fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(dir.path());
    let program = dir.path().join("nvidia-smi");
    fs_err::write(&program, "#!/bin/sh\necho 'GPU 0: *'; echo none; echo 'GPU 1: *'\n").unwrap();
    open(&program);
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    for shell in system_shells() {
        eprintln!("{}", shell.name);
        let machine =
            Machine::new().system_shell(shell.path).noexec("/srv").tmpfs("/etc/systemd", 1 << 20);
        let server = Sshd::builder()
            .machine(machine)
            .set_env("PATH", &path)
            .set_env("XDG_SESSION_ID", "c1")
            .start();
        let logind = "[Login]\nKillUserProcesses=no\nKillExcludeUsers=\n";
        fs_err::write(server.inside("/etc/systemd/logind.conf"), logind).unwrap();
        let drop_ins = server.inside("/etc/systemd/logind.conf.d");
        fs_err::create_dir(&drop_ins).unwrap();
        fs_err::write(drop_ins.join("a b.conf"), "KillUserProcesses=yes").unwrap();
        let mut host = Host::new(server.name());
        host.ssh_config_path = Some(server.ssh_config());
        host.remote_work_path = "/srv/geto".to_owned();
        let fleet = Fleet::new([host.clone()], dir.path());
        let (checkup, again) = runtime().block_on(async {
            let checkup = fleet.check(&host).await.unwrap();
            let mut observer = fleet.observe(&host).await.unwrap();
            observer.status().await.unwrap();
            (checkup, observer.status().await.unwrap())
        });
        let kinds: Vec<FaultKind> = checkup.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds[..2], [FaultKind::NoExec, FaultKind::Volatile], "{:?}", checkup.faults);
        assert_eq!(kinds.last(), Some(&FaultKind::Logind), "{:?}", checkup.faults);
        for status in [checkup.status, again] {
            assert_eq!(status.gpus, 2);
            assert!(status.load.is_some() && status.processors.is_some(), "{status:?}");
            assert!(status.free_memory.is_some() && status.free_disk.is_some(), "{status:?}");
            assert!(status.work_path.starts_with("/srv/geto"), "{status:?}");
            assert_eq!((status.user.as_str(), status.noise.as_str()), (server.user(), ""));
        }
    }
}

#[test]
fn a_host_with_next_to_nothing_tells_what_it_can() {
    // And almost nothing else: what geto needs to run a task.
    let tools = ["sh", "dd", "mkdir", "rm", "cat", "sleep", "chmod", "printf"];
    let machine = Machine::new().no_proc().only_tools(&tools);
    let server = Sshd::builder().machine(machine).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config());
    let fleet = Fleet::new([host.clone()], "/nowhere");
    let checkup = runtime().block_on(async { fleet.check(&host).await.unwrap() });
    let status = &checkup.status;
    assert_eq!((status.load, status.processors), (None, None));
    assert_eq!((status.free_memory, status.free_disk, status.gpus), (None, None, 0));
    assert_eq!((status.system.as_str(), status.missing.join(",").as_str()), ("", "tar,setsid"));
}
