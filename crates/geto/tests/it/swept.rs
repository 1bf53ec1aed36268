//! What hosts keep for a while, and for how long.

use std::path::{Path, PathBuf};
use std::process::Command;

use geto::{Script, Task};

use crate::attach::under_each_system_shell;
use crate::support::{Place, machines, under_each_shell};

/// One session in sixteen sweeps.
const SESSIONS: usize = 300;

/// Makes a file that is so old.
fn make(file: PathBuf, age: &str) -> PathBuf {
    fs_err::create_dir_all(file.parent().unwrap()).unwrap();
    fs_err::write(&file, "").unwrap();
    touch(&file, age);
    file
}

fn touch(file: &Path, age: &str) {
    let touched = Command::new("touch").args(["-d", age]).arg(file).status();
    assert!(touched.unwrap().success());
}

/// Tombstones, beginnings of archives and numbers of processes go after two days; not those of a task
/// that is there, and never those of another machine with the same home.
#[test]
fn what_uploads_and_removed_tasks_leave_is_swept_after_two_days() {
    under_each_shell(|transport, _| async move {
        let place = Place::new();
        let task = Task::new(Script::from_commands("t", ["true"]));
        let kept = place.fleet();
        let kept = kept.run_on_host(&task, &place.host.name).keep(true).over(transport.clone());
        let kept = kept.await.unwrap();
        let machines = machines(&place.dir.path().join("work"));
        let machine = machines.iter().find(|path| path.join("tasks").exists()).unwrap();
        let other = machine.with_file_name("another-machine");
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for kind in ["gone", "parts", "pids"] {
            go.push(make(machine.join(kind).join("0000-0000-0000-0001"), "49 hours ago"));
            stay.push(make(machine.join(kind).join("0000-0000-0000-0002"), "47 hours ago"));
            stay.push(make(other.join(kind).join("0000-0000-0000-0003"), "99 days ago"));
        }
        let task_id = kept.id.to_string();
        stay.push(machine.join("pids").join(&task_id));
        touch(stay.last().unwrap(), "99 days ago");
        stay.push(machine.join("tasks").join(&task_id));
        touch(stay.last().unwrap(), "99 days ago");
        stay.push(make(other.join("tasks/0000-0000-0000-0003/claim"), "99 days ago"));
        let mut sessions = 0;
        while go.iter().any(|file| file.exists()) {
            assert!(sessions < SESSIONS, "{go:?}");
            sessions += 1;
            place.run(&task, &transport).await;
        }
        for file in stay {
            assert!(file.exists(), "{}", file.display());
        }
    });
}

/// A session or a supervisor that was killed between making its file and writing who it is.
#[test]
fn what_nobody_has_put_a_name_to_is_removed_after_a_while() {
    under_each_system_shell(async |world| {
        let id = world.start(&world.task()).await;
        let place = world.directories()[0].parent().unwrap().to_owned();
        let make = |number: u8, age: &str| {
            let task = place.join(format!("0000-0000-0000-000{number}"));
            fs_err::create_dir_all(task.join("dir")).unwrap();
            if number.is_multiple_of(2) {
                fs_err::write(task.join("claim"), "nonce 0:0 1:1\n").unwrap();
                fs_err::write(task.join("supervisor"), "").unwrap();
                touch(&task.join("supervisor"), age);
            }
            touch(&task, age);
            task
        };
        let old = [1, 2].map(|number| make(number, "3 minutes ago"));
        let new = [3, 4].map(|number| make(number, "now"));
        let listed = world.tasks().await;
        assert_eq!(listed.len(), 3, "{listed:?}");
        assert!(listed.iter().any(|task| task.id == id));
        assert!(old.iter().all(|task| !task.exists()));
        assert!(new.iter().all(|task| task.exists()));
    });
}
