//! Replacement strings in lines of shell, which get none.

use geto::map::joblog::command_line;
use geto::map::template::{Columns, Template};

/// What the lines of `-c` would have to be, when they seem to be written as for GNU parallel: the text of
/// an input is not put between the words of a shell, which would read it as its own.
///
/// A script that uses its arguments is written for geto, and what is in braces is its own.
pub(super) fn hint(text: &[u8], columns: &Columns) -> Option<String> {
    let text = String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(text)).into_owned();
    if ["$1", "${1", "$@", "${@", "$*", "$#"].iter().any(|used| text.contains(used)) {
        return None;
    }
    let mut found: Vec<String> = Vec::new();
    let mut script = String::new();
    let mut rest = text.as_str();
    while let Some(begin) = rest.find('{') {
        let (before, from) = rest.split_at(begin);
        let string = from.find('}').and_then(|end| from.get(..=end));
        let is_one = |text: &&str| Template::parse(*text, columns).is_ok_and(|t| t.replaces());
        let Some(string) = string.filter(|_| !before.ends_with('$')).filter(is_one) else {
            script.push_str(before);
            script.push('{');
            rest = from.get(1..).unwrap_or_default();
            continue;
        };
        let number = match found.iter().position(|other| other == string) {
            Some(at) => at + 1,
            None => {
                found.push(string.to_owned());
                found.len()
            }
        };
        rest = from.get(string.len()..).unwrap_or_default();
        // In quotes, it would be text, or end them.
        let quote = ['\'', '"']
            .into_iter()
            .find(|quote| before.ends_with(*quote) && rest.starts_with(*quote));
        let before = quote.and_then(|quote| before.strip_suffix(quote)).unwrap_or(before);
        rest = quote.and_then(|quote| rest.strip_prefix(quote)).unwrap_or(rest);
        script.push_str(before);
        script.extend(["\"$", &number.to_string(), "\""]);
    }
    script.push_str(rest);
    let first = found.first()?;
    let mut words = vec!["-c", &script];
    if found != ["{}"] {
        words.push("--");
        words.extend(found.iter().map(String::as_str));
    }
    let line = command_line(words.into_iter().map(str::as_bytes));
    Some(format!(
        "`{first}` in a `-c` line is not replaced, since a shell would read the input as its own words; \
         write `{line}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_were_written_for_gnu_parallel_are_recognised() {
        for (text, line) in [
            ("gzip {}", Some(r#"-c 'gzip "$1"'"#)),
            ("gzip '{}' && rm \"{}\"", Some(r#"-c 'gzip "$1" && rm "$1"'"#)),
            ("mv {} {.}.bak", Some(r#"-c 'mv "$1" "$2".bak' -- '{}' '{.}'"#)),
            ("echo {1} ${x} {a,b} {#}", Some(r#"-c 'echo "$1" ${x} {a,b} "$2"' -- '{1}' '{#}'"#)),
            ("find . -exec cp {} $1 \\;", None),
            ("f() { echo; }; f", None),
            ("awk '{print}'", None),
            ("echo {", None),
        ] {
            let hint = hint(text.as_bytes(), &Columns::None);
            let written = hint.as_ref().and_then(|hint| hint.split("; write ").nth(1));
            assert_eq!(written, line.map(|line| format!("`{line}`")).as_deref(), "{text}");
        }
    }
}
