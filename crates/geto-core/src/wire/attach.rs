//! Requests about tasks that other sessions have started.

use std::fmt;

use super::request;
use super::request::say_bring;
use crate::{Bring, TaskId};

/// From where on output is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// From this byte on; 0 is the beginning.
    Byte(u64),
    /// The last lines and what comes then.
    Tail(u64),
    /// What comes from now on.
    End,
    /// Not at all.
    Nowhere,
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(byte) => write!(f, "{byte}"),
            Self::Tail(lines) => write!(f, "tail:{lines}"),
            Self::End => f.write_str("end"),
            Self::Nowhere => f.write_str("none"),
        }
    }
}

/// A request to tell of a task that another session has started.
#[derive(Debug, Clone)]
pub struct AttachRequest<'a> {
    /// The task.
    pub id: TaskId,
    /// What is wanted of its standard output.
    pub stdout: From,
    /// What is wanted of its standard error.
    pub stderr: From,
    /// Whether it is followed to its end, or only what there is is told.
    pub follow: bool,
    /// Which files come home; those that were said when it was sent when `None`.
    pub bring: Option<&'a Bring>,
    /// This is the session that sends it again: a session that has claimed it and not started it is
    /// not to start it any more.
    pub again: bool,
    /// The beginning of the files has come already.
    pub has_files: bool,
}

impl AttachRequest<'_> {
    /// Writes the request line.
    pub fn line(&self) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = vec![b"attach".to_vec()];
        let mut say = |key: &str, value: &[u8]| words.push([key.as_bytes(), b"=", value].concat());
        say("id", self.id.to_string().as_bytes());
        say("out", self.stdout.to_string().as_bytes());
        say("err", self.stderr.to_string().as_bytes());
        say("follow", if self.follow { b"yes" } else { b"no" });
        if self.again {
            say("again", b"yes");
        }
        if self.has_files {
            say("large", b"yes");
        }
        say_bring(self.bring, say);
        request(&words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_to_go_on() {
        let bring = Bring::Globs(vec!["*.csv".to_owned()]);
        let mut attach = AttachRequest {
            id: TaskId::from_bits(1),
            stdout: From::Byte(12),
            stderr: From::Tail(3),
            follow: true,
            bring: None,
            again: false,
            has_files: false,
        };
        let line = |attach: &AttachRequest<'_>| String::from_utf8(attach.line()).unwrap();
        insta::assert_snapshot!(line(&attach), @"attach id=0000-0000-0000-0001 out=12 err=tail:3 follow=yes bring=about");
        attach.stdout = From::End;
        attach.stderr = From::Nowhere;
        attach.follow = false;
        attach.bring = Some(&bring);
        attach.again = true;
        attach.has_files = true;
        insta::assert_snapshot!(line(&attach), @"attach id=0000-0000-0000-0001 out=end err=none follow=no again=yes large=yes bring=globs '''glob=*.csv'");
    }
}
