//! Rows of named numbers, as CSV or JSON.

use std::io::{Read, Write};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};

/// Rows read: the numbers that were asked for, and everything to hand back with the answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Table {
    Csv {
        header: Vec<String>,
        /// Every field as it stood.
        records: Vec<Vec<String>>,
    },
    /// Each row an object by name.
    Objects(Vec<Map<String, Value>>),
    /// Each row a list in order.
    Lists(Vec<Vec<Value>>),
}

impl Table {
    /// Reads CSV with a header. Lines that start with `#` are comments.
    pub(crate) fn read_csv(from: impl Read) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(from);
        let header = reader.headers()?.iter().map(str::to_owned).collect();
        let mut records = Vec::new();
        for record in reader.records() {
            records.push(record?.iter().map(str::to_owned).collect());
        }
        Ok(Self::Csv { header, records })
    }

    /// Reads a JSON list of rows.
    pub(crate) fn read_json(from: impl Read) -> Result<Self> {
        let rows: Vec<Value> = serde_json::from_reader(from)
            .map_err(|error| anyhow!("expected a JSON list of rows: {error}"))?;
        let kind = |value: &Value| match value {
            Value::Object(_) => "an object",
            Value::Array(_) => "a list",
            _ => "neither a list nor an object",
        };
        let first = rows.first().map_or("a list", kind);
        if let Some(odd) = rows
            .iter()
            .position(|row| kind(row) != first || !(row.is_object() || row.is_array()))
        {
            bail!(
                "row {odd} is {}, expected every row to be a list of numbers, or every row an object by name",
                kind(&rows[odd])
            );
        }
        Ok(if first == "an object" {
            let rows = rows.into_iter().filter_map(|row| match row {
                Value::Object(row) => Some(row),
                _ => None,
            });
            Self::Objects(rows.collect())
        } else {
            let rows = rows.into_iter().filter_map(|row| match row {
                Value::Array(row) => Some(row),
                _ => None,
            });
            Self::Lists(rows.collect())
        })
    }

    /// The named columns of every row, in this order.
    pub(crate) fn numbers(&self, names: &[String]) -> Result<Vec<Vec<f64>>> {
        match self {
            Self::Csv { header, records } => {
                let columns = names.iter().map(|name| {
                    let column = header.iter().position(|column| column == name);
                    column.with_context(|| {
                        format!("no column {name:?}; the header has {}", header.join(", "))
                    })
                });
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let rows = records.iter().enumerate().map(|(row_idx, record)| {
                    let fields = columns.iter().zip(names).map(|(column, name)| {
                        let field = &record[*column];
                        finite(field.parse().ok()).with_context(|| {
                            format!(
                                "row {}, column {name:?}: {field:?} is not a finite number",
                                row_idx + 1
                            )
                        })
                    });
                    fields.collect()
                });
                rows.collect()
            }
            Self::Objects(rows) => {
                let rows = rows.iter().enumerate().map(|(row_idx, row)| {
                    let fields = names.iter().map(|name| {
                        let value = row.get(name);
                        let number = finite(value.and_then(Value::as_f64));
                        number.with_context(|| match value {
                            Some(value) => {
                                format!("row {row_idx}, {name:?}: {value} is not a finite number")
                            }
                            None => format!("row {row_idx} has no {name:?}"),
                        })
                    });
                    fields.collect()
                });
                rows.collect()
            }
            Self::Lists(rows) => {
                let rows = rows.iter().enumerate().map(|(row_idx, row)| {
                    if row.len() != names.len() {
                        bail!(
                            "row {row_idx} has {} numbers, expected {} ({})",
                            row.len(),
                            names.len(),
                            names.join(", ")
                        );
                    }
                    let fields = row.iter().zip(names).map(|(value, name)| {
                        finite(value.as_f64()).with_context(|| {
                            format!("row {row_idx}, {name:?}: {value} is not a finite number")
                        })
                    });
                    fields.collect()
                });
                rows.collect()
            }
        }
    }

    /// Writes actions in the form the contexts came in. CSV and objects keep what they came with; lists give
    /// the actions alone.
    pub(crate) fn write_with(
        &self,
        names: &[String],
        actions: &[Vec<f32>],
        to: impl Write,
    ) -> Result<()> {
        match self {
            Self::Csv { header, records } => {
                let mut writer = csv::Writer::from_writer(to);
                writer.write_record(header.iter().chain(names))?;
                for (record, action) in records.iter().zip(actions) {
                    let action: Vec<String> = action.iter().map(ToString::to_string).collect();
                    writer.write_record(record.iter().chain(&action))?;
                }
                writer.flush()?;
            }
            Self::Objects(rows) => {
                let rows = rows.iter().zip(actions).map(|(row, action)| {
                    let mut row = row.clone();
                    for (name, value) in names.iter().zip(action) {
                        row.insert(name.clone(), json!(shortest(*value)));
                    }
                    Value::Object(row)
                });
                write_lines(rows.collect(), to)?;
            }
            Self::Lists(_) => {
                let rows = actions.iter().map(|action| {
                    let row = action.iter().map(|value| json!(shortest(*value)));
                    Value::Array(row.collect())
                });
                write_lines(rows.collect(), to)?;
            }
        }
        Ok(())
    }
}

/// A JSON list with a line for every row.
fn write_lines(rows: Vec<Value>, mut to: impl Write) -> Result<()> {
    let rows: Vec<String> = rows.iter().map(|row| format!("  {row}")).collect();
    if rows.is_empty() {
        writeln!(to, "[]")?;
    } else {
        writeln!(to, "[\n{}\n]", rows.join(",\n"))?;
    }
    Ok(to.flush()?)
}

/// The shortest decimal that reads back as this `f32`, rather than all digits of its `f64`.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(ToString::to_string).collect()
    }

    fn answered(table: &Table) -> String {
        let mut out = Vec::new();
        let actions = vec![vec![0.1]; 2];
        table
            .write_with(&names(&["angle"]), &actions, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_form_is_read_by_name_or_order_and_answered_in_kind() {
        let csv = Table::read_csv("# made\nwind,id,far\n1, a,2\n3,b,4\n".as_bytes()).unwrap();
        let objects = r#"[{"far":2,"wind":1,"id":"a"},{"wind":3,"far":4}]"#;
        let objects = Table::read_json(objects.as_bytes()).unwrap();
        let lists = Table::read_json("[[1,2],[3,4]]".as_bytes()).unwrap();
        for table in [&csv, &objects, &lists] {
            let numbers = table.numbers(&names(&["wind", "far"])).unwrap();
            assert_eq!(numbers, [[1.0, 2.0], [3.0, 4.0]]);
        }
        assert_eq!(answered(&csv), "wind,id,far,angle\n1,a,2,0.1\n3,b,4,0.1\n");
        assert_eq!(answered(&lists), "[\n  [0.1],\n  [0.1]\n]\n");
        assert!(answered(&objects).contains(r#""angle":0.1"#));
        assert!(answered(&objects).contains(r#""id":"a""#));
    }

    #[test]
    fn what_cannot_be_read_is_named_by_row_and_column() {
        let csv = Table::read_csv("wind\n1\nx\n".as_bytes()).unwrap();
        let message =
            |table: &Table, name: &str| table.numbers(&names(&[name])).unwrap_err().to_string();
        assert_eq!(
            message(&csv, "wind"),
            "row 2, column \"wind\": \"x\" is not a finite number"
        );
        assert_eq!(
            message(&csv, "far"),
            "no column \"far\"; the header has wind"
        );
        let lists = Table::read_json("[[1,2]]".as_bytes()).unwrap();
        assert_eq!(
            message(&lists, "wind"),
            "row 0 has 2 numbers, expected 1 (wind)"
        );
        let objects = Table::read_json(r#"[{"wind":"x"}]"#.as_bytes()).unwrap();
        assert!(message(&objects, "wind").contains("\"x\" is not a finite number"));
        assert_eq!(message(&objects, "far"), "row 0 has no \"far\"");
        assert!(Table::read_json("[1]".as_bytes()).is_err());
        assert!(Table::read_json("[[1],{}]".as_bytes()).is_err());
        assert!(Table::read_json("{".as_bytes()).is_err());
    }
}
