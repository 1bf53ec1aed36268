//! A file of variables: what is read can be written and read again, and errors can be shown.

use geto_core::envfile::{EnvWord, parse_env_file, parse_env_word};

/// Reads the bytes as a file and as a word of `-e`.
pub(crate) fn check(input: &[u8]) {
    if let Ok(EnvWord::Set(name, value)) = parse_env_word(input) {
        assert_eq!([name.as_bytes(), b"=", value.expose()].concat(), input);
    }
    let pairs = match parse_env_file("file", input) {
        Ok(pairs) => pairs,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            let lines = input.iter().filter(|byte| **byte == b'\n').count() + 1;
            assert!((1..=lines).contains(&error.line()), "{} of {lines}", error.line());
            return;
        }
    };
    let mut written = Vec::new();
    for (name, value) in &pairs {
        written.extend_from_slice(format!("{name}=\"").as_bytes());
        for byte in value.expose() {
            if matches!(byte, b'\\' | b'"' | b'$' | b'`') {
                written.push(b'\\');
            }
            written.push(*byte);
        }
        written.extend_from_slice(b"\"\n");
    }
    assert_eq!(parse_env_file("file", &written), Ok(pairs));
}
