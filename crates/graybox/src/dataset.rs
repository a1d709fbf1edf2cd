//! What a policy is trained on: contexts X and the outcomes Y wanted there.

use std::path::Path;

use graybox_oracle::Rows;
use rand::seq::SliceRandom;

use crate::{DataError, seed};

/// Contexts `[n, d_x]` and targets `[n, d_y]`, all finite, at least one row.
///
/// Rows keep their index: methods that reuse earlier visits of a row find them by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    x: Rows,
    target: Rows,
}

impl Dataset {
    /// Pairs contexts with targets.
    ///
    /// # Errors
    /// If there are no rows, their numbers differ, or a value is not finite.
    pub fn new(x: Rows, target: Rows) -> Result<Self, DataError> {
        if x.len() != target.len() {
            return Err(DataError::Unpaired {
                x: x.len(),
                target: target.len(),
            });
        }
        if x.is_empty() {
            return Err(DataError::Empty);
        }
        check_finite("x", &x)?;
        check_finite("target", &target)?;
        Ok(Self { x, target })
    }

    /// Reads the named columns of a CSV file with a header. Lines that start with `#` are comments.
    ///
    /// # Errors
    /// If the file cannot be read, a column is missing, a line has the wrong number of fields, or a field
    /// is not a finite number; the message names line and column.
    pub fn read_csv<S: AsRef<str>>(path: &Path, x: &[S], target: &[S]) -> Result<Self, DataError> {
        let shown = path.display().to_string();
        let unreadable = |reason: String| DataError::Unreadable {
            path: shown.clone(),
            reason,
        };
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_path(path)
            .map_err(|error| unreadable(error.to_string()))?;
        let header = reader
            .headers()
            .map_err(|error| unreadable(error.to_string()))?
            .clone();
        let find = |column: &S| {
            let position = header.iter().position(|name| name == column.as_ref());
            position.ok_or_else(|| DataError::MissingColumn {
                path: shown.clone(),
                column: column.as_ref().to_string(),
                header: header.iter().collect::<Vec<_>>().join(", "),
            })
        };
        let x_columns = x.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let target_columns = target.iter().map(find).collect::<Result<Vec<_>, _>>()?;

        let mut data = Self {
            x: Rows::new(x.len()),
            target: Rows::new(target.len()),
        };
        for record in reader.records() {
            let record = record.map_err(|error| {
                let said = error.to_string();
                match error.into_kind() {
                    csv::ErrorKind::UnequalLengths {
                        pos,
                        expected_len,
                        len,
                    } => DataError::Fields {
                        path: shown.clone(),
                        line: pos.map_or(0, |pos| pos.line()),
                        found: len,
                        expected: expected_len,
                    },
                    _ => unreadable(said),
                }
            })?;
            let line = record.position().map_or(0, csv::Position::line);
            let parse = |column: &usize| {
                let field = &record[*column];
                let number = field.parse::<f64>().ok().filter(|v| v.is_finite());
                number.ok_or_else(|| DataError::NotANumber {
                    path: shown.clone(),
                    line,
                    column: header[*column].to_string(),
                    found: field.to_string(),
                })
            };
            for (rows, columns) in [
                (&mut data.x, &x_columns),
                (&mut data.target, &target_columns),
            ] {
                let row = columns.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
                rows.push(&row)
                    .expect("a parsed row has one value per column");
            }
        }
        Self::new(data.x, data.target)
    }

    /// Splits off a random share of the rows, rounded to whole rows: `(rest, held out)`.
    ///
    /// # Errors
    /// If either side would have no rows.
    pub fn hold_out(&self, share: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let rows = self.len();
        let held_out = (share * rows as f64).round().max(0.0) as usize;
        if held_out == 0 || held_out >= rows {
            return Err(DataError::Split { held_out, rows });
        }
        let mut index: Vec<usize> = (0..rows).collect();
        index.shuffle(&mut seed::stream(seed, "hold out", 0));
        let (last, first) = index.split_at(held_out);
        Ok((self.select(first), self.select(last)))
    }

    /// The rows at these indices.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn select(&self, index: &[usize]) -> Self {
        Self {
            x: self.x.select(index),
            target: self.target.select(index),
        }
    }

    /// Number of rows, never zero.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.x.len()
    }

    /// Contexts, `[n, d_x]`.
    pub fn x(&self) -> &Rows {
        &self.x
    }

    /// Targets, `[n, d_y]`.
    pub fn target(&self) -> &Rows {
        &self.target
    }
}

fn check_finite(what: &'static str, rows: &Rows) -> Result<(), DataError> {
    for (row, values) in rows.iter().enumerate() {
        if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
            return Err(DataError::NotFinite { what, row, value });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(text: &str) -> Result<Dataset, DataError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Dataset::read_csv(file.path(), &["wind", "range"], &["time"])
    }

    #[test]
    fn a_file_that_is_no_utf_8_is_refused_in_words() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"wind,range,time\n1,2,\xb5\n").unwrap();
        let read = Dataset::read_csv(file.path(), &["wind", "range"], &["time"]);
        let error = read.unwrap_err().to_string();
        assert!(
            error.contains("UTF-8") && !error.contains("Utf8 {"),
            "{error}"
        );
    }

    #[test]
    fn columns_are_found_by_name_and_comments_skipped() {
        let data = read("# made by hand\ntime,range,wind\n1.5, 200 ,-3\n").unwrap();
        assert_eq!(data.x().row(0), &[-3.0, 200.0]);
        assert_eq!(data.target().row(0), &[1.5]);
    }

    #[test]
    fn a_missing_column_is_named_with_those_there_are() {
        let message = read("time,wind\n1,2\n").unwrap_err().to_string();
        assert!(
            message.ends_with("no column \"range\"; the header has time, wind"),
            "{message}"
        );
    }

    #[test]
    fn a_value_that_is_not_finite_is_named_by_line_and_column() {
        for bad in ["NaN", "inf", "", "ten"] {
            let text = format!("wind,range,time\n1,2,3\n4,{bad},6\n");
            let message = read(&text).unwrap_err().to_string();
            assert!(
                message.contains("line 3, column \"range\"") && message.contains(bad),
                "{message}"
            );
        }
    }

    #[test]
    fn a_line_of_the_wrong_width_is_named() {
        let message = read("wind,range,time\n1,2\n").unwrap_err().to_string();
        assert!(
            message.ends_with("line 2: 2 fields where the header has 3"),
            "{message}"
        );
    }

    #[test]
    fn no_rows_and_no_file_are_refused() {
        assert!(matches!(read("wind,range,time\n"), Err(DataError::Empty)));
        let missing = Dataset::read_csv::<&str>(Path::new("no/such.csv"), &[], &[]);
        assert!(matches!(missing, Err(DataError::Unreadable { .. })));
    }

    #[test]
    fn holding_out_parts_the_rows_by_seed() {
        let x = Rows::from_vec(1, (0..10).map(f64::from).collect()).unwrap();
        let data = Dataset::new(x.clone(), x).unwrap();
        let (train, held_out) = data.hold_out(0.3, 1).unwrap();
        assert_eq!((train.len(), held_out.len()), (7, 3));
        let mut all: Vec<f64> = train
            .x()
            .iter()
            .chain(held_out.x().iter())
            .flatten()
            .copied()
            .collect();
        all.sort_by(f64::total_cmp);
        assert_eq!(all, (0..10).map(f64::from).collect::<Vec<_>>());
        assert_eq!(data.hold_out(0.3, 1).unwrap().1, held_out);
        assert_ne!(data.hold_out(0.3, 2).unwrap().1, held_out);
        assert!(matches!(
            data.hold_out(0.0, 1),
            Err(DataError::Split { .. })
        ));
    }
}
