//! Commands of a joblog, as the machine's own shells read them. Without the shells the test fails.

#![expect(clippy::disallowed_types, reason = "this is where the pure code meets real programs")]

use std::process::Command;

use geto_core::map::inputs::Input;
use geto_core::map::joblog::{Entry, command_line};
use geto_core::map::key::Key;

/// Those that know `$'…'`; dash and yash don't.
const SHELLS: [&[&str]; 5] = [&["bash"], &["ksh93"], &["mksh"], &["zsh"], &["busybox", "ash"]];

#[test]
fn shells_read_the_words_that_were_written_and_no_key() {
    let mut words: Vec<Vec<u8>> = (1..=255).map(|byte| vec![byte]).collect();
    words.extend((1..=255).map(|byte| vec![b'\'', byte, b'7', b'\n', b'f', b' ']));
    for word in
        ["", "a b", "it's", "$(id) `id` $HOME", "*", "~", "=ls", "-n", "#x", "{a,b}", "ü\u{85}"]
    {
        words.push(word.as_bytes().to_vec());
    }
    let printf = [&b"printf"[..], br"%s\0"];
    let command = command_line(printf.into_iter().chain(words.iter().map(Vec::as_slice)));
    let key = Some(Key::of_input([], &Input::default()));
    let line = Entry { command, key, ..Entry::default() }.line();
    let command = line.split('\t').nth(8).unwrap().trim_end_matches('\n');
    assert!(command.contains(" # geto:"));
    let mut expected = words.join(&0);
    expected.push(0);
    for shell in SHELLS {
        let output =
            Command::new(shell[0]).args(&shell[1..]).args(["-c", command]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shell:?}");
        assert!(output.stdout == expected, "{shell:?} reads other words");
    }
}
