//! What the documents say of the tests.

use std::path::PathBuf;

/// Where the tests of each prefix are, below `crates`.
const PLACES: [(&str, &str); 6] = [
    ("cli", "geto-cli/tests/it"),
    ("it", "geto/tests/it"),
    ("transport", "geto/tests/transport"),
    ("results", "geto/src/results/tests"),
    ("geto-core/tests", "geto-core/tests"),
    ("python", "geto-python/tests"),
];

#[test]
fn each_test_that_the_guarantees_name_is_there() {
    let crates = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let text = fs_err::read_to_string(crates.join("../docs/guarantees.md")).unwrap();
    let mut seen = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let mut parts = word.split("::").collect::<Vec<_>>();
        let Some((prefix, place)) = PLACES.iter().find(|(prefix, _)| *prefix == parts[0]) else {
            continue;
        };
        let directory = crates.join(place);
        let (suffix, function) = match *prefix {
            "python" => ("py", "def"),
            _ => ("rs", "fn"),
        };
        parts.remove(0);
        let module = parts.first().map(|module| directory.join(format!("{module}.{suffix}")));
        let file = match module {
            None => continue,
            Some(module) if module.exists() => {
                parts.remove(0);
                module
            }
            // A test of the module itself.
            Some(_) => directory.with_extension("rs"),
        };
        let tests = fs_err::read_to_string(&file)
            .unwrap_or_else(|error| panic!("`{word}` is not there: {error}"));
        let is_there = match &parts[..] {
            [] => true,
            [name] => tests.contains(&format!("{function} {name}(")),
            _ => false,
        };
        assert!(is_there, "`{word}` is not there");
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}
