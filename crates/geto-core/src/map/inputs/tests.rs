use std::error::Error as _;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::map::template::Columns;

fn words(text: &str) -> Source {
    Source::words(text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
}

fn lines(text: &'static str) -> Source {
    Source::lines("list", text.as_bytes(), Ending::LineFeed)
}

fn shown(inputs: impl Iterator<Item = Result<Input, InputError>>) -> Vec<String> {
    inputs
        .map(|input| {
            let input = input.unwrap();
            input.values().iter().map(|v| String::from_utf8_lossy(v)).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

/// What GNU parallel 20221122 printed for `parallel -k echo` with these sources.
#[test]
fn sources_combine_as_in_gnu_parallel() {
    let cases: [(&str, Inputs, &[&str]); 7] = [
        (
            "::: A B ::: C D ::: E F",
            Inputs::new().cross(words("A B")).cross(words("C D")).cross(words("E F")),
            &["A C E", "A C F", "A D E", "A D F", "B C E", "B C F", "B D E", "B D F"],
        ),
        (
            "::: A B C :::+ D E",
            Inputs::new().cross(words("A B C")).link(words("D E")),
            &["A D", "B E"],
        ),
        (
            "::: A B :::+ D E F G ::: X Y",
            Inputs::new().cross(words("A B")).link(words("D E F G")).cross(words("X Y")),
            &["A D X", "A D Y", "B E X", "B E Y"],
        ),
        (
            "::: A B ::: D E F :::+ X Y",
            Inputs::new().cross(words("A B")).cross(words("D E F")).link(words("X Y")),
            &["A D X", "A E Y", "B D X", "B E Y"],
        ),
        (
            "::: A B :::+ C D :::+ E F G",
            Inputs::new().cross(words("A B")).link(words("C D")).link(words("E F G")),
            &["A C E", "B D F"],
        ),
        (
            "::: A B C :::+ D ::: E F :::+ G H I",
            Inputs::new()
                .cross(words("A B C"))
                .link(words("D"))
                .cross(words("E F"))
                .link(words("G H I")),
            &["A D E G", "A D F H"],
        ),
        (
            ":::: ab ::::+ 123 ::: x",
            Inputs::new().cross(lines("a\nb\n")).link(lines("1\n2\n3")).cross(words("x")),
            &["a 1 x", "b 2 x"],
        ),
    ];
    for (sources, inputs, expected) in cases {
        assert_eq!(shown(inputs), expected, "{sources}");
    }
}

#[test]
fn a_source_without_inputs_makes_no_tasks() {
    for inputs in [
        Inputs::new(),
        Inputs::new().cross(words("")),
        Inputs::new().cross(words("A B")).cross(words("")),
        Inputs::new().cross(words("")).cross(words("A B")),
        Inputs::new().cross(words("A B")).link(words("")),
    ] {
        assert_eq!(inputs.count(), 0);
    }
}

#[test]
fn lines_keep_all_bytes_but_their_ends() {
    assert_eq!(shown(lines("\n\na\r\n b \nlast")), ["", "", "a\r", " b ", "last"]);
    assert_eq!(shown(lines("a\n")), ["a"]);
    assert_eq!(shown(lines("")), [""; 0]);
    let nul = Source::lines("list", &b"a\nb\0\xff\0"[..], Ending::Nul);
    let values: Vec<_> = nul.records.map(|input| input.unwrap().values().to_vec()).collect();
    assert_eq!(values, [[b"a\nb".to_vec()], [b"\xff".to_vec()]]);
}

impl Iterator for Source {
    type Item = Result<Input, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next()
    }
}

/// As `parallel --colsep , --dry-run echo '[{1}] [{2}] …'` of GNU parallel 20221122 split them.
#[test]
fn columns_are_split_and_trimmed_as_in_gnu_parallel() {
    let split = |text: &'static str, separator: &str| {
        let mut source = lines(text).split(Separator::parse(separator).unwrap());
        source.next().unwrap().unwrap().values().to_vec()
    };
    assert_eq!(split("a , b", ","), [b"a", b"b"]);
    assert_eq!(split(" a,,c", ","), [&b"a"[..], b"", b"c"]);
    assert_eq!(split("a,,", ","), [&b"a"[..], b"", b""]);
    assert_eq!(split("a,b\tc", r"\t|,"), [b"a", b"b", b"c"]);
    assert_eq!(split("\n", ","), [b""]);
    let of_two = Inputs::new()
        .cross(words("a,b c,d").split(Separator::parse(",").unwrap()))
        .cross(words("e f").split(Separator::parse(",").unwrap()));
    assert_eq!(of_two.width(), None);
    assert_eq!(shown(of_two), ["a b e", "a b f", "c d e", "c d f"]);
    insta::assert_snapshot!(Separator::parse("(").unwrap_err(), @"`(` is no regular expression that could separate columns");
}

#[test]
fn csv_has_columns_with_names() {
    let text = "\u{feff}name,size\n\"x, \"\"y\"\"\",3\n\nü,\"two\nlines\"\n";
    let csv = Source::csv("t.csv", text.as_bytes(), b',').unwrap();
    assert_eq!(csv.columns(), &Columns::Known(vec!["name".to_owned(), "size".to_owned()]));
    // Places of columns move with what stands before them.
    let inputs = Inputs::new().cross(words("w")).cross(csv);
    assert_eq!(inputs.width(), Some(3));
    let inputs: Vec<_> = inputs.map(Result::unwrap).collect();
    assert_eq!(inputs.len(), 2);
    assert_eq!(inputs[0].values(), [&b"w"[..], b"x, \"y\"", b"3"]);
    assert_eq!(inputs[0].named("name"), Some(&b"x, \"y\""[..]));
    assert_eq!(inputs[1].named("size"), Some(&b"two\nlines"[..]));
    assert_eq!(inputs[1].named("other"), None);
}

#[test]
fn json_lines_have_keys_as_text() {
    let text = r#"{"id": 12345678901234567890123, "x": 1.10, "s": "a\nü", "n": null, "b": true, "o": {"k": [1]}}

 {"id": "z", "id": "last"}
"#;
    let inputs: Vec<_> = Source::json_lines("j", text.as_bytes()).map(Result::unwrap).collect();
    let named = |index: usize, key: &str| {
        inputs[index].named(key).map(|value| String::from_utf8_lossy(value).into_owned())
    };
    for (key, value) in [
        ("id", "12345678901234567890123"),
        ("x", "1.10"),
        ("s", "a\nü"),
        ("n", ""),
        ("b", "true"),
        ("o", r#"{"k": [1]}"#),
    ] {
        assert_eq!(named(0, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(named(0, "other"), None);
    assert_eq!(named(1, "id").as_deref(), Some("last"));
    assert_eq!(inputs[1].values(), [br#"{"id": "z", "id": "last"}"#]);
}

#[test]
fn errors_name_source_and_line_and_end_it() {
    let shown = |error: &InputError| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    let csv = |text: &'static str| Source::csv("t.csv", text.as_bytes(), b',');
    insta::assert_snapshot!(shown(&csv("a,b,a\n").unwrap_err()), @"failed to read `t.csv` at line 1: two columns are called `a`");
    insta::assert_snapshot!(shown(&csv("").unwrap_err()), @"failed to read `t.csv` at line 1: the first line must name the columns, and there is none");
    let ragged = csv("a,b\n1,2\n3\n").unwrap().find_map(Result::err).unwrap();
    insta::assert_snapshot!(shown(&ragged), @"failed to read `t.csv` at line 3: CSV error: record 2 (line: 3, byte: 8): found record with 1 fields, but the previous record has 2 fields");
    let json = || Source::json_lines("j", &b"{}\n\n[1]\n{}\n"[..]);
    let mut inputs = Inputs::new().cross(json());
    assert!(inputs.next().unwrap().is_ok());
    insta::assert_snapshot!(shown(&inputs.next().unwrap().unwrap_err()), @"failed to read `j` at line 3: the line is no JSON object");
    assert!(inputs.next().is_none());
    // Of a later source, it comes before anything is run.
    let mut inputs = Inputs::new().cross(words("A")).cross(json());
    assert!(inputs.next().unwrap().is_err());
    assert!(inputs.next().is_none());
}

/// Gives endless lines and counts the bytes it was asked for.
struct Endless(Arc<AtomicUsize>);

impl Read for Endless {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        to.iter_mut().enumerate().for_each(|(at, byte)| *byte = b"x\n"[at % 2]);
        let even = to.len() & !1;
        self.0.fetch_add(even, Ordering::Relaxed);
        Ok(even)
    }
}

#[test]
fn the_first_source_is_read_only_as_needed() {
    let read = Arc::new(AtomicUsize::new(0));
    let endless = || {
        let reader = BufReader::with_capacity(64, Endless(Arc::clone(&read)));
        Source::lines("endless", reader, Ending::LineFeed)
    };
    let mut inputs = Inputs::new().cross(endless()).link(endless()).cross(words("A B"));
    assert_eq!(shown(inputs.by_ref().take(3)), ["x x A", "x x B", "x x A"]);
    assert_eq!(read.load(Ordering::Relaxed), 128);
}

proptest! {
    #[test]
    fn a_product_is_what_nested_loops_make(lengths in prop::collection::vec(0usize..5, 1..5)) {
        let source = |length: usize| Source::words((0..length).map(|n| n.to_string().into_bytes()));
        let inputs = lengths.iter().fold(Inputs::new(), |all, length| all.cross(source(*length)));
        let mut expected = vec![String::new()];
        for length in &lengths {
            expected = expected
                .iter()
                .flat_map(|before| (0..*length).map(move |n| format!("{before} {n}")))
                .collect();
        }
        let expected: Vec<_> = expected.iter().map(|text| text.trim_start()).collect();
        prop_assert_eq!(shown(inputs), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(text: Vec<u8>) {
        let text = io::Cursor::new(text);
        let _read = Source::json_lines("j", text.clone()).count();
        let _read = Source::csv("c", text.clone(), b',').map(Iterator::count);
        let separator = Separator::parse(r"\W").unwrap();
        let _read = Source::lines("l", text, Ending::Nul).split(separator).count();
    }
}
