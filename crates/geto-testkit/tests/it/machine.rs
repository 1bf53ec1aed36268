//! What sessions see.

use geto_testkit::{Machine, Sshd, login_shells, system_shells};

use crate::stdout;

#[test]
fn every_login_shell_runs_the_command_and_reads_its_startup_file() {
    for shell in login_shells() {
        let noise = "echo out; echo err >&2\n";
        // tcsh has no redirection of stderr alone.
        let noise = if shell.name == "tcsh" { "echo out; sh -c 'echo err >&2'\n" } else { noise };
        let machine = Machine::new().login_shell(&shell.path).startup_file(noise);
        let server = Sshd::builder().machine(machine).start();
        let output = server.ssh().arg("sh -c 'ps -o comm= -p $PPID'; echo done").output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let reads = ["bash", "zsh", "fish", "tcsh"].contains(&shell.name);
        assert_eq!(out.starts_with("out\n"), reads, "{shell:?} {output:?}");
        assert_eq!(err.contains("err\n"), reads, "{shell:?} {output:?}");
        assert!(out.ends_with("done\n"), "{shell:?} {output:?}");
        assert!(out.contains(shell.name), "{shell:?} {output:?}");
    }
}

#[test]
fn system_shell_is_behind_bin_sh() {
    let probe = "/bin/sh -c 'echo ${BASH_VERSION:+bash}${ZSH_VERSION:+zsh}${KSH_VERSION:+ksh}'";
    let mut seen = Vec::new();
    for shell in system_shells() {
        let machine = Machine::new().system_shell(&shell.path).login_shell("/bin/bash");
        let server = Sshd::builder().machine(machine).start();
        seen.push(stdout(server.ssh().arg(probe)).trim().to_owned());
        let program = stdout(
            server.ssh().arg("/bin/sh -c 'cmp /proc/$$/exe $1 && echo same' sh ").arg(&shell.path),
        );
        assert_eq!(program, "same\n", "{shell:?}");
    }
    assert_eq!(seen, ["", "bash", "", "ksh", "ksh", "zsh"]);
}

#[test]
fn sessions_see_an_empty_proc() {
    let server = Sshd::builder().machine(Machine::new().no_proc()).start();
    assert_eq!(stdout(server.ssh().arg("ls -A /proc; ls /proc/self 2>&1 | wc -l")), "1\n");
}

#[test]
fn mounts_are_small_or_noexec_or_read_only() {
    let machine = Machine::new().tmpfs("~/small", 65_536).noexec("~/noexec").read_only("~/ro");
    let server = Sshd::builder().machine(machine).start();
    let text = stdout(server.ssh().arg(
        "cp /bin/true noexec/; noexec/true; echo $?; touch ro/file; echo $?; \
         dd if=/dev/zero of=small/file bs=1024 count=100 2>/dev/null; echo $?; exit 0",
    ));
    assert_eq!(text, "126\n1\n1\n");
    assert_eq!(fs_err::metadata(server.inside("~/small/file")).unwrap().len(), 65_536);
    assert_eq!(fs_err::read_dir(server.home().join("small")).unwrap().count(), 0);
}
