//! The native part of the Python package `geto`: what `python/geto` builds all else on.
//!
//! Each call that takes time is given a callable `done` and returns at once. It runs on a runtime of
//! the process, and `done(value, error)` is called from a thread of that once it is over, one of both
//! being `None`. What Python people know (futures, coroutines, Ctrl-C) is made of that in Python, where
//! waiting is Python's own and thereby leaves the interpreter to others.

mod ask;
mod channel;
mod fleet;
mod handle;
mod map;
mod objects;
mod runtime;
mod task;

use pyo3::prelude::*;

/// The engine of geto; use the package `geto`.
#[pymodule]
mod _geto {
    #[pymodule_export]
    use crate::channel::Channel;
    #[pymodule_export]
    use crate::fleet::NativeFleet;
    #[pymodule_export]
    use crate::handle::Handle;
    #[pymodule_export]
    use crate::map::{Feeder, Interrupter};
    #[pymodule_export]
    use crate::runtime::close;
    #[pymodule_export]
    use crate::task::NativeTask;
}
