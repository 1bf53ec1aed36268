//! geto against real shells and real SSH servers.

mod shells;
mod ssh;
mod support;
