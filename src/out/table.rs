//! A table as Docker prints it: columns set off by three spaces, no borders.

use super::width_of;

/// Columns are at least this wide, with what sets them off: Docker's settings of Go's tabwriter.
const LEAST: usize = 10;
/// What sets a column off.
const PADDING: usize = 3;

/// A table that is filled cell by cell; all its text lies in one piece, since a list may have thousands.
#[derive(Debug, Default)]
pub struct Table {
    text: String,
    /// Where each cell ends in the text, and how many columns of a terminal it takes.
    cells: Vec<(usize, usize)>,
    /// The number of cells up to the end of each row.
    rows: Vec<usize>,
}

impl Table {
    /// A table with this first row.
    pub fn with_header<S: AsRef<str>>(header: impl IntoIterator<Item = S>) -> Table {
        let mut table = Table::default();
        table.row(header);
        table
    }

    /// Adds a row.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        for cell in cells {
            self.cell(|text| text.push_str(cell.as_ref()));
        }
        self.end_row();
    }

    /// Adds a cell to the row that has not ended yet: `write` appends its text to what is there.
    pub fn cell(&mut self, write: impl FnOnce(&mut String)) {
        let begin = self.text.len();
        write(&mut self.text);
        let width = width_of(&self.text[begin..]);
        self.cells.push((self.text.len(), width));
    }

    /// Ends the row.
    pub fn end_row(&mut self) {
        self.rows.push(self.cells.len());
    }

    /// The rows, each as wide as the widest and with a line feed at its end; the last cell is not padded.
    pub fn finish(self) -> String {
        let mut widths = vec![];
        let mut first = 0;
        for &last in &self.rows {
            let cells = &self.cells[first..last];
            widths.resize(widths.len().max(cells.len()), LEAST);
            for (width, (_, cell)) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell + PADDING);
            }
            first = last;
        }
        let blanks = " ".repeat(widths.iter().copied().max().unwrap_or(0));
        let line = widths.iter().sum::<usize>() + 1;
        let mut text = String::with_capacity(self.text.len() + line * self.rows.len());
        let (mut cell, mut begin) = (0, 0);
        for &last in &self.rows {
            for (column, width) in widths.iter().enumerate() {
                let mut used = 0;
                if cell < last {
                    let (end, width) = self.cells[cell];
                    text.push_str(&self.text[begin..end]);
                    (used, begin, cell) = (width, end, cell + 1);
                }
                if column + 1 < widths.len() {
                    text.push_str(&blanks[used..*width]);
                }
            }
            text.push('\n');
        }
        text
    }
}
