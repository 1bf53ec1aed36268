//! When to stop, and what to repeat: the values of `--halt`, `--max-failures` and `--retry-exit`.

use std::fmt;
use std::str::FromStr;

use crate::message::Quoted;

/// A number of tasks, at least 1: `3` or, of all tasks, `20%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many.
    Count(u64),
    /// So many of a hundred, 1 to 100.
    Percent(u8),
}

/// `--halt`: parallel(1), `--halt val`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halt {
    /// What is done then.
    pub when: HaltWhen,
    /// What is counted.
    pub why: HaltWhy,
    /// How many there must be.
    pub limit: Limit,
}

/// What `--halt` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaltWhen {
    /// Starts no more tasks, and lets those that run end.
    Soon,
    /// Ends those that run, too.
    Now,
}

/// What `--halt` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HaltWhy {
    /// Tasks that failed.
    Fail,
    /// Tasks that succeeded.
    Success,
    /// Both.
    Done,
}

/// Exit codes: `75`, `1,3-5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitCodes(Vec<(u8, u8)>);

/// A text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no number of tasks: write one from 1, or a percentage from 1% to 100%, as in 3, 20%", Quoted(.0))]
pub struct InvalidLimit(String);

/// A text that says no way to halt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no way to halt: {problem}", Quoted(text))]
pub struct InvalidHalt {
    text: String,
    problem: HaltProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum HaltProblem {
    #[error("write `never`, or `now` or `soon` with a reason, as in now,fail=1")]
    When,
    #[error("behind the comma stands fail=N, success=N or done=N, N a number or a percentage")]
    Why,
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
}

/// A text that is no list of exit codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no list of exit codes: write numbers from 1 to 255 and ranges, as in 75, 1,3-5", Quoted(.0))]
pub struct InvalidExitCodes(String);

impl Limit {
    /// Whether `count` reaches it. `total` is the number of all tasks; a percentage of an unknown
    /// number is never reached.
    pub fn reached(self, count: u64, total: Option<u64>) -> bool {
        match (self, total) {
            (Self::Count(limit), _) => count >= limit,
            (Self::Percent(_), None) => false,
            // Nothing is no share of nothing.
            (Self::Percent(percent), Some(total)) => {
                count > 0 && u128::from(count) * 100 >= u128::from(total) * u128::from(percent)
            }
        }
    }
}

impl FromStr for Limit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let limit = match text.strip_suffix('%') {
            Some(percent) => number(percent, 100)
                .and_then(|percent| u8::try_from(percent).ok())
                .map(Self::Percent),
            None => number(text, u64::MAX).map(Self::Count),
        };
        limit.ok_or_else(|| InvalidLimit(text.to_owned()))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Halt {
    /// Reads a value of `--halt`: `never` (none), `now,fail=1`, `soon,success=3`, `soon,done=20%`;
    /// as in GNU parallel also `0`, `1`, `2`, `-1`, `-2` and `20%`, which is `soon,fail=20%`.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidHalt> {
        let error = |problem| InvalidHalt { text: text.to_owned(), problem };
        let long = match text {
            "0" | "never" => return Ok(None),
            "1" => "soon,fail=1",
            "2" => "now,fail=1",
            "-1" => "soon,success=1",
            "-2" => "now,success=1",
            other => other,
        };
        if long.ends_with('%') && !long.contains(',') {
            let limit = long.parse().map_err(|cause| error(HaltProblem::Limit(cause)))?;
            return Ok(Some(Self { when: HaltWhen::Soon, why: HaltWhy::Fail, limit }));
        }
        let (when, reason) = long.split_once(',').unwrap_or((long, ""));
        let when = match when {
            "now" => HaltWhen::Now,
            "soon" => HaltWhen::Soon,
            _ => return Err(error(HaltProblem::When)),
        };
        let Some((why, limit)) = reason.split_once('=') else {
            return Err(error(HaltProblem::Why));
        };
        let why = match why {
            "fail" => HaltWhy::Fail,
            "success" => HaltWhy::Success,
            "done" => HaltWhy::Done,
            _ => return Err(error(HaltProblem::Why)),
        };
        let limit = limit.parse().map_err(|cause| error(HaltProblem::Limit(cause)))?;
        Ok(Some(Self { when, why, limit }))
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.when {
            HaltWhen::Soon => "soon",
            HaltWhen::Now => "now",
        };
        let why = match self.why {
            HaltWhy::Fail => "fail",
            HaltWhy::Success => "success",
            HaltWhy::Done => "done",
        };
        write!(f, "{when},{why}={}", self.limit)
    }
}

impl ExitCodes {
    /// Whether the code is among them.
    pub fn contains(&self, code: u8) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }
}

impl FromStr for ExitCodes {
    type Err = InvalidExitCodes;

    fn from_str(text: &str) -> Result<Self, InvalidExitCodes> {
        let code = |text| number(text, 255).and_then(|code| u8::try_from(code).ok());
        text.split(',')
            .map(|word| {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                let (first, last) = (code(first)?, code(last)?);
                (first <= last).then_some((first, last))
            })
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| InvalidExitCodes(text.to_owned()))
    }
}

/// Digits only, from 1 to `most`.
fn number(text: &str, most: u64) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (1..=most).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ways_to_halt() {
        // parallel(1), `--halt val`.
        for (text, expected) in [
            ("now,fail=1", "now,fail=1"),
            ("soon,fail=3", "soon,fail=3"),
            ("soon,fail=3%", "soon,fail=3%"),
            ("now,success=1", "now,success=1"),
            ("soon,success=100%", "soon,success=100%"),
            ("now,done=3%", "now,done=3%"),
            ("1", "soon,fail=1"),
            ("2", "now,fail=1"),
            ("-1", "soon,success=1"),
            ("-2", "now,success=1"),
            ("5%", "soon,fail=5%"),
        ] {
            assert_eq!(Halt::parse(text).unwrap().unwrap().to_string(), expected, "{text}");
        }
        for text in ["0", "never"] {
            assert_eq!(Halt::parse(text), Ok(None));
        }
    }

    #[test]
    fn refuses_what_says_no_way_to_halt() {
        for text in ["", "3", "now", "now,", "now,fail", "now,fail=", "Now,fail=1", "now,fail=1,x"]
        {
            assert!(Halt::parse(text).is_err(), "{text}");
        }
        let error = |text| Halt::parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(error("later,fail=1"), @"`later,fail=1` is no way to halt: write `never`, or `now` or `soon` with a reason, as in now,fail=1");
        insta::assert_snapshot!(error("now,fall=1"), @"`now,fall=1` is no way to halt: behind the comma stands fail=N, success=N or done=N, N a number or a percentage");
        insta::assert_snapshot!(error("now,fail=0"), @"`now,fail=0` is no way to halt: `0` is no number of tasks: write one from 1, or a percentage from 1% to 100%, as in 3, 20%");
    }

    #[test]
    fn a_limit_is_reached_by_number_or_share() {
        let limit = |text: &str| text.parse::<Limit>().unwrap();
        for (text, count, total, expected) in [
            ("3", 2, None, false),
            ("3", 3, None, true),
            ("20%", 1, Some(5), true),
            ("20%", 1, Some(6), false),
            ("1%", 0, Some(0), false),
            ("100%", 7, Some(7), true),
            ("1%", 1_000, None, false),
        ] {
            assert_eq!(limit(text).reached(count, total), expected, "{count} of {total:?}: {text}");
        }
        for text in ["", "0", "0%", "101%", "-1", "+1", "1.5%", "%", "x"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }

    #[test]
    fn reads_exit_codes() {
        let codes: ExitCodes = "75,3-5".parse().unwrap();
        let contained: Vec<_> = (0..=255).filter(|code| codes.contains(*code)).collect();
        assert_eq!(contained, [3, 4, 5, 75]);
        for text in ["", "0", "256", "5-3", "1,", "a", "1-", "-1", "1--2"] {
            assert!(text.parse::<ExitCodes>().is_err(), "{text}");
        }
        insta::assert_snapshot!("x".parse::<ExitCodes>().unwrap_err(), @"`x` is no list of exit codes: write numbers from 1 to 255 and ranges, as in 75, 1,3-5");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _read = Halt::parse(&text);
            let _read = text.parse::<ExitCodes>();
        }
    }
}
