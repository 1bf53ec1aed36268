//! What geto and the host's side say to each other; `docs/design.md` specifies it.
//!
//! Requests are lines of shell words, some followed by counted bytes. Replies are frames: a line
//! `<nonce> <name> <length>`, then that many bytes. The nonce is random, is told to the host on
//! the channel's input alone, and sets replies apart from whatever start-up files print.

mod end;
mod reply;
mod request;
mod slots;

pub use end::EndReport;
pub use reply::{Reply, ReplyParser, WireError};
pub use request::{Program, RunRequest, begin, loader, request};
pub use slots::{Busy, HostLoad, Patience, SlotRequest};
