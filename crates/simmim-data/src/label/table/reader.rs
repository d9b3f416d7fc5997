//! The rows of a table, each with its line.

use std::path::Path;

use csv::StringRecord;

use crate::Error;

/// What may separate values, the first that the header has.
const SEPARATORS: [u8; 3] = *b"\t,;";

/// A row, and the line that it begins on, from 1.
pub(super) struct Row {
    pub(super) line: usize,
    values: StringRecord,
}

impl Row {
    /// The value of a column, which every row has.
    pub(super) fn field(&self, column: usize) -> &str {
        self.values.get(column).unwrap_or_default()
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.values.iter()
    }
}

/// Reads a table row by row.
pub(super) struct Reader<'a> {
    table: &'a Path,
    text: &'a str,
    rows: csv::Reader<&'a [u8]>,
    n_columns: usize,
    /// A place in the text, and the line that it is on. The reader's own count is short by the last line where lines end
    /// as on Windows.
    at: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'a Path, text: &'a str) -> Self {
        let header = text.lines().find(|line| !line.trim().is_empty());
        let header = header.unwrap_or_default().as_bytes();
        let separator = SEPARATORS.into_iter().find(|byte| header.contains(byte));
        let rows = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .has_headers(false)
            // A row of another length is refused here, by its line.
            .flexible(true)
            .delimiter(separator.unwrap_or(b','))
            .from_reader(text.as_bytes());
        Self {
            table,
            text,
            rows,
            n_columns: 0,
            at: 0,
            line: 1,
        }
    }

    /// The names of the columns; none of an empty table.
    pub(super) fn header(&mut self) -> Result<Vec<String>, Error> {
        let Some(row) = self.row()? else {
            return Ok(Vec::new());
        };
        self.n_columns = row.values.len();
        Ok(row.fields().map(str::to_owned).collect())
    }

    /// The next row, with a value for each column.
    pub(super) fn next(&mut self) -> Result<Option<Row>, Error> {
        let Some(row) = self.row()? else {
            return Ok(None);
        };
        if row.values.len() != self.n_columns {
            return Err(Error::RowLength {
                path: self.table.to_owned(),
                line: row.line,
                found: row.values.len(),
                expected: self.n_columns,
            });
        }
        Ok(Some(row))
    }

    fn row(&mut self) -> Result<Option<Row>, Error> {
        let mut values = StringRecord::new();
        let is_there = self.rows.read_record(&mut values);
        let is_there = is_there.map_err(|source| Error::Table {
            path: self.table.to_owned(),
            source,
        })?;
        let start = values.position().map_or(0, |at| at.byte() as usize);
        let line = self.line_of(start);
        Ok(is_there.then_some(Row { line, values }))
    }

    /// The line of a row that begins at a byte, or behind the ends of lines that are there.
    fn line_of(&mut self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let n_ends = bytes[start..]
            .iter()
            .take_while(|byte| b"\r\n".contains(byte));
        let start = start + n_ends.count();
        self.line += self.text[self.at..start].matches('\n').count();
        self.at = start;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &str) -> Vec<usize> {
        let mut reader = Reader::new(Path::new("t.csv"), text);
        assert_eq!(reader.header().unwrap(), ["path", "label"]);
        std::iter::from_fn(|| reader.next().unwrap())
            .map(|row| row.line)
            .collect()
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        assert_eq!(lines_of("path,label\na,b\nc,d\n"), [2, 3]);
        assert_eq!(lines_of("path,label\r\na,b\r\nc,d\r\n"), [2, 3]);
        assert_eq!(lines_of("\n\npath,label\n\n\"a\nb\",b\n\nc,d"), [5, 8]);
        assert_eq!(
            lines_of("\r\npath,label\r\n\r\n\"a\r\nb\",b\r\n\r\nc,d"),
            [4, 7]
        );
    }

    #[test]
    fn the_header_says_what_separates_values() {
        for text in [
            "path\tlabel\na,1\tx;y\n",
            "path;label\na,1;\"x;y\"\n",
            "path,label\n\"a,1\",x;y\n",
        ] {
            let mut reader = Reader::new(Path::new("t.csv"), text);
            assert_eq!(reader.header().unwrap(), ["path", "label"]);
            let row = reader.next().unwrap().unwrap();
            assert_eq!((row.field(0), row.field(1)), ("a,1", "x;y"));
        }
    }
}
