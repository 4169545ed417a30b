//! What is written where: results on standard output, everything else on standard error.

use std::{
    env,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    Failure,
    paint::{Look, Paint},
    table::Table,
    text,
};

/// The three standard streams, and how they want to be written to.
pub struct Out {
    stdin: Box<dyn Read>,
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    /// Whether results are wanted as JSON.
    pub json: bool,
    pub(crate) stdin_terminal: bool,
    pub(crate) stdout_terminal: bool,
    pub(crate) stderr_terminal: bool,
    color: bool,
    stderr_color: bool,
    /// How many symbols fit into a line of standard output, if it is a terminal.
    width: Option<usize>,
    /// The home as it was given on the command line, for lines that are to be pasted.
    home: Option<String>,
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Out")
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

impl Out {
    /// The streams of this process.
    #[must_use]
    pub fn system() -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (stdout_terminal, stderr_terminal) =
            (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            stdin: Box::new(io::stdin()),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            json: false,
            stdin_terminal: io::stdin().is_terminal(),
            stdout_terminal,
            stderr_terminal,
            color: stdout_terminal && wanted,
            stderr_color: stderr_terminal && wanted,
            width: console::Term::stdout()
                .size_checked()
                .filter(|_| stdout_terminal)
                .map(|(_, width)| usize::from(width).max(40)),
            home: None,
        }
    }

    /// Streams in memory. With `terminal`, standard output is written as if a person read it, without
    /// colour.
    #[must_use]
    pub fn captured(stdin: &str, terminal: bool) -> (Self, Captured) {
        let captured = Captured::default();
        let out = Self {
            stdin: Box::new(io::Cursor::new(stdin.to_owned().into_bytes())),
            stdout: Box::new(Pipe(Arc::clone(&captured.stdout))),
            stderr: Box::new(Pipe(Arc::clone(&captured.stderr))),
            json: false,
            stdin_terminal: false,
            stdout_terminal: terminal,
            stderr_terminal: false,
            color: false,
            stderr_color: false,
            width: None,
            home: None,
        };
        (out, captured)
    }

    /// The same streams with colour, for tests of the colours.
    #[must_use]
    pub fn with_color(mut self) -> Self {
        self.color = true;
        self
    }

    /// The same streams on a screen of so many columns, for tests of what fits.
    #[must_use]
    pub fn with_width(mut self, width: usize) -> Self {
        self.width = Some(width);
        self
    }

    /// Hints name this home: the commands in them are pasted as they stand.
    pub(crate) fn name_home(&mut self, home: Option<&Path>) {
        self.home = home.map(|home| text::shell_word(&home.to_string_lossy()));
    }

    /// A hint whose commands can be pasted.
    pub(crate) fn pasteable(&self, hint: &str) -> String {
        match &self.home {
            Some(home) => hint.replace("`syncctl ", &format!("`syncctl --home {home} ")),
            None => hint.to_owned(),
        }
    }

    /// Writes a result's line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.stdout, "{text}")?;
        // A reader at the other end of a pipe wants each line when it is there.
        Ok(self.stdout.flush()?)
    }

    /// Writes a result as it is.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes)?;
        Ok(self.stdout.flush()?)
    }

    /// Writes a result as JSON: indented for a person, on one line for a program.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if self.stdout_terminal {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.line(&text.map_err(io::Error::from)?)
    }

    /// Writes a table, or else what a person is told about its being empty.
    pub(crate) fn table(&mut self, table: &Table, empty: &str) -> Result<(), Failure> {
        let text = match (self.stdout_terminal, table.is_empty()) {
            (true, true) => format!("{}\n", self.pasteable(empty)),
            (true, false) => table.aligned(self.look()),
            (false, _) => table.plain(None),
        };
        self.raw(text.as_bytes())
    }

    /// Colours a part of a result.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        self.look().paint(paint, text)
    }

    /// How results are to look.
    pub(crate) const fn look(&self) -> Look {
        Look {
            color: self.color,
            width: self.width,
        }
    }

    /// Asks a person yes or no on the terminal. Where nobody can be asked the answer is `otherwise`.
    pub(crate) fn ask(&mut self, question: &str, otherwise: bool) -> Result<bool, Failure> {
        if !(self.stdin_terminal && self.stderr_terminal) {
            return Ok(otherwise);
        }
        let _ = write!(self.stderr, "{question} [y/N] ");
        let _ = self.stderr.flush();
        let answer = self.first_line_of_stdin(64)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Says something that isn't a result. Nothing can be done if that fails.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.stderr, "{text}");
    }

    /// Warns.
    pub(crate) fn warn(&mut self, text: &str) {
        let text = self.pasteable(text);
        let word = if self.stderr_color {
            Paint::Busy.on("warning:")
        } else {
            "warning:".into()
        };
        self.note(&format!("{word} {text}"));
    }

    /// Says what went wrong and what to do next.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if failure.exit() == crate::Exit::Done {
            return;
        }
        let hint = failure.hint().map(|hint| self.pasteable(&hint));
        if self.json {
            let mut error = failure.json();
            error["error"]["hint"] = hint.into();
            self.note(&error.to_string());
            return;
        }
        let word = if self.stderr_color {
            Paint::Bad.on("error:")
        } else {
            "error:".into()
        };
        self.note(&format!("{word} {}", text::safe(&failure.to_string())));
        if let Some(hint) = hint {
            self.note(&format!("  {}", text::safe(&hint)));
        }
    }

    /// The first line of standard input, of at most `limit` bytes.
    pub(crate) fn first_line_of_stdin(&mut self, limit: u64) -> Result<Zeroizing<String>, Failure> {
        let mut line = Zeroizing::new(String::new());
        BufReader::new((&mut self.stdin).take(limit))
            .read_line(&mut line)
            .map_err(|error| {
                let message = format!("standard input can't be read as text: {}", error.kind());
                Failure::failed(message, None)
            })?;
        Ok(line)
    }
}

/// What was written to streams in memory.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Captured {
    /// What is on standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What is on standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }
}

fn read(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
