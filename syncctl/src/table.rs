//! Tables: aligned on a terminal, tab-separated elsewhere.

use console::measure_text_width;
use sync_core::control::FolderState;

use crate::text;

/// How something is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// All is well.
    Good,
    /// Something goes on.
    Busy,
    /// Look at this.
    Bad,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

impl Paint {
    /// Wraps a text in the escape sequences of ECMA-48.
    pub(crate) fn on(self, text: &str) -> String {
        let code = match self {
            Self::Good => "32",
            Self::Busy => "33",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The colour of a folder's state.
pub(crate) const fn state_paint(state: FolderState) -> Paint {
    match state {
        FolderState::Stopped | FolderState::Held => Paint::Bad,
        FolderState::Paused | FolderState::NoPeers => Paint::Faint,
        FolderState::Scanning | FolderState::Syncing => Paint::Busy,
        FolderState::InSync => Paint::Good,
    }
}

/// One field: as a person reads it and as a script does.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    shown: String,
    plain: String,
    paint: Option<Paint>,
    right: bool,
}

impl Cell {
    /// Text, made harmless.
    pub(crate) fn text(text: &str) -> Self {
        let shown = text::safe(text);
        Self {
            plain: shown.clone(),
            shown,
            paint: None,
            right: false,
        }
    }

    /// A number of things.
    pub(crate) fn count(number: u64) -> Self {
        Self {
            shown: text::count(number),
            plain: number.to_string(),
            paint: None,
            right: true,
        }
    }

    /// A number of bytes.
    pub(crate) fn size(bytes: u64) -> Self {
        Self {
            shown: text::size(bytes),
            plain: bytes.to_string(),
            paint: None,
            right: true,
        }
    }

    /// Bytes per second.
    pub(crate) fn rate(bytes: u64) -> Self {
        Self {
            shown: text::rate(bytes),
            plain: bytes.to_string(),
            paint: None,
            right: true,
        }
    }

    /// Seconds, or nothing.
    pub(crate) fn seconds(seconds: Option<u64>, none: &str) -> Self {
        match seconds {
            Some(seconds) => Self {
                shown: text::duration(seconds),
                plain: seconds.to_string(),
                paint: None,
                right: true,
            },
            None => Self {
                shown: none.into(),
                plain: "-".into(),
                paint: Some(Paint::Faint),
                right: true,
            },
        }
    }

    /// Yes or no.
    pub(crate) fn yes(yes: bool) -> Self {
        let text = if yes { "yes" } else { "no" };
        let paint = if yes { Paint::Good } else { Paint::Busy };
        Self {
            shown: text.into(),
            plain: text.into(),
            paint: Some(paint),
            right: false,
        }
    }

    /// A folder's state.
    pub(crate) fn state(state: FolderState) -> Self {
        Self::text(state.as_str()).paint(state_paint(state))
    }

    /// Colours it.
    pub(crate) fn paint(mut self, paint: Paint) -> Self {
        self.paint = Some(paint);
        self
    }

    /// Puts it at the right of its column.
    pub(crate) fn right(mut self) -> Self {
        self.right = true;
        self
    }

    /// Gives a person other words than a script.
    pub(crate) fn shown(mut self, text: String) -> Self {
        self.shown = text;
        self
    }
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For a person: headings, aligned columns, two blanks between them.
    pub(crate) fn aligned(&self, color: bool) -> String {
        let width = |text: &str| measure_text_width(text);
        let widths: Vec<usize> = self
            .headings
            .iter()
            .enumerate()
            .map(|(at, heading)| {
                self.rows
                    .iter()
                    .map(|row| width(&row[at].shown))
                    .fold(width(heading), usize::max)
            })
            .collect();
        let right = |at: usize| self.rows.iter().any(|row| row[at].right);
        let mut out = String::new();
        let mut line = |cells: Vec<(&str, Option<Paint>)>| {
            let last = cells.len() - 1;
            for (at, (text, paint)) in cells.into_iter().enumerate() {
                let blanks = " ".repeat(widths[at] - width(text));
                if right(at) {
                    out.push_str(&blanks);
                }
                match paint {
                    Some(paint) if color => out.push_str(&paint.on(text)),
                    _ => out.push_str(text),
                }
                if at < last {
                    if !right(at) {
                        out.push_str(&blanks);
                    }
                    out.push_str("  ");
                }
            }
            out.push('\n');
        };
        line(
            self.headings
                .iter()
                .map(|heading| (*heading, Some(Paint::Strong)))
                .collect(),
        );
        for row in &self.rows {
            line(
                row.iter()
                    .map(|cell| (cell.shown.as_str(), cell.paint))
                    .collect(),
            );
        }
        out
    }

    /// For a script: exact numbers, tabs between them, no headings; `word`, if any, before each line.
    pub(crate) fn plain(&self, word: Option<&str>) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let cells: Vec<&str> = word
                .into_iter()
                .chain(row.iter().map(|cell| cell.plain.as_str()))
                .collect();
            out.push_str(&cells.join("\t"));
            out.push('\n');
        }
        out
    }
}
