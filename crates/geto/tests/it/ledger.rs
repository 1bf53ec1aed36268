//! What is kept of what was started.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use geto::{
    ErrorKind, Event, Fleet, Host, Ledger, LedgerEntry, LedgerFilter, Outcome, Script, Task, TaskId,
};
use geto_testkit::{Cut, Proxy, Sshd};
use rusqlite::Connection;

use crate::support::{Place, kind, runtime};

fn task(line: &str) -> Task {
    Task::new(Script::from_commands("job", [line]))
}

/// Runs on the built-in host; returns what was warned of.
fn run(place: &Place, task: &Task) -> (Result<geto::Results, geto::Error>, Vec<String>) {
    let fleet = place.fleet();
    runtime().block_on(run_with(&fleet, task))
}

async fn run_with(fleet: &Fleet, task: &Task) -> (Result<geto::Results, geto::Error>, Vec<String>) {
    let mut warnings = Vec::new();
    let run = fleet.run_on_host(task, "local").follow(|event| {
        if let Event::Warning(text) = event {
            warnings.push(text);
        }
    });
    let ended = run.await;
    (ended, warnings)
}

fn ledger(place: &Place) -> Ledger {
    place.fleet().ledger().unwrap().unwrap()
}

fn newest(place: &Place) -> LedgerEntry {
    ledger(place).last().unwrap().unwrap()
}

#[test]
fn a_run_is_kept_with_its_host_its_end_and_its_results() {
    let place = Place::new();
    assert!(place.fleet().ledger().unwrap().is_none(), "nothing was started yet");
    let results = run(&place, &task("echo x >f; exit 3")).0.unwrap();
    let entry = newest(&place);
    assert_eq!((entry.id, &*entry.script), (results.id, "job"));
    assert_eq!(entry.outcome, Some(Outcome::Exited { code: 3 }));
    assert_eq!((entry.state(), entry.error, entry.on_host), ("exited", None, Some(false)));
    assert_eq!((&entry.results, entry.results_removed), (&Some(results.directory), false));
    assert_eq!(entry.files, results.files);
    let milliseconds =
        |time: Duration| Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000);
    assert_eq!(entry.run_time, Some(milliseconds(results.run_time)));
    assert_eq!(entry.started, Some(milliseconds(results.started)));
    assert!(entry.asked <= results.started && entry.ended >= entry.started, "{entry:?}");
    assert!(entry.directory.unwrap().contains(&results.id.to_string()));
    let host = entry.host.to_host();
    assert_eq!((&host.name, host.transport), (&place.host.name, place.host.transport));
    assert_eq!(host.remote_work_path, place.host.remote_work_path);
    let path = ledger(&place).path().to_owned();
    for path in [path.clone(), path.with_extension("db-wal")] {
        assert_eq!(fs_err::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_task_that_was_not_started_is_kept_as_such() {
    let place = Place::new();
    let script = Script::from_commands("job", ["#!/no/such/interpreter"]);
    let error = run(&place, &Task::new(script)).0.unwrap_err();
    let entry = newest(&place);
    assert_eq!((Some(entry.id), entry.error), (error.task(), Some(ErrorKind::NotStarted)));
    assert_eq!((entry.outcome, entry.started, entry.on_host), (None, None, Some(false)));
    assert!(ledger(&place).unfinished().unwrap().is_empty());
}

#[test]
fn a_task_that_is_lost_is_kept_with_what_finds_it_again() {
    let server = Sshd::builder().start();
    let proxy = Proxy::builder(server.address()).start();
    let mut host = Host::new(server.name());
    host.ssh_config_path = Some(server.ssh_config_via(proxy.address()));
    let place = Place::of(host);
    let fleet = place.fleet();
    let task = task("echo up; sleep 1000");
    let run = fleet.run_on_host(&task, server.name()).reconnect(Duration::ZERO);
    let run = run.follow(|event| {
        if kind(&event) == "stdout" {
            proxy.cut(Cut::Reset);
        }
    });
    let error = runtime().block_on(run.into_future()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    let unfinished = ledger(&place).unfinished().unwrap();
    let [entry] = &unfinished[..] else { panic!("{unfinished:?}") };
    assert_eq!((Some(entry.id), entry.state()), (error.task(), "lost"));
    assert_eq!((&entry.outcome, entry.on_host), (&None, None));
    assert!(entry.started.is_some() && entry.directory.is_some());
    let host = entry.host.to_host();
    assert_eq!(host.ssh_config_path, place.host.ssh_config_path);
    assert_eq!(host.address, place.host.address);
    server.kill_processes();
}

#[test]
fn a_task_is_left_once_its_start_is_written() {
    let place = Place::new();
    let fleet = place.fleet();
    let path = Ledger::open(fleet.local_work_path()).unwrap().path().to_owned();
    let runs = place.dir.path().join("runs");
    let mut task = task(&format!("sleep 0.3; echo >'{}'", runs.display()));
    task.max_results = Some(1 << 20);
    let mut other = Some(Connection::open(path).unwrap());
    let run = fleet.run_on_host(&task, "local").keep(true).follow(|event| match event {
        // From here on nobody else may write until the script has run for a while.
        Event::Slot { .. } => {
            other.as_ref().unwrap().execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        Event::Started { .. } => {
            let (other, runs) = (other.take().unwrap(), runs.clone());
            std::thread::spawn(move || {
                while !runs.exists() {
                    std::thread::yield_now();
                }
                other.execute_batch("ROLLBACK").unwrap();
            });
        }
        _ => {}
    });
    let left = runtime().block_on(run.detach()).unwrap();
    let entry = newest(&place);
    assert_eq!((entry.id, entry.directory), (left.id, Some(left.directory)));
    // Whoever goes on does as was asked for.
    assert_eq!((entry.max_results, entry.keep), (Some(1 << 20), true));
    let end = fleet.attach(place.host.clone(), left.id).watch();
    assert_eq!(runtime().block_on(end).unwrap(), Some(Outcome::Exited { code: 0 }));
}

#[test]
fn a_ledger_of_an_older_geto_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let id = TaskId::from_bits(1);
    ledger.record_start(&LedgerEntry::new(id, "job", &Host::local())).unwrap();
    let older = Connection::open(ledger.path()).unwrap();
    drop(ledger);
    let back = "ALTER TABLE tasks DROP COLUMN max_results; ALTER TABLE tasks DROP COLUMN keep; \
                PRAGMA user_version = 2";
    older.execute_batch(back).unwrap();
    let entry = Ledger::open(dir.path()).unwrap().entry(id).unwrap().unwrap();
    assert_eq!((&*entry.script, entry.max_results, entry.keep), ("job", None, false));
}

/// Makes a file that is no ledger of this version.
type Spoil = fn(&Path);

/// The state of a file that nobody may have touched.
fn content(path: &Path) -> Vec<u8> {
    fs_err::read(path).unwrap()
}

#[test]
fn a_ledger_that_can_not_be_used_is_told_once_and_stops_no_task() {
    let newer = |path: &Path| {
        let newer = Connection::open(path).unwrap();
        newer.execute_batch("CREATE TABLE later (x); PRAGMA user_version = 99").unwrap();
    };
    let corrupt = |path: &Path| fs_err::write(path, [b'x'; 8192]).unwrap();
    let blocked = |path: &Path| fs_err::create_dir(path).unwrap();
    let cases: [(Spoil, &str, &str); 3] = [
        (newer, "a newer geto has written it", "use the newer geto"),
        (corrupt, "file is not a database", "move it away"),
        (blocked, "unable to open database file", "make it writable"),
    ];
    for (spoil, cause, advice) in cases {
        let place = Place::new();
        let results = place.dir.path().join("results");
        fs_err::create_dir(&results).unwrap();
        let path = results.join(Ledger::FILE);
        spoil(&path);
        let before = path.is_file().then(|| content(&path));
        let fleet = place.fleet();
        runtime().block_on(async {
            let (ended, warnings) = run_with(&fleet, &task("exit 4")).await;
            assert_eq!(ended.unwrap().outcome, Outcome::Exited { code: 4 });
            let [warning] = &warnings[..] else { panic!("{warnings:?}") };
            assert!(warning.contains(cause) && warning.contains(advice), "{warning}");
            let (ended, warnings) = run_with(&fleet, &task("exit 5")).await;
            assert_eq!(ended.unwrap().outcome, Outcome::Exited { code: 5 });
            assert_eq!(warnings, [""; 0]);
        });
        assert_eq!(path.is_file().then(|| content(&path)), before, "{cause}");
        let error = place.fleet().ledger().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Local);
        assert!(error.hint().unwrap().contains(advice), "{error:?}");
    }
}

#[test]
fn many_may_make_and_use_a_ledger_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("results");
    std::thread::scope(|scope| {
        for number in 0..16 {
            let path = &path;
            scope.spawn(move || {
                let ledger = Ledger::open(path).unwrap();
                for task in 0..20 {
                    let id = TaskId::from_bits(number * 1000 + task);
                    let entry = LedgerEntry::new(id, "job", &Host::local());
                    ledger.record_start(&entry).unwrap();
                    let outcome = Outcome::Signalled { signal: 9 };
                    ledger.record_outcome(id, &outcome, Duration::from_millis(5)).unwrap();
                    assert_eq!(ledger.entry(id).unwrap().unwrap().outcome, Some(outcome));
                }
            });
        }
    });
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(ledger.list(&LedgerFilter::default()).unwrap().len(), 320);
}

#[test]
fn a_word_means_an_id_what_ids_begin_with_or_a_script() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    let add = |bits: u64, script: &str, asked: u64| {
        let mut entry = LedgerEntry::new(TaskId::from_bits(bits), script, &Host::local());
        entry.asked = Duration::from_secs(asked);
        ledger.record_start(&entry).unwrap();
        entry.id
    };
    let one = add(0xabcd_0000_0000_0001, "job", 1);
    let two = add(0xabce_0000_0000_0002, "job", 2);
    let three = add(0x1234_0000_0000_0003, "other", 3);
    let found = |word: &str| -> Vec<TaskId> {
        ledger.find(word).unwrap().iter().map(|entry| entry.id).collect()
    };
    assert_eq!(found(&one.to_string()), [one]);
    assert_eq!(
        (found("abcd"), found("abc"), found("abcd-0")),
        (vec![one], vec![two, one], vec![one])
    );
    assert_eq!(
        (found("job"), found("other"), found("nothing")),
        (vec![two, one], vec![three], vec![])
    );
    assert_eq!((found("*"), found("")), (vec![], vec![]));
    let four = add(0x5678_0000_0000_0004, "abce", 4);
    assert_eq!(found("abce"), [four], "a name that is the beginning of an id is a name");
    ledger.record_removed(four).unwrap();
    ledger.record_outcome(four, &Outcome::TimedOut, Duration::ZERO).unwrap();
    for id in [one, two] {
        ledger.record_outcome(id, &Outcome::TimedOut, Duration::ZERO).unwrap();
    }
    assert_eq!(found("job"), [two], "none runs: the newest is meant");
    assert_eq!(ledger.last().unwrap().unwrap().id, four);
    assert_eq!(ledger.unfinished().unwrap().len(), 1);
    ledger.record_removed(three).unwrap();
    assert_eq!(ledger.unfinished().unwrap(), [], "it is not there any more");
    ledger.record_removed(two).unwrap();
    assert_eq!(ledger.entry(two).unwrap().unwrap().on_host, Some(false));
    ledger.forget(two).unwrap();
    assert_eq!(ledger.entry(two).unwrap(), None);
}
