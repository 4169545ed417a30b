//! Colours, and how wide the screen is.

use comfy_table::{Attribute, Cell, Color};
use sync_core::control::FolderState;

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

    /// Colours a cell of a table.
    pub(crate) fn on_cell(self, cell: Cell) -> Cell {
        match self {
            Self::Good => cell.fg(Color::DarkGreen),
            Self::Busy => cell.fg(Color::DarkYellow),
            Self::Bad => cell.fg(Color::DarkRed),
            Self::Faint => cell.add_attribute(Attribute::Dim),
            Self::Strong => cell.add_attribute(Attribute::Bold),
        }
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

/// How results are to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Whether they are coloured.
    pub(crate) color: bool,
    /// How many symbols fit into a line, where that is known.
    pub(crate) width: Option<usize>,
}

impl Look {
    /// Colours a text, if there are colours.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        if self.color {
            paint.on(text)
        } else {
            text.to_owned()
        }
    }
}
