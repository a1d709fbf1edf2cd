//! Data files: CSV with a header, and Parquet, known by its ending.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};
use graybox::Dataset;

/// The names of a file's columns.
pub(crate) fn header(path: &Path) -> Result<Vec<String>> {
    if is_parquet(path) {
        return columnar::header(path);
    }
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(reader.headers()?.iter().map(str::to_owned).collect())
}

/// The rows of a file, from the named columns.
pub(crate) fn read(path: &Path, x: &[String], target: &[String]) -> Result<Dataset> {
    if is_parquet(path) {
        return columnar::read(path, x, target);
    }
    Ok(Dataset::read_csv(path, x, target)?)
}

fn is_parquet(path: &Path) -> bool {
    let ending = path.extension().map(OsStr::to_ascii_lowercase);
    ending.is_some_and(|ending| ending == "parquet" || ending == "pq")
}

#[cfg(feature = "parquet")]
mod columnar {
    use std::fs::File;
    use std::path::Path;
    use std::sync::Arc;

    use anyhow::{Context, Result, anyhow, bail};
    use graybox::Dataset;
    use graybox::oracle::Rows;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use parquet::schema::types::Type;

    pub(super) fn header(path: &Path) -> Result<Vec<String>> {
        Ok(names(&open(path)?))
    }

    pub(super) fn read(path: &Path, x: &[String], target: &[String]) -> Result<Dataset> {
        let shown = path.display();
        let reader = open(path)?;
        let schema = reader.metadata().file_metadata().schema();
        let mut wanted: Vec<&String> = x.iter().chain(target).collect();
        wanted.sort();
        wanted.dedup();
        let field = |name: &&String| {
            let found = schema
                .get_fields()
                .iter()
                .find(|field| field.name() == **name);
            found.cloned().with_context(|| {
                let known = names(&reader).join(", ");
                format!("{shown}: no column {name:?}; the file has {known}")
            })
        };
        let fields = wanted
            .iter()
            .map(field)
            .collect::<Result<Vec<Arc<Type>>>>()?;
        let only = Type::group_type_builder(schema.name())
            .with_fields(fields)
            .build();
        let rows = only.and_then(|only| reader.get_row_iter(Some(only)));
        let unreadable = |error| anyhow!("cannot read {shown}: {error}");

        let mut data = [Rows::new(x.len()), Rows::new(target.len())];
        for (row_idx, row) in rows.map_err(unreadable)?.enumerate() {
            let row = row.map_err(unreadable)?;
            let number = |name: &String| {
                let (_, field) = (row.get_column_iter())
                    .find(|(column, _)| *column == name)
                    .with_context(|| format!("{shown}: no column {name:?}"))?;
                let value = number(field).filter(|value| value.is_finite());
                value.with_context(|| {
                    format!(
                        "{shown}: row {}, column {name:?}: {field} is not a finite number",
                        row_idx + 1
                    )
                })
            };
            for (rows, columns) in data.iter_mut().zip([x, target]) {
                let values = columns.iter().map(number).collect::<Result<Vec<f64>>>()?;
                rows.push(&values)?;
            }
        }
        let [x, target] = data;
        if x.is_empty() && target.is_empty() {
            bail!("{shown} has no rows");
        }
        Ok(Dataset::new(x, target)?)
    }

    fn open(path: &Path) -> Result<SerializedFileReader<File>> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        SerializedFileReader::new(file).map_err(|error| anyhow!("cannot read {shown}: {error}"))
    }

    fn names(reader: &SerializedFileReader<File>) -> Vec<String> {
        let fields = reader.metadata().file_metadata().schema().get_fields();
        fields.iter().map(|field| field.name().to_owned()).collect()
    }

    /// A value of any numeric type.
    fn number(field: &Field) -> Option<f64> {
        Some(match field {
            Field::Double(value) => *value,
            Field::Float(value) => f64::from(*value),
            Field::Float16(value) => f64::from(*value),
            Field::Byte(value) => f64::from(*value),
            Field::Short(value) => f64::from(*value),
            Field::Int(value) => f64::from(*value),
            Field::Long(value) => *value as f64,
            Field::UByte(value) => f64::from(*value),
            Field::UShort(value) => f64::from(*value),
            Field::UInt(value) => f64::from(*value),
            Field::ULong(value) => *value as f64,
            _ => return None,
        })
    }
}

/// A program that was built without Parquet says so.
#[cfg(not(feature = "parquet"))]
mod columnar {
    use std::path::Path;

    use anyhow::{Error, Result, anyhow};
    use graybox::Dataset;

    pub(super) fn header(path: &Path) -> Result<Vec<String>> {
        Err(missing(path))
    }

    fn missing(path: &Path) -> Error {
        anyhow!(
            "{} is Parquet, which this graybox was built without: build it again with `--features parquet`, or give \
             the data as CSV",
            path.display()
        )
    }

    pub(super) fn read(path: &Path, _: &[String], _: &[String]) -> Result<Dataset> {
        Err(missing(path))
    }
}
