//! Host patterns: comma lists with `*`, `?` and `!`.

/// The longest pattern that OpenSSH reads; a list with a longer one matches nothing.
const LONGEST: usize = 1023;

/// Whether `name` matches the comma list `patterns`: one of them, and no negated one.
pub(super) fn list_matches(name: &[u8], patterns: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let mut positive = false;
    for part in patterns.split(|byte| *byte == b',') {
        let (negated, pattern) = match part.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, part),
        };
        if pattern.len() >= LONGEST {
            return false;
        }
        if matches(&name, &pattern.to_ascii_lowercase()) {
            if negated {
                return false;
            }
            positive = true;
        }
    }
    positive
}

/// Whether the whole of `text` matches `pattern`, in at most `text × pattern` steps.
pub(crate) fn matches(text: &[u8], pattern: &[u8]) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((t, p));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                t += 1;
                p += 1;
            }
            _ => match &mut retry {
                // The last star takes one byte more.
                Some((from, star)) => {
                    *from += 1;
                    t = *from;
                    p = *star + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_matches_by_one_pattern_and_no_negated_one() {
        for (name, list, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("A", "a", true),
            ("a", "A", true),
            ("a", "b,a", true),
            ("a", "", false),
            ("", "", true),
            ("a", ",", false),
            ("a.lab", "*.lab", true),
            ("lab", "*.lab", false),
            ("n12", "n??", true),
            ("n1", "n??", false),
            ("n1", "*", true),
            ("n1", "*,!n1", false),
            ("n1", "!n1,*", false),
            ("n2", "*,!n1", true),
            ("n1", "!n2", false),
            ("n1", "!!n1", false),
            ("abcabc", "a*c*c", true),
            ("abcabd", "a*c*c", false),
            ("[n1]:22", "[n1]:22", true),
            ("[n1]:2222", "[n1]:*", true),
            ("n", "[n]", false),
        ] {
            assert_eq!(list_matches(name.as_bytes(), list.as_bytes()), expected, "{name} {list}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let text = "a".repeat(5_000);
        let pattern = format!("{}b", "a*".repeat(400));
        assert!(!list_matches(text.as_bytes(), pattern.as_bytes()));
    }

    #[test]
    fn an_overlong_pattern_makes_the_list_match_nothing() {
        let list = format!("a,{}", "b".repeat(1_100));
        assert!(!list_matches(b"a", list.as_bytes()));
    }
}
