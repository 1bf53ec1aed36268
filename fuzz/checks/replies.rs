//! What a host says: the same replies, however the bytes are cut.

use geto::bytes::Bytes;
use geto_core::wire::{Reply, ReplyParser, WireError};

/// The nonce of the session; the corpus has it too.
const NONCE: &str = "0123456789abcdef0123456789abcdef";

/// What was made of the bytes, the pieces of a stream joined.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    replies: Vec<Reply>,
    error: Option<WireError>,
    noise: Vec<u8>,
    loader_reads: bool,
    must_repeat: bool,
}

/// The first byte tells how the others are cut.
pub(crate) fn check(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    let whole = read(std::iter::once(bytes));
    let size = usize::from(*cut).max(1);
    assert_eq!(read(bytes.chunks(size)), whole, "in pieces of {size}");
    let (one, other) = bytes.split_at(size.min(bytes.len()));
    assert_eq!(read([one, other].into_iter()), whole, "cut at {size}");
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut parser = ReplyParser::new(NONCE);
    let mut replies = Vec::new();
    let mut error = None;
    'pieces: for piece in pieces {
        parser.feed(piece);
        loop {
            match parser.next() {
                Ok(Some(reply)) => join(&mut replies, reply),
                Ok(None) => break,
                Err(found) => {
                    error = Some(found);
                    break 'pieces;
                }
            }
        }
    }
    Read {
        replies,
        error,
        noise: parser.noise().to_vec(),
        loader_reads: parser.loader_reads(),
        must_repeat: parser.must_repeat(),
    }
}

fn join(replies: &mut Vec<Reply>, reply: Reply) {
    let joined = match (replies.last(), &reply) {
        (Some(Reply::Stdout(one)), Reply::Stdout(other)) => Reply::Stdout(concat(one, other)),
        (Some(Reply::Stderr(one)), Reply::Stderr(other)) => Reply::Stderr(concat(one, other)),
        (Some(Reply::Files(one)), Reply::Files(other)) => Reply::Files(concat(one, other)),
        _ => return replies.push(reply),
    };
    replies.pop();
    replies.push(joined);
}

fn concat(one: &[u8], other: &[u8]) -> Bytes {
    [one, other].concat().into()
}
