//! An input → a task.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use geto::map::inputs::{Input, Inputs};
use geto::map::joblog::command_line;
use geto::map::key::Key;
use geto::map::template::{
    Columns, Place, RenderError, Template, TemplateError, Values, appends_input, dependency_name,
};
use geto::map::{MapOrder, MapPlace, content_key};
use geto::{Error, ErrorKind, Script, ScriptBody, Secret, Task};

use crate::args::MapArgs;
use crate::task::task;

/// What one task is made of.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) input: Input,
    /// What it is recognised by in a log; only where there is one.
    pub(super) key: Option<Key>,
}

/// The task, with replacement strings in it.
#[derive(Debug)]
pub(super) struct Recipe {
    task: Task,
    /// What the script is called by in a log: the words before its arguments.
    words: Vec<Vec<u8>>,
    /// The arguments; with a command of the host, all words of it.
    args: Vec<Template>,
    is_command: bool,
    /// Where the variables with replacement strings stand among those of the task.
    env: Vec<(usize, Template)>,
    /// The dependencies' paths, and whether they are named by it.
    dependencies: Vec<(Template, bool)>,
    into: Option<Template>,
}

impl Recipe {
    /// Reads what the arguments describe, for inputs like these.
    pub(super) fn of(args: &MapArgs, inputs: &Inputs) -> Result<Self, Error> {
        let mut task = task(&args.what, &args.task, &args.home, Some(&args.slot.slot_args()))?;
        let (columns, width) = (inputs.columns(), inputs.width());
        let read = |text: &[u8]| template(text, &columns, width);
        let mut words = Vec::new();
        let mut is_command = false;
        let mut texts = std::mem::take(&mut task.args);
        match task.script.body() {
            ScriptBody::Command(argv) => {
                texts = argv.clone();
                is_command = true;
            }
            ScriptBody::File(path) => {
                words.push(path.as_os_str().as_bytes().to_vec());
                let shown = path.display();
                // Read once: all tasks run the same.
                let text = fs_err::read(path).map_err(|error| {
                    usage(&format!("failed to read the script `{shown}`")).caused_by(error)
                })?;
                task.script = task.script.with_text(text);
            }
            ScriptBody::Text(text) => {
                let text = text.strip_suffix(b"\n").unwrap_or(text);
                words = [b"sh", b"-c", text, b"sh"].map(<[u8]>::to_vec).to_vec();
            }
            _ => {}
        }
        let mut rendered = texts.iter().map(|text| read(text)).collect::<Result<Vec<_>, _>>()?;
        let from_files = task.env.len().saturating_sub(args.task.env.len());
        let mut env = Vec::new();
        for (index, word) in args.task.env.iter().enumerate() {
            // `-e K` takes a value from here, as it is.
            if word.as_bytes().contains(&b'=')
                && let Some((_, value)) = task.env.get(from_files + index)
            {
                env.push((from_files + index, read(value.expose())?));
            }
        }
        let named = args.task.dep.len();
        let dependencies = (task.dependencies.iter().enumerate())
            .map(|(index, dependency)| {
                let template = read(dependency.path.as_os_str().as_bytes())?;
                let is_named = index < named && template.mentions_input();
                Ok((template, is_named))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let into = args.home.into.as_ref().map(|into| read(into.as_os_str().as_bytes()));
        let into = into.transpose()?;
        let others = env.iter().map(|(_, t)| t).chain(dependencies.iter().map(|(t, _)| t));
        if appends_input(&rendered, others) {
            rendered.push(read(b"{}")?);
        }
        Ok(Self { task, words, args: rendered, is_command, env, dependencies, into })
    }

    /// The script of all tasks.
    pub(super) fn script(&self) -> &Script {
        &self.task.script
    }

    /// How many slots each task takes.
    pub(super) fn slots(&self) -> u32 {
        self.task.slots
    }

    /// How many tasks of the script's name run on a host at once.
    pub(super) fn limit(&self) -> Option<u32> {
        self.task.script.limit()
    }

    /// What a job is recognised by.
    pub(super) fn key(&self, input: &Input) -> Key {
        let args = self.args.iter().map(Template::text);
        Key::of_input(self.words.iter().map(Vec::as_slice).chain(args), input)
    }

    /// The same with all that the task is sent. What depends on the host counts as empty.
    ///
    /// # Errors
    /// When something that is sent can't be read.
    pub(super) fn content_key(&self, job: &Job, sequence: u64) -> Result<Key, Error> {
        let place = MapPlace::new(sequence, "", 0);
        content_key(self.key(&job.input), &self.order(job, &place)?.task)
    }

    /// Makes the task of a job.
    pub(super) fn order(&self, job: &Job, place: &MapPlace<'_>) -> Result<MapOrder, Error> {
        let values = Values {
            input: &job.input,
            sequence: place.sequence,
            place: Some(Place { host: place.host, slot: place.slot }),
        };
        self.render(&values).map_err(|error| {
            usage(&format!("failed to make a task of input {}", place.sequence)).caused_by(error)
        })
    }

    fn render(&self, values: &Values<'_>) -> Result<MapOrder, RenderError> {
        let mut task = self.task.clone();
        let mut words = Vec::new();
        for arg in &self.args {
            arg.render_words(values, &mut words)?;
        }
        match self.is_command {
            true => {
                let limit = task.script.limit();
                task.script = Script::from_argv(self.task.script.name(), words);
                if let Some(limit) = limit {
                    task.script = task.script.max_concurrent(limit);
                }
            }
            false => task.args = words,
        }
        for (index, template) in &self.env {
            let value = Secret::new(template.render(values)?);
            if let Some((_, old)) = task.env.get_mut(*index) {
                *old = value;
            }
        }
        for ((template, is_named), dependency) in
            self.dependencies.iter().zip(&mut task.dependencies)
        {
            let path = template.render(values)?;
            // What a symbolic link leads to may have another name than `{dep}` says.
            if *is_named && let Some(name) = dependency_name(&path) {
                dependency.name = Some(String::from_utf8_lossy(name).into_owned());
            }
            dependency.path = PathBuf::from(std::ffi::OsString::from_vec(path));
        }
        let mut order = MapOrder::new(task);
        if let Some(into) = &self.into {
            order.into = Some(Path::new(OsStr::from_bytes(&into.render(values)?)).to_owned());
        }
        Ok(order)
    }

    /// The command of a job as a line for a shell; what can't be said of it before its host is chosen
    /// is empty.
    pub(super) fn command(&self, job: &Job, place: Option<&MapPlace<'_>>, sequence: u64) -> String {
        let place = place.map(|place| Place { host: place.host, slot: place.slot });
        let values = Values { input: &job.input, sequence, place };
        let mut words = self.words.clone();
        for arg in &self.args {
            if arg.render_words(&values, &mut words).is_err() {
                return String::new();
            }
        }
        command_line(words.iter().map(Vec::as_slice))
    }
}

fn template(text: &[u8], columns: &Columns, width: Option<usize>) -> Result<Template, Error> {
    let wrong = |error: TemplateError| {
        usage("there is a replacement string that nothing stands for").caused_by(error)
    };
    let template = Template::parse(text, columns).map_err(wrong)?;
    if let Some(width) = width {
        template.check_places(width).map_err(wrong)?;
    }
    Ok(template)
}

fn usage(message: &str) -> Error {
    Error::new(ErrorKind::Usage, message)
}
