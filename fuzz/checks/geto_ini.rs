//! A geto.ini: hosts or an error that can be shown.

use geto_core::config::{Config, Places};

/// Reads the bytes, and once more with the ends of line of Windows.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = |text: &str| Config::parse("geto.ini", text, &Places::default());
    let config = read(&text);
    if !text.contains('\r') {
        assert_eq!(read(&text.replace('\n', "\r\n")), config);
    }
    match config {
        Ok(config) => assert!(!config.hosts.is_empty()),
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("geto.ini"), "{said:?}");
            assert!(!said.chars().any(char::is_control), "{said:?}");
        }
    }
}
