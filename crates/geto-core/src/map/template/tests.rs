use proptest::prelude::*;

use super::*;

fn template(text: &str) -> Template {
    Template::parse(text, &Columns::None).unwrap()
}

fn input(values: &[&str]) -> Input {
    Input::from_values(values.iter().map(|value| value.as_bytes().to_vec()))
}

fn rendered(text: &str, values: &[&str]) -> String {
    let place = Some(Place { host: "n1", slot: 3 });
    let values = Values { input: &input(values), sequence: 7, place };
    String::from_utf8(template(text).render(&values).unwrap()).unwrap()
}

/// What GNU parallel 20221122 printed for
/// `parallel -0 -q printf '[%s] [%s] [%s] [%s] [%s]\n' {} {.} {/} {//} {/.} ::: VALUE`.
const GNU_PARALLEL: [(&str, &str); 27] = [
    ("a.tar.gz", "[a.tar.gz] [a.tar] [a.tar.gz] [.] [a.tar]"),
    ("dir.d/file", "[dir.d/file] [dir.d/file] [file] [dir.d] [file]"),
    (".hidden", "[.hidden] [] [.hidden] [.] []"),
    ("a/.hidden", "[a/.hidden] [a/] [.hidden] [a] []"),
    ("a.b/.hidden", "[a.b/.hidden] [a.b/] [.hidden] [a.b] []"),
    ("name", "[name] [name] [name] [.] [name]"),
    ("/abs", "[/abs] [/abs] [abs] [/] [abs]"),
    ("/abs/x.y", "[/abs/x.y] [/abs/x] [x.y] [/abs] [x]"),
    ("a/b/c.d.", "[a/b/c.d.] [a/b/c.d] [c.d.] [a/b] [c.d]"),
    ("a/", "[a/] [a/] [] [.] []"),
    ("a//", "[a//] [a//] [] [.] []"),
    ("/", "[/] [/] [] [/] []"),
    ("//", "[//] [//] [] [/] []"),
    ("", "[] [] [] [.] []"),
    (".", "[.] [] [.] [.] []"),
    ("..", "[..] [.] [..] [.] [.]"),
    ("../x.y", "[../x.y] [../x] [x.y] [..] [x]"),
    ("a/..", "[a/..] [a/.] [..] [a] [.]"),
    ("x..", "[x..] [x.] [x..] [.] [x.]"),
    ("a b.c", "[a b.c] [a b] [a b.c] [.] [a b]"),
    ("a//b.c", "[a//b.c] [a//b] [b.c] [a] [b]"),
    ("./x", "[./x] [./x] [x] [.] [x]"),
    ("a/b/", "[a/b/] [a/b/] [] [a] []"),
    (".a.b", "[.a.b] [.a] [.a.b] [.] [.a]"),
    ("a/b.c/", "[a/b.c/] [a/b.c/] [] [a] []"),
    ("///x", "[///x] [///x] [x] [/] [x]"),
    ("a///b", "[a///b] [a///b] [b] [a] [b]"),
];

#[test]
fn paths_are_cut_as_gnu_parallel_cuts_them() {
    for (value, expected) in GNU_PARALLEL {
        assert_eq!(rendered("[{}] [{.}] [{/}] [{//}] [{/.}]", &[value]), expected, "{value}");
        assert_eq!(rendered("[{1}] [{1.}] [{1/}] [{1//}] [{1/.}]", &[value]), expected, "{value}");
    }
}

#[test]
fn several_values_stand_for_themselves_or_all_together() {
    let values = ["a.x", "d/e.f"];
    for (text, expected) in [
        // The first is what GNU parallel 20221122 printed.
        ("{1} {2} {2/.} {-1} {3} {1.} {2//} {2/}", "a.x d/e.f e d/e.f  a d e.f"),
        ("{.} {/}", "a d/e a.x e.f"),
        ("{-2}{-3}{01}", "a.xa.x"),
        ("x{}y", "xa.x d/e.fy"),
        ("{dep}", "DEPS/a.x DEPS/e.f"),
    ] {
        assert_eq!(rendered(text, &values), expected, "{text}");
    }
}

#[test]
fn what_is_no_replacement_string_is_text() {
    for text in [
        "",
        "{",
        "}",
        "}{",
        "{ }",
        "{x}",
        "{1x}",
        "{+1}",
        "{print $1}",
        "${a}",
        "{,}",
        "{-}",
        "{é}",
    ] {
        assert_eq!(rendered(text, &["A"]), text);
        assert!(!template(text).replaces(), "{text}");
    }
    assert_eq!(rendered("{{}} {{1}} {x{}", &["A"]), "{A} {A} {xA");
}

#[test]
fn a_task_is_told_number_host_and_slot() {
    assert_eq!(rendered("{#}-{host}-{%}", &["A"]), "7-n1-3");
    assert!(template("{%}").needs_place() && template("x{host}").needs_place());
    assert!(!template("{#}{}").needs_place());
    let values = Values { input: &input(&["A"]), sequence: 1, place: None };
    insta::assert_snapshot!(template("out/{host}").render(&values).unwrap_err(), @"`out/{host}`: host and slot are not chosen yet");
}

#[test]
fn a_text_of_one_replacement_string_is_a_word_for_each_value() {
    let values = Values { input: &input(&["a b", "c"]), sequence: 1, place: None };
    let words = |text: &str| {
        let mut words = Vec::new();
        template(text).render_words(&values, &mut words).unwrap();
        words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(words("{}"), ["a b", "c"]);
    assert_eq!(words("{1}"), ["a b"]);
    assert_eq!(words("-{}"), ["-a b c"]);
    assert_eq!(words("{3}"), [""]);
}

#[test]
fn values_keep_all_their_bytes() {
    let input = Input::from_values([b"d\xff/\n\xfe.x".to_vec()]);
    let values = Values { input: &input, sequence: 1, place: None };
    let text = Template::parse(b"\x80{/.}\x81{\xff}".to_vec(), &Columns::None).unwrap();
    assert_eq!(text.render(&values).unwrap(), b"\x80\n\xfe\x81{\xff}");
}

#[test]
fn the_input_is_appended_where_nothing_tells_of_it() {
    let appends = |args: &[&str], others: &[&str]| {
        let [args, others] = [args, others].map(|texts| texts.iter().map(|t| template(t)));
        appends_input(&args.collect::<Vec<_>>(), &others.collect::<Vec<_>>())
    };
    assert!(appends(&[], &[]));
    assert!(appends(&["-x", "{y}"], &["shared/"]));
    assert!(appends(&[], &["N={#}", "{host}.conf"]));
    assert!(!appends(&["{1}"], &[]));
    // As GNU parallel: `parallel --dry-run echo {#} ::: a b` is `echo 1` and `echo 2`.
    assert!(!appends(&["{#}"], &[]));
    assert!(!appends(&["-x"], &["{}"]));
}

#[test]
fn a_dependency_needs_a_name() {
    assert_eq!(rendered("{dep}", &["data/set.d/"]), "DEPS/set.d");
    assert_eq!(dependency_name(b"data/set.d/"), Some(&b"set.d"[..]));
    let values = |value| Input::from_values([Vec::from(value)]);
    for value in ["", "/", "..", "a/..", ".", "./"] {
        let input = values(value);
        let values = Values { input: &input, sequence: 1, place: None };
        assert!(
            matches!(template("{dep}").render(&values), Err(RenderError::NoName { .. })),
            "{value}"
        );
    }
}

#[test]
fn errors_name_the_text_and_the_place() {
    let known = Columns::Known(["name", "a b", "x.", "host"].map(str::to_owned).to_vec());
    let error = |text: &str, columns| Template::parse(text, columns).unwrap_err().to_string();
    insta::assert_snapshot!(error("-n {0}", &Columns::None), @"`-n {0}`, byte 4: there is no input `0`: they count from 1, or from -1 at the end");
    insta::assert_snapshot!(error("{99999999999}", &Columns::None), @"`{99999999999}`, byte 1: there is no input `99999999999`: they count from 1, or from -1 at the end");
    insta::assert_snapshot!(error("é{nmae/}", &known), @"`é{nmae/}`, byte 3: no column is called `nmae`; did you mean `name`?");
    insta::assert_snapshot!(error("{host}", &known), @"`{host}`, byte 1: `{host}` is geto's own word, and a column's name too; write the number of the column");
    let three = template("{1}{3}");
    insta::assert_snapshot!(three.check_places(2).unwrap_err(), @"`{1}{3}`, byte 4: there is no input 3: an input has 2 values");
    assert_eq!(three.check_places(3), Ok(()));
    assert!(template("{-3}").check_places(2).is_err());
}

#[test]
fn columns_are_found_by_their_names() {
    let known = Columns::Known(["name", "a b", "x."].map(str::to_owned).to_vec());
    let input = input(&["d/n.txt", "two", "three"])
        .with_header(["name", "a b", "x."].map(str::to_owned).into());
    let values = Values { input: &input, sequence: 1, place: None };
    let text = Template::parse("{name} {name/.} {a b} {x.} {2} { x }", &known).unwrap();
    assert_eq!(text.render(&values).unwrap(), b"d/n.txt n two three two { x }");
}

#[test]
fn a_key_that_an_input_lacks_is_an_error() {
    let text = Template::parse("{user_id}", &Columns::Any).unwrap();
    let input = input(&["x"]);
    let values = Values { input: &input, sequence: 1, place: None };
    insta::assert_snapshot!(text.render(&values).unwrap_err(), @"`{user_id}`: the input has no key `user_id`");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: Vec<u8>, value: Vec<u8>, other: Vec<u8>) {
        let input = Input::from_values([value, other]);
        let values = Values { input: &input, sequence: 1, place: Some(Place { host: "h", slot: 1 }) };
        for columns in [Columns::None, Columns::Any, Columns::Known(vec!["a".to_owned()])] {
            if let Ok(template) = Template::parse(text.clone(), &columns) {
                let _rendered = template.render(&values);
            }
        }
    }

    #[test]
    fn a_text_without_braces_stays_as_it_is(text in "[^{}]*", value: Vec<u8>) {
        let input = Input::from_values([value]);
        let values = Values { input: &input, sequence: 1, place: None };
        let template = Template::parse(text.clone(), &Columns::Any).unwrap();
        prop_assert_eq!(template.render(&values).unwrap(), text.into_bytes());
    }
}
