use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Outcome;
use crate::map::inputs::Input;
use crate::map::key::Key;

/// Written by GNU parallel 20221122: exit values, a signal, a timeout, a tab, a line feed (as NUL), a
/// byte that is no UTF-8, a host.
const GNU_PARALLEL: &[u8] =
    b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n\
1\t:\t1795573795.064\t     0.012\t0\t2\t0\t0\techo 0; sh -c \"exit 0\"\n\
2\t:\t1795573795.076\t     0.019\t0\t2\t1\t0\techo 1; sh -c \"exit 1\"\n\
3\t:\t1795573795.269\t     0.000\t0\t0\t0\t9\tkill -9 $$ # 'tab\tx'\n\
4\t:\t1795573795.378\t     1.764\t0\t0\t-1\t15\tsleep 5\n\
5\tserver1\t1795573797.490\t     0.003\t7\t2\t0\t0\techo '\xff'\n\
6\t:\t1795573955.251\t     0.004\t0\t0\t0\t0\techo 'a\0b' >/dev/null\n";

fn entries(log: &[u8]) -> (Vec<Entry>, Reading) {
    let mut entries = Vec::new();
    let reading = read(log, |entry| entries.push(entry)).unwrap();
    (entries, reading)
}

fn key(value: &str) -> Key {
    Key::of_input([], &Input::from_values([value.as_bytes().to_vec()]))
}

fn entry(sequence: u64, value: &str, exit_value: i32) -> Entry {
    Entry { sequence, exit_value, key: Some(key(value)), ..Entry::default() }
}

#[test]
fn logs_of_gnu_parallel_are_read() {
    let (entries, reading) = entries(GNU_PARALLEL);
    assert_eq!(reading.entries, 6);
    assert_eq!(reading.whole_bytes, GNU_PARALLEL.len() as u64);
    assert_eq!(reading.warnings, []);
    assert_eq!(
        entries.iter().map(Entry::success).collect::<Vec<_>>(),
        [true, false, false, false, true, true]
    );
    assert_eq!(entries[0].started, Duration::from_millis(1_795_573_795_064));
    assert_eq!(
        (entries[3].ran, entries[3].exit_value, entries[3].signal),
        (Duration::from_millis(1764), -1, 15)
    );
    assert_eq!((entries[4].host.as_str(), entries[4].sent, entries[4].received), ("server1", 7, 2));
    assert_eq!(entries[2].command, "kill -9 $$ # 'tab\tx'");
    assert_eq!(entries[5].command, "echo 'a\nb' >/dev/null");
}

#[test]
fn lines_are_those_of_gnu_parallel_with_a_key_as_a_comment() {
    let words: [&[u8]; 2] = [b"render.sh", b"it's\ta"];
    let entry = Entry {
        sequence: 3,
        host: "gpu".to_owned(),
        started: Duration::from_micros(1_795_573_795_064_900),
        ran: Duration::from_millis(12_500),
        sent: 1,
        received: 2,
        exit_value: 4,
        signal: 0,
        command: command_line(words),
        key: Some(key("x")),
    };
    insta::assert_snapshot!(entry.line().replace('\t', "|"), @r"3|gpu|1795573795.064|    12.500|1|2|4|0|render.sh $'it\'s\ta' # geto:ab37f78b74669a5a1e9686ed9dd4c5fc");
}

#[test]
fn a_torn_last_line_is_left_out() {
    let whole = GNU_PARALLEL.len() as u64;
    for torn in [&b"7"[..], b"7\t:\t1795573955.251\t     0.004\t0\t0\t0\t0\techo"] {
        let (entries, reading) = entries(&[GNU_PARALLEL, torn].concat());
        assert_eq!(entries.len(), 6);
        assert_eq!(reading.whole_bytes, whole);
        assert_eq!(reading.warnings, [Warning::Torn { line: 8 }]);
    }
    let (_, header) = entries(&HEADER.as_bytes()[..10]);
    assert_eq!((header.whole_bytes, header.warnings), (0, vec![Warning::Torn { line: 1 }]));
    assert_eq!(entries(b"").1, Reading::default());
}

#[test]
fn lines_that_are_none_are_left_out_and_told_of() {
    let log = [GNU_PARALLEL, b"\nx\n", &"y\n".repeat(20).into_bytes(), GNU_PARALLEL].concat();
    let (entries, reading) = entries(&log);
    assert_eq!(entries.len(), 12);
    assert_eq!(reading.warnings[0], Warning::NoEntry { line: 8 });
    assert_eq!(reading.warnings.len(), 10);
    assert_eq!(reading.whole_bytes, log.len() as u64);
}

#[test]
fn other_files_are_refused() {
    for file in ["#!/bin/sh\n", "Seq\n", "\n", "x"] {
        assert!(matches!(read(file.as_bytes(), |_| {}), Err(JoblogError::NoJoblog)), "{file}");
    }
    // `parallel --joblog +FILE` writes no header.
    assert_eq!(entries(&GNU_PARALLEL[HEADER.len()..]).1.entries, 6);
}

#[test]
fn outcomes_have_the_exit_codes_of_run() {
    for (outcome, expected) in [
        (Outcome::Exited { code: 7 }, Some((7, 0))),
        (Outcome::Signalled { signal: 9 }, Some((0, 9))),
        (Outcome::TimedOut, Some((124, 0))),
        (Outcome::Lost { reason: String::new() }, Some((123, 0))),
        (Outcome::Cancelled, None),
        (Outcome::Running, None),
    ] {
        assert_eq!(exit_and_signal(&outcome), expected, "{outcome}");
    }
}

#[test]
fn what_ended_or_what_succeeded_is_skipped() {
    let log = [entry(1, "ok", 0), entry(2, "bad", 1), entry(3, "mended", 1), entry(3, "mended", 0)];
    let skipped = |mode| {
        let mut resume = Resume::new(mode);
        log.iter().for_each(|entry| resume.add(entry));
        ["ok", "bad", "mended", "new", "ok"]
            .map(|value| resume.take(key(value), "") == Before::Done)
    };
    // The second `ok` is a task that the log doesn't know.
    assert_eq!(skipped(ResumeMode::Ended), [true, true, true, false, false]);
    assert_eq!(skipped(ResumeMode::Succeeded), [true, false, true, false, false]);
}

#[test]
fn of_equal_tasks_as_many_are_skipped_as_are_done() {
    let skipped = |log: &[(u64, i32)], mode| {
        let mut resume = Resume::new(mode);
        log.iter().for_each(|(sequence, exit)| resume.add(&entry(*sequence, "x", *exit)));
        (0..4).filter(|_| resume.take(key("x"), "") == Before::Done).count()
    };
    for (log, ended, succeeded) in [
        (&[(1, 0), (2, 0)][..], 2, 2),
        (&[(1, 1), (2, 0)], 2, 1),
        (&[(1, 1), (2, 1), (3, 0), (2, 0)], 3, 2),
        (&[(1, 0), (1, 0)], 1, 1),
        (&[(1, 0), (1, 1)], 1, 0),
        (&[], 0, 0),
    ] {
        assert_eq!(skipped(log, ResumeMode::Ended), ended, "{log:?}");
        assert_eq!(skipped(log, ResumeMode::Succeeded), succeeded, "{log:?}");
    }
    // Of two equal tasks, the first found succeeded: the next is the one to repeat.
    let mut resume = Resume::new(ResumeMode::Succeeded);
    [entry(1, "x", 1), entry(2, "x", 0)].iter().for_each(|entry| resume.add(entry));
    assert_eq!([(); 2].map(|()| resume.take(key("x"), "")), [Before::Done, Before::Failed]);
}

#[test]
fn lines_without_keys_are_known_by_their_commands() {
    let mut resume = Resume::new(ResumeMode::Succeeded);
    read(GNU_PARALLEL, |entry| resume.add(&entry)).unwrap();
    assert_eq!(resume.take(key("x"), "sleep 5"), Before::Failed);
    assert_eq!(resume.take(key("x"), "echo 0; sh -c \"exit 0\""), Before::Done);
    assert_eq!(resume.take(key("x"), "echo 0; sh -c \"exit 0\""), Before::New);
}

#[test]
fn words_are_quoted_for_a_shell() {
    for (word, quoted) in [
        (&b"a-b_c/2.txt"[..], "a-b_c/2.txt"),
        (b"", "''"),
        (b"a b", "'a b'"),
        (b"A=b", "'A=b'"),
        (b"it's", r"'it'\''s'"),
        ("ü".as_bytes(), "'ü'"),
        (b"a\n\t\r\\'\x1b\xff9", r"$'a\n\t\r\\\'\033\3779'"),
    ] {
        assert_eq!(command_line([word]), quoted);
    }
    assert_eq!(command_line([&b"a"[..], b"b c"]), "a 'b c'");
}

proptest! {
    #[test]
    fn an_entry_is_one_line_and_is_read_again(
        words: Vec<Vec<u8>>,
        sequence: u64,
        // Exact in an f64 down to the millisecond.
        started in 0u64..4_000_000_000_000,
        ran in 0u64..1_000_000_000,
        exit_value: i32,
        value: String,
    ) {
        let entry = Entry {
            sequence,
            host: "h".to_owned(),
            started: Duration::from_millis(started),
            ran: Duration::from_millis(ran),
            sent: 1,
            received: u64::MAX,
            exit_value,
            signal: 0,
            command: command_line(words.iter().map(Vec::as_slice)),
            key: Some(key(&value)),
        };
        let line = entry.line();
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert_eq!(line.matches('\t').count(), 8);
        let read_again = Entry::parse(line.trim_end_matches('\n').as_bytes()).unwrap();
        prop_assert_eq!(read_again, entry);
    }

    #[test]
    fn no_bytes_make_it_panic(log: Vec<u8>) {
        let _read = read(&*log, |_| {});
        let _read = read(&*[HEADER.as_bytes(), &log].concat(), |_| {});
    }
}

#[test]
fn what_may_still_be_on_its_host_is_looked_for_there() {
    for (mode, repeats) in [(ResumeMode::Ended, false), (ResumeMode::Succeeded, true)] {
        let mut resume = Resume::new(mode);
        resume.add(&entry(1, "x", 123));
        assert_eq!(resume.take(key("x"), ""), Before::Kept { repeats });
        assert_eq!(resume.take(key("x"), ""), Before::New);
    }
}
