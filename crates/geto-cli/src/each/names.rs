//! Many names → one short word: `node[1-12,14]`.

/// Writes names that differ in their last number only as one, in the order in which they first
/// come.
pub(crate) fn fold(names: &[&str]) -> String {
    let mut series: Vec<Series<'_>> = Vec::new();
    for &name in names {
        let (head, number, tail) = split(name);
        let alike =
            |one: &&mut Series<'_>| (one.head, one.tail) == (head, tail) && !one.numbers.is_empty();
        match (series.iter_mut().find(alike), number) {
            (Some(one), Some(number)) => one.numbers.push(number),
            (_, number) => {
                let numbers = number.into_iter().collect();
                series.push(Series { head, tail, numbers });
            }
        }
    }
    let words: Vec<_> = series.into_iter().map(Series::word).collect();
    words.join(",")
}

/// Names that differ in one number.
struct Series<'n> {
    head: &'n str,
    tail: &'n str,
    /// Value and digits; none in a name without a number.
    numbers: Vec<(u64, &'n str)>,
}

impl Series<'_> {
    fn word(mut self) -> String {
        let Self { head, tail, .. } = self;
        self.numbers.sort_unstable();
        self.numbers.dedup();
        let mut ranges: Vec<(&str, &str, u64)> = Vec::new();
        for (value, digits) in self.numbers {
            match ranges.last_mut() {
                // Leading zeros are as many as in the first one.
                Some((first, last, end))
                    if end.checked_add(1) == Some(value)
                        && format!("{value:0width$}", width = first.len()) == digits =>
                {
                    (*last, *end) = (digits, value);
                }
                _ => ranges.push((digits, digits, value)),
            }
        }
        let texts: Vec<_> = ranges
            .iter()
            .map(|(first, last, _)| match first == last {
                true => (*first).to_owned(),
                false => format!("{first}-{last}"),
            })
            .collect();
        match &ranges[..] {
            [] => head.to_owned(),
            [(first, last, _)] if first == last => format!("{head}{first}{tail}"),
            _ => format!("{head}[{}]{tail}", texts.join(",")),
        }
    }
}

/// Splits a name around its last number.
fn split(name: &str) -> (&str, Option<(u64, &str)>, &str) {
    let is_digit = |c: char| c.is_ascii_digit();
    let Some(end) = name.rfind(is_digit).map(|last| last + 1) else { return (name, None, "") };
    let begin = name[..end]
        .rfind(|c| !is_digit(c))
        .map_or(0, |before| before + name[before..].chars().next().map_or(1, char::len_utf8));
    match name[begin..end].parse() {
        Ok(value) => (&name[..begin], Some((value, &name[begin..end])), &name[end..]),
        // Too long for a number.
        Err(_) => (name, None, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn names_that_differ_in_a_number_are_one_word() {
        for (names, word) in [
            (&["node1", "node2", "node3", "node5"][..], "node[1-3,5]"),
            (&["node9", "node10", "node11"], "node[9-11]"),
            (&["n08", "n09", "n10", "n9"], "n[08-09,9-10]"),
            (&["r1-n1.lan", "r1-n2.lan", "r2-n1.lan"], "r1-n[1-2].lan,r2-n1.lan"),
            (&["127.0.1.1", "127.0.1.2"], "127.0.1.[1-2]"),
            (&["b", "a", "a1"], "b,a,a1"),
            (&["a", "a1", "a2"], "a,a[1-2]"),
            (&["ü1ß", "ü2ß"], "ü[1-2]ß"),
            (
                &["x18446744073709551615", "x18446744073709551616"],
                "x18446744073709551615,x18446744073709551616",
            ),
            (&["7"], "7"),
        ] {
            assert_eq!(fold(names), word);
        }
    }
}
