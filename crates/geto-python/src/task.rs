//! Tasks, made of what Python gives.

use std::path::PathBuf;
use std::time::Duration;

use geto::{Bring, Dependency, Script, Secret, Stdin, Task};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A task of the engine.
#[pyclass(frozen, module = "geto._geto", name = "Task")]
#[derive(Debug)]
pub(crate) struct NativeTask(pub(crate) Task);

/// What a Python script object says: its name, its body, and its limit.
#[derive(Debug, FromPyObject)]
struct ScriptParts {
    name: String,
    text: Option<Vec<u8>>,
    path: Option<PathBuf>,
    argv: Option<Vec<Vec<u8>>>,
    max_concurrent: Option<u32>,
}

/// What a Python task object says.
#[derive(Debug, FromPyObject)]
struct TaskParts {
    script: ScriptParts,
    args: Vec<Vec<u8>>,
    env: Vec<(String, Vec<u8>)>,
    dependencies: Vec<(PathBuf, Option<String>)>,
    stdin: Option<Vec<u8>>,
    timeout: Option<f64>,
    slots: u32,
    gpus: u32,
    bring: Option<Vec<String>>,
}

#[pymethods]
impl NativeTask {
    #[new]
    fn new(parts: &Bound<'_, PyAny>) -> PyResult<Self> {
        let parts: TaskParts = parts.extract()?;
        let mut task = Task::new(parts.script.into_script());
        task.args = parts.args;
        task.env = parts.env.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        for (path, name) in parts.dependencies {
            let dependency = Dependency::new(path);
            task = task.dependency(match name {
                Some(name) => dependency.named(name),
                None => dependency,
            });
        }
        task.stdin = parts.stdin.map_or(Stdin::Null, Stdin::Bytes);
        // A host counts whole seconds: less would end a task too early.
        let timeout = parts.timeout.map(|time| Duration::try_from_secs_f64(time.ceil()));
        task.timeout =
            timeout.transpose().map_err(|error| PyValueError::new_err(error.to_string()))?;
        (task.slots, task.gpus) = (parts.slots, parts.gpus);
        task.bring = match parts.bring {
            None => Bring::All,
            Some(globs) if globs.is_empty() => Bring::Nothing,
            Some(globs) => Bring::Globs(globs),
        };
        task.check().map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self(task))
    }
}

impl ScriptParts {
    fn into_script(self) -> Script {
        let script = match (self.path, self.argv) {
            (Some(path), _) => Script::from_path(path).named(self.name),
            (None, Some(argv)) => Script::from_argv(self.name, argv),
            (None, None) => Script::from_text(self.name, self.text.unwrap_or_default()),
        };
        match self.max_concurrent {
            Some(limit) => script.max_concurrent(limit),
            None => script,
        }
    }
}
