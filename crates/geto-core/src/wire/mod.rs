//! What geto and the host's side say to each other; `docs/design.md` specifies it.
//!
//! Requests are lines of shell words, some followed by counted bytes. Replies are frames: a line
//! `<nonce> <name> <length>`, then that many bytes. The nonce is random, is told to the host on
//! the channel's input alone, and sets replies apart from whatever start-up files print.

mod attach;
mod end;
mod listing;
mod reply;
mod request;
mod slots;

pub use attach::{AttachRequest, From};
pub use end::{EndReport, Start};
pub use listing::{About, Boot, Clock, Listing, TaskState};
pub use reply::{Reply, ReplyParser, WireError};
pub use request::{Program, RunRequest, TreeUse, begin, loader, more, request};
pub use slots::{Busy, HostLoad, Patience, SlotRequest};
