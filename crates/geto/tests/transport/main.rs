//! Both SSH transports against real servers, by the same tests.

mod channels;
mod jumps;
mod login;
mod patience;
mod polite;
mod pool;
mod questions;
mod silent;
mod support;
mod trust;
mod way;
