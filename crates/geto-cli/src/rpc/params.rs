//! What methods are given; docs/rpc.md describes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use geto::{Bring, Dependency, Patience, Pick, Script, Secret, Stdin, Task};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::envelope::Failure;
use super::notes::OutputForm;

/// Reads parameters.
///
/// # Errors
/// The first that is not what the method takes.
pub(super) fn read<T: DeserializeOwned>(params: Value) -> Result<T, Failure> {
    let params = match params {
        Value::Array(places) if places.is_empty() => Value::Object(Map::new()),
        Value::Array(_) => {
            return Err(Failure::invalid_params("parameters are given by name, in an object"));
        }
        params => params,
    };
    serde_path_to_error::deserialize(params).map_err(|error| {
        let text = match error.path().to_string() {
            path if path == "." => error.inner().to_string(),
            path => format!("`{path}`: {}", error.inner()),
        };
        Failure::invalid_params(text)
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostsParams {
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) check: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TasksParams {
    #[serde(default)]
    pub(super) hosts: Vec<String>,
}

/// Declares what starts a task. serde's `flatten` would accept unknown names, and not tell where in a
/// task something is wrong.
macro_rules! starting_params {
    ($name:ident { $($more:tt)* }) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            pub(super) task: TaskParams,
            #[serde(default)]
            pub(super) hosts: Vec<String>,
            #[serde(default)]
            pub(super) exclude_hosts: Vec<String>,
            #[serde(default)]
            pub(super) pick: PickParam,
            /// Seconds; without it as long as it takes.
            pub(super) wait: Option<u64>,
            $($more)*
        }
    };
}

starting_params!(SubmitParams {});

starting_params!(RunParams {
    pub(super) into: Option<PathBuf>,
    #[serde(default)]
    pub(super) overwrite: bool,
    #[serde(default)]
    pub(super) keep: bool,
    /// Seconds.
    pub(super) reconnect: Option<u64>,
    #[serde(default)]
    pub(super) output: OutputForm,
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttachParams {
    pub(super) task: String,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) from_now: bool,
    pub(super) into: Option<PathBuf>,
    #[serde(default)]
    pub(super) overwrite: bool,
    pub(super) max_results: Option<u64>,
    pub(super) keep: Option<bool>,
    pub(super) reconnect: Option<u64>,
    #[serde(default)]
    pub(super) output: OutputForm,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KillParams {
    pub(super) task: String,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FetchParams {
    pub(super) task: String,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    pub(super) into: Option<PathBuf>,
    #[serde(default)]
    pub(super) overwrite: bool,
    pub(super) bring: Option<Vec<String>>,
    pub(super) max_results: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PickParam {
    #[default]
    Balanced,
    Random,
    First,
}

impl From<PickParam> for Pick {
    fn from(pick: PickParam) -> Self {
        match pick {
            PickParam::Balanced => Self::Balanced,
            PickParam::Random => Self::Random,
            PickParam::First => Self::First,
        }
    }
}

/// How long a task waits for a slot.
pub(super) fn patience(wait: Option<u64>) -> Patience {
    wait.map_or(Patience::Forever, |seconds| Patience::AtMost(Duration::from_secs(seconds)))
}

/// Any bytes: a text is its UTF-8.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string, or an object with `base64`")]
enum Text {
    Utf8(String),
    Coded(Coded),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coded {
    base64: String,
}

impl Text {
    fn bytes(self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Utf8(text) => Ok(text.into_bytes()),
            Self::Coded(Coded { base64 }) => STANDARD
                .decode(base64)
                .map_err(|error| Failure::invalid_params(format!("it is no base64: {error}"))),
        }
    }

    fn all(texts: Vec<Self>) -> Result<Vec<Vec<u8>>, Failure> {
        texts.into_iter().map(Self::bytes).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskParams {
    script: ScriptParams,
    #[serde(default)]
    args: Vec<Text>,
    #[serde(default)]
    env: BTreeMap<String, Text>,
    #[serde(default)]
    dependencies: Vec<DependencyParam>,
    stdin: Option<Text>,
    /// Seconds.
    timeout: Option<u64>,
    slots: Option<u32>,
    gpus: Option<u32>,
    bring: Option<Vec<String>>,
    max_results: Option<u64>,
    #[serde(default)]
    login: bool,
    #[serde(default)]
    leave: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptParams {
    name: Option<String>,
    lines: Option<Vec<Text>>,
    text: Option<Text>,
    argv: Option<Vec<Text>>,
    path: Option<PathBuf>,
    max_concurrent: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a path, or an object with `path`")]
enum DependencyParam {
    Path(PathBuf),
    Parts(DependencyParts),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DependencyParts {
    path: PathBuf,
    name: Option<String>,
    #[serde(default)]
    share: bool,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    gitignore: bool,
}

impl TaskParams {
    /// Makes the task.
    ///
    /// # Errors
    /// What no host could execute.
    pub(super) fn task(self) -> Result<Task, Failure> {
        let mut task = Task::new(self.script.script()?);
        task.args = Text::all(self.args)?;
        for (name, value) in self.env {
            task.env.push((name, Secret::new(value.bytes()?)));
        }
        task.dependencies =
            self.dependencies.into_iter().map(DependencyParam::dependency).collect();
        task.stdin = match self.stdin {
            Some(input) => Stdin::Bytes(input.bytes()?),
            None => Stdin::Null,
        };
        task.timeout = self.timeout.map(Duration::from_secs);
        task.slots = self.slots.unwrap_or(1);
        task.gpus = self.gpus.unwrap_or(0);
        task.bring = bring(self.bring).unwrap_or_default();
        task.max_results = self.max_results;
        task.login = self.login;
        task.leave = self.leave;
        task.check().map_err(|error| Failure::invalid_params(error.to_string()))?;
        Ok(task)
    }
}

/// Which files come home; no pattern is none of them.
pub(super) fn bring(globs: Option<Vec<String>>) -> Option<Bring> {
    globs.map(|globs| match globs.is_empty() {
        true => Bring::Nothing,
        false => Bring::Globs(globs),
    })
}

impl ScriptParams {
    fn script(self) -> Result<Script, Failure> {
        let named = |name: Option<String>| {
            name.ok_or_else(|| Failure::invalid_params("`task.script.name` is missing"))
        };
        let script = match (self.lines, self.text, self.argv, self.path) {
            (Some(lines), None, None, None) => {
                Script::from_commands(named(self.name)?, Text::all(lines)?)
            }
            (None, Some(text), None, None) => Script::from_text(named(self.name)?, text.bytes()?),
            (None, None, Some(argv), None) => {
                Script::from_argv(named(self.name)?, Text::all(argv)?)
            }
            (None, None, None, Some(path)) => match self.name {
                Some(name) => Script::from_path(path).named(name),
                None => Script::from_path(path),
            },
            _ => {
                let text = "`task.script` has one of `lines`, `text`, `argv` and `path`";
                return Err(Failure::invalid_params(text));
            }
        };
        Ok(match self.max_concurrent {
            Some(limit) => script.max_concurrent(limit),
            None => script,
        })
    }
}

impl DependencyParam {
    fn dependency(self) -> Dependency {
        let parts = match self {
            Self::Path(path) => return Dependency::new(path),
            Self::Parts(parts) => parts,
        };
        let mut dependency = Dependency::new(parts.path).share(parts.share);
        dependency = dependency.gitignore(parts.gitignore);
        dependency.exclude = parts.exclude;
        match parts.name {
            Some(name) => dependency.named(name),
            None => dependency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> Result<Task, Failure> {
        read::<TaskParams>(serde_json::from_str(text).unwrap())?.task()
    }

    fn refused(text: &str) -> String {
        format!("{:?}", task(text).unwrap_err())
    }

    #[test]
    fn makes_tasks_of_texts_and_bytes() {
        let task = task(
            r#"{"script": {"name": "n", "lines": ["a", {"base64": "/w=="}], "max_concurrent": 2},
                "args": ["b", {"base64": "AQ=="}], "env": {"K": "v"}, "dependencies": ["d",
                {"path": "e", "name": "f", "share": true}], "stdin": "in", "timeout": 5, "bring": []}"#,
        )
        .unwrap();
        let script = Script::from_commands("n", [&b"a"[..], b"\xff"]).max_concurrent(2);
        assert_eq!((task.script, task.args), (script, vec![b"b".to_vec(), vec![1]]));
        assert_eq!(task.env, [("K".to_owned(), Secret::from("v"))]);
        assert_eq!(task.dependencies[0], Dependency::new("d"));
        assert_eq!(task.dependencies[1], Dependency::new("e").named("f").share(true));
        assert_eq!(task.stdin, Stdin::Bytes(b"in".to_vec()));
        assert_eq!((task.timeout, task.bring), (Some(Duration::from_secs(5)), Bring::Nothing));
        assert_eq!((task.slots, task.gpus), (1, 0));
    }

    #[test]
    fn says_where_a_parameter_is_wrong() {
        assert!(refused("{}").contains("missing field `script`"));
        assert!(refused("[1]").contains("by name"));
        let wrong = refused(r#"{"script": {"name": 1, "text": ""}}"#);
        assert!(wrong.contains("`script.name`") && wrong.contains("expected a string"), "{wrong}");
        let wrong = refused(r#"{"script": {"name": "n", "text": ""}, "slot": 1}"#);
        assert!(wrong.contains("unknown field `slot`"), "{wrong}");
        let wrong = refused(r#"{"script": {"name": "n", "text": [1]}}"#);
        assert!(wrong.contains("a string, or an object with `base64`"), "{wrong}");
        let wrong = refused(r#"{"script": {"name": "n", "text": "", "path": "p"}}"#);
        assert!(wrong.contains("has one of `lines`"), "{wrong}");
        let wrong = refused(r#"{"script": {"name": "n", "text": ""}, "timeout": 0}"#);
        assert!(wrong.contains("at least one"), "{wrong}");
        let run = |text: &str| {
            format!("{:?}", read::<RunParams>(serde_json::from_str(text).unwrap()).unwrap_err())
        };
        let wrong = run(r#"{"task": {"script": {"name": 1}}}"#);
        assert!(wrong.contains("`task.script.name`: "), "{wrong}");
        let wrong = run(r#"{"task": {"script": {}}, "host": []}"#);
        assert!(wrong.contains("unknown field `host`, expected one of `task`, `hosts`"), "{wrong}");
        assert!(wrong.contains("`output`"), "{wrong}");
    }
}
