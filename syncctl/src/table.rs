//! Tables: aligned and no wider than the screen on a terminal, tab-separated elsewhere. `comfy-table` does the
//! aligning and the wrapping; here is what a cell is to a person and to a script, and which columns go first where
//! there is no room for all.

use comfy_table::{
    Attribute, Cell as Shown, CellAlignment, ColumnConstraint, ContentArrangement, presets::NOTHING,
};
use console::measure_text_width;
use sync_core::control::FolderState;

use crate::{
    paint::{Look, Paint, state_paint},
    text,
};

/// Blanks between two columns.
const GAP: usize = 2;

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

    /// What a person and a script read of a number.
    fn number(shown: String, number: u64) -> Self {
        Self {
            shown,
            plain: number.to_string(),
            paint: None,
            right: true,
        }
    }

    /// A number of things.
    pub(crate) fn count(number: u64) -> Self {
        Self::number(text::count(number), number)
    }

    /// A number of bytes.
    pub(crate) fn size(bytes: u64) -> Self {
        Self::number(text::size(bytes), bytes)
    }

    /// Bytes per second.
    pub(crate) fn rate(bytes: u64) -> Self {
        Self::number(text::rate(bytes), bytes)
    }

    /// Seconds, or nothing.
    pub(crate) fn seconds(seconds: Option<u64>, none: &str) -> Self {
        match seconds {
            Some(seconds) => Self::number(text::duration(seconds), seconds),
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
        let (text, paint) = if yes {
            ("yes", Paint::Good)
        } else {
            ("no", Paint::Busy)
        };
        Self::text(text).paint(paint)
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
    spare: &'static [&'static str],
    wrap: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            spare: &[],
            wrap: &[],
            rows: Vec::new(),
        }
    }

    /// Columns that are left out one after the other, the first of these first, where there is no room for all.
    pub(crate) fn spare(mut self, columns: &'static [&'static str]) -> Self {
        self.spare = columns;
        self
    }

    /// Columns whose text may go on in the next line.
    pub(crate) fn wrap(mut self, columns: &'static [&'static str]) -> Self {
        self.wrap = columns;
        self
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For a person: headings, aligned columns, two blanks between them. What has no room in its column goes on in the
    /// next line; what columns were left out is said below.
    pub(crate) fn aligned(&self, look: Look) -> String {
        let (columns, left_out) = self.columns_that_fit(look.width);
        let mut table = comfy_table::Table::new();
        table.load_preset(NOTHING);
        if look.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        match look.width {
            Some(width) => {
                table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
                table.set_content_arrangement(ContentArrangement::Dynamic);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        let right = |at: usize| self.rows.iter().any(|row| row[at].right);
        table.set_header(
            columns
                .iter()
                .map(|at| Shown::new(self.headings[*at]).add_attribute(Attribute::Bold)),
        );
        for row in &self.rows {
            table.add_row(columns.iter().map(|at| {
                let cell = Shown::new(&row[*at].shown);
                match row[*at].paint {
                    Some(paint) => paint.on_cell(cell),
                    None => cell,
                }
            }));
        }
        let last = columns.len() - 1;
        for (place, at) in columns.iter().enumerate() {
            let Some(column) = table.column_mut(place) else {
                continue;
            };
            column.set_padding((0, if place == last { 0 } else { 2 }));
            if right(*at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if !self.wrap.contains(&self.headings[*at]) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut out = String::new();
        for line in table.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        if !left_out.is_empty() {
            let told = format!("not shown for want of room: {}", left_out.join(", "));
            out.push_str(&look.paint(Paint::Faint, &told));
            out.push('\n');
        }
        out
    }

    /// The columns for which there is room, by number, and the headings of the others.
    fn columns_that_fit(&self, width: Option<usize>) -> (Vec<usize>, Vec<&'static str>) {
        let mut columns: Vec<usize> = (0..self.headings.len()).collect();
        let mut left_out = Vec::new();
        let natural = |at: usize| {
            let cells = self
                .rows
                .iter()
                .map(|row| measure_text_width(&row[at].shown));
            let heading = measure_text_width(self.headings[at]);
            let content = cells.fold(heading, usize::max);
            // A column that wraps is content with a part of its width.
            if self.wrap.contains(&self.headings[at]) {
                content.min(heading.max(24))
            } else {
                content
            }
        };
        let Some(width) = width else {
            return (columns, left_out);
        };
        for spare in self.spare {
            let needed: usize = columns.iter().map(|at| natural(*at) + GAP).sum();
            if needed <= width + GAP {
                break;
            }
            columns.retain(|at| self.headings[*at] != *spare);
            left_out.push(*spare);
        }
        (columns, left_out)
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
