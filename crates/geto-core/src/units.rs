//! Durations and sizes as people write and read them.

use std::time::Duration;

use crate::message::Quoted;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no duration: write whole seconds, or a number with s, m, h or d, as in 90, 5m, 2h", Quoted(.0))]
pub struct InvalidDuration(String);

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no size: write bytes, or a number with K, M, G or T (powers of 1024), as in 512K, 10G", Quoted(.0))]
pub struct InvalidSize(String);

/// Reads a duration: `90` and `90s` are seconds, `5m`, `2h`, `1d`. What 0 means is the caller's
/// matter.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(geto_core::units::parse_duration("5m"), Ok(Duration::from_secs(300)));
/// ```
///
/// # Errors
/// For any other text, and for what overflows.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let (number, unit) = split_unit(text);
    let seconds = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(60 * 60),
        "d" => Some(24 * 60 * 60),
        _ => None,
    };
    multiply(number, seconds)
        .map(Duration::from_secs)
        .ok_or_else(|| InvalidDuration(text.to_owned()))
}

/// Reads a size in bytes: `4096`, `512K`, `10G`, `1MiB`; every unit is a power of 1024, in either
/// case.
///
/// ```
/// assert_eq!(geto_core::units::parse_size("512K"), Ok(524_288));
/// ```
///
/// # Errors
/// For any other text, and for what overflows.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let (number, unit) = split_unit(text);
    let bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        "t" | "tb" | "tib" => Some(1 << 40),
        _ => None,
    };
    multiply(number, bytes).ok_or_else(|| InvalidSize(text.to_owned()))
}

/// Writes a size for people: `812 bytes`, `1.2 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => {
            // Tenths, rounded down: what is not all there must not look like it is.
            let tenths = u128::from(bytes) * 10 / u128::from(*size);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

/// Writes a duration for people: `12 ms`, `3.4 s`, `42 s`, `5 min 10 s`, `2 h 5 min`, `3 d 4 h`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..10 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn multiply(number: &str, unit: Option<u64>) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(unit?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_durations() {
        for (text, seconds) in
            [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86_400)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "s",
            "-1",
            "+1",
            "1.5h",
            "5 m",
            "1h30m",
            "5M",
            "99999999999999999999",
            "1000000000000000d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        insta::assert_snapshot!(parse_duration("5x").unwrap_err(), @"`5x` is no duration: write whole seconds, or a number with s, m, h or d, as in 90, 5m, 2h");
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("7B", 7),
            ("512K", 512 << 10),
            ("512k", 512 << 10),
            ("1MiB", 1 << 20),
            ("1MB", 1 << 20),
            ("10G", 10 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in ["", "G", "-1", "1.5G", "1 G", "1X", "99999999999999999999", "99999999999T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        insta::assert_snapshot!(parse_size("10Q").unwrap_err(), @"`10Q` is no size: write bytes, or a number with K, M, G or T (powers of 1024), as in 512K, 10G");
    }

    #[test]
    fn writes_for_people() {
        let sizes = [0, 1, 1023, 1024, 1_258_291, 10 << 30, u64::MAX].map(human_bytes);
        insta::assert_snapshot!(sizes.join(" | "), @"0 bytes | 1 byte | 1023 bytes | 1.0 KiB | 1.1 MiB | 10.0 GiB | 16777215.9 TiB");
        let durations = [0, 300, 9_940, 42_900, 60_000, 310_000, 7_500_000, 273_600_000]
            .map(|ms| human_duration(Duration::from_millis(ms)));
        insta::assert_snapshot!(durations.join(" | "), @"0 ms | 300 ms | 9.9 s | 42 s | 1 min | 5 min 10 s | 2 h 5 min | 3 d 4 h");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*", bytes: u64) {
            let _unread = parse_duration(&text);
            let _unread = parse_size(&text);
            prop_assert!(!human_bytes(bytes).is_empty());
            prop_assert!(!human_duration(Duration::from_millis(bytes)).is_empty());
        }
    }
}
