//! Where inputs come from: words of the command line, files and stdin.

use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use geto::map::inputs::{Ending, Inputs, Source};
use geto::text::printable;
use geto::{Error, ErrorKind};

use crate::args::MapArgs;

/// Opens all sources of the command line; they are read as their inputs are needed.
pub(super) fn inputs(args: &MapArgs) -> Result<Inputs, Error> {
    let usage = |message: &str| Error::new(ErrorKind::Usage, message);
    let mut inputs = Inputs::new();
    let mut has_stdin = args.task.stdin == Some(None)
        || args.what.words.first().is_some_and(|word| word == "-") && !args.what.is_behind_dashes;
    let mut open = |path: &Path| {
        if path != Path::new("-") {
            return file(args, path);
        }
        if std::mem::replace(&mut has_stdin, true) {
            return Err(usage("stdin can be read for one thing only"));
        }
        source(args, "stdin", BufReader::with_capacity(64 << 10, io::stdin()))
    };
    if args.sources.is_empty() && args.inputs.inputs.is_empty() {
        return Err(usage("there are no inputs")
            .with_hint("give them behind `:::`, in a file with `--inputs FILE`, or `--inputs -`"));
    }
    for path in &args.inputs.inputs {
        inputs = inputs.cross(open(path)?);
    }
    for words in &args.sources {
        let mut is_linked = words.is_linked;
        let mut add = |source| {
            let before = std::mem::take(&mut inputs);
            // Of several files behind one `::::+`, the first is in step with what came before.
            inputs = match std::mem::take(&mut is_linked) {
                true => before.link(source),
                false => before.cross(source),
            };
        };
        if words.are_files {
            for path in &words.words {
                add(open(Path::new(path))?);
            }
        } else {
            let values: Vec<_> = words.words.iter().cloned().map(OsStringExt::into_vec).collect();
            let source = Source::words(values);
            add(match &args.inputs.colsep {
                Some(separator) => source.split(separator.clone()),
                None => source,
            });
        }
    }
    Ok(inputs)
}

/// Begins to count the inputs, for who shows how much is left; none where they can be read only once.
pub(super) fn count(args: &MapArgs) -> Option<Arc<OnceLock<u64>>> {
    let files = args.sources.iter().filter(|words| words.are_files).flat_map(|words| &words.words);
    let mut files = files.map(Path::new).chain(args.inputs.inputs.iter().map(PathBuf::as_path));
    if files.any(|path| !path.is_file()) {
        return None;
    }
    let inputs = inputs(args).ok()?;
    let count = Arc::new(OnceLock::new());
    let counted = Arc::clone(&count);
    let read = move || counted.set(inputs.take_while(Result::is_ok).count() as u64).ok();
    std::thread::Builder::new().name("geto-count".to_owned()).spawn(read).ok()?;
    Some(count)
}

fn file(args: &MapArgs, path: &Path) -> Result<Source, Error> {
    let name = printable(path.as_os_str().as_encoded_bytes());
    let file = fs_err::File::open(path).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("failed to read the inputs of `{name}`"))
            .caused_by(error)
    })?;
    source(args, &name, BufReader::with_capacity(64 << 10, file))
}

fn source(
    args: &MapArgs,
    name: &str,
    reader: impl BufRead + Send + 'static,
) -> Result<Source, Error> {
    let options = &args.inputs;
    if options.csv {
        return Source::csv(name, reader, b',').map_err(unread);
    }
    if options.json_lines {
        return Ok(Source::json_lines(name, reader));
    }
    let ending = if options.null { Ending::Nul } else { Ending::LineFeed };
    let source = Source::lines(name, reader, ending);
    Ok(match &options.colsep {
        Some(separator) => source.split(separator.clone()),
        None => source,
    })
}

/// Inputs that can't be read.
pub(super) fn unread(error: geto::map::inputs::InputError) -> Error {
    Error::new(ErrorKind::Usage, "failed to read the inputs").caused_by(error)
}
