//! Makes output the same in every run.

/// Replaces task ids, loopback addresses, dates and spans of time.
pub(crate) fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    // Only what stands at the begin of a word: `v1s` is no time.
    let mut begin = true;
    while let Some(first) = rest.chars().next() {
        let found = begin.then(|| recognise(rest)).flatten();
        let (taken, name) = found.unwrap_or((first.len_utf8(), &rest[..first.len_utf8()]));
        redacted.push_str(name);
        begin = !first.is_alphanumeric() && first != '.';
        rest = &rest[taken..];
    }
    redacted
}

/// Returns the length and the name of what `text` begins with.
fn recognise(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let found = id(bytes)
        .map(|length| (length, "<id>"))
        .or_else(|| date(bytes).map(|length| (length, "<date>")))
        .or_else(|| address(text).map(|length| (length, "<address>")))
        .or_else(|| span(text).map(|length| (length, "<time>")))?;
    let next = bytes.get(found.0);
    (!next.is_some_and(u8::is_ascii_alphanumeric)).then_some(found)
}

/// `xxxx-xxxx-xxxx-xxxx`
fn id(bytes: &[u8]) -> Option<usize> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = bytes
        .get(..19)?
        .iter()
        .enumerate()
        .all(|(place, byte)| if place % 5 == 4 { *byte == b'-' } else { hex(*byte) });
    fits.then_some(19)
}

/// `2026-05-01T10:20:30.123Z` and its parts from the left, the time of day at least to seconds.
fn date(bytes: &[u8]) -> Option<usize> {
    let fits = |from: usize, shape: &[u8]| {
        bytes.get(from..from + shape.len()).is_some_and(|part| {
            part.iter().zip(shape).all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b' '),
                wanted => byte == wanted,
            })
        })
    };
    if !fits(0, b"0000-00-00") {
        return None;
    }
    if !fits(10, b"T00:00:00") {
        return Some(10);
    }
    let tail = &bytes[19..];
    let fraction = tail.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    Some(19 + fraction + usize::from(tail.get(fraction) == Some(&b'Z')))
}

/// `127.1.2.3`, with or without a port.
fn address(text: &str) -> Option<usize> {
    let number = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = text.starts_with("127.").then_some(3)?;
    for _ in 0..3 {
        let digits = number(text[length..].strip_prefix('.')?);
        length += (digits > 0).then_some(digits + 1)?;
    }
    let port = text[length..].strip_prefix(':').map_or(0, number);
    Some(if port > 0 { length + 1 + port } else { length })
}

/// `1.25 s`, `30ms`, `2m`: no exact counts in other units, which a test may want to see.
fn span(text: &str) -> Option<usize> {
    let number = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let rest = &text[number..];
    let unit = rest.strip_prefix(' ').unwrap_or(rest);
    let letters = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
    let known = ["ns", "us", "ms", "s", "min", "m", "h"].contains(&&unit[..letters]);
    known.then_some(number + rest.len() - unit.len() + letters)
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn names_what_differs_between_runs() {
        for (text, wanted) in [
            ("task 0123-4567-89ab-cdef, 0.25 s", "task <id>, <time>"),
            ("took 12ms (or 3 h)", "took <time> (or <time>)"),
            ("at 2026-05-01T10:20:30.123Z: 127.9.8.7:22", "at <date>: <address>"),
            ("on 2026-05-01 10:20:30 by [127.0.0.1]:4022", "on <date> by [<address>]:4022"),
        ] {
            assert_eq!(redact(text), wanted);
        }
    }

    #[test]
    fn leaves_everything_else() {
        for text in ["v1s 12 MiB 3 files é", "exit 124", "127.1", "1.2.3", "4022", "0123-4567"] {
            assert_eq!(redact(text), text);
        }
    }
}
