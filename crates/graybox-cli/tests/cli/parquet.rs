//! Data in Parquet files, as pyarrow (snappy) and polars (zstd) write them.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::desk::{Desk, INIT};

#[test]
fn a_parquet_file_trains_the_policy_that_its_csv_trains() {
    let desk = Desk::with_settings();
    desk.ok("train run.toml --calls 64 --out csv");
    let settings = desk.read("run.toml");
    for name in ["throw.parquet", "throw_zstd.parquet"] {
        desk.take(&format!("data/{name}"));
        desk.ok(&INIT.replace("throw.csv", &format!("{name} --overwrite")));
        desk.edit("run.toml", "\"anchored\"", "\"joint\"");
        assert_eq!(desk.read("run.toml"), settings.replace("throw.csv", name));
        desk.ok(&format!("train run.toml --calls 64 --out {name}-run"));
        assert!(
            desk.bytes(&format!("{name}-run/policy.safetensors"))
                == desk.bytes("csv/policy.safetensors")
        );
    }
    desk.ok("evaluate csv --data throw.parquet");
}

/// A column: numbers, some of them missing, or words.
enum Column {
    Numbers(&'static [Option<f64>]),
    Words(&'static [&'static str]),
}

fn write(path: &Path, columns: &[(&str, Column)]) {
    let fields = columns.iter().map(|(name, column)| match column {
        Column::Numbers(_) => format!("OPTIONAL DOUBLE {name};"),
        Column::Words(_) => format!("REQUIRED BYTE_ARRAY {name} (UTF8);"),
    });
    let schema = format!("message data {{ {} }}", fields.collect::<String>());
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, column) in columns {
        let mut to = group.next_column().unwrap().unwrap();
        match column {
            Column::Numbers(numbers) => {
                let there: Vec<i16> = numbers.iter().map(|n| i16::from(n.is_some())).collect();
                let values: Vec<f64> = numbers.iter().copied().flatten().collect();
                let typed = to.typed::<DoubleType>();
                typed.write_batch(&values, Some(&there), None).unwrap();
            }
            Column::Words(words) => {
                let words: Vec<ByteArray> =
                    words.iter().map(|word| ByteArray::from(*word)).collect();
                let typed = to.typed::<ByteArrayType>();
                typed.write_batch(&words, None, None).unwrap();
            }
        }
        to.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn what_cannot_be_read_from_a_parquet_file_is_named_by_row_and_column() {
    let desk = Desk::with_settings();
    desk.edit("run.toml", "throw.csv", "bad.parquet");
    let refused = |columns: &[(&str, Column)], parts: &[&str]| {
        write(&desk.path("bad.parquet"), columns);
        desk.refused(2, "check run.toml", &[&["bad.parquet"], parts].concat());
    };
    let numbers = |of: &'static [Option<f64>]| Column::Numbers(of);
    let good = || numbers(&[Some(1.0), Some(2.0)]);
    let rest = |bad| [("distance", good()), ("wind", bad), ("range", good())];
    refused(
        &rest(numbers(&[Some(1.0), None])),
        &["row 2, column \"wind\": null is not a finite number"],
    );
    refused(
        &rest(numbers(&[Some(f64::INFINITY), Some(0.0)])),
        &["row 1, column \"wind\": inf"],
    );
    refused(
        &rest(Column::Words(&["calm", "breeze"])),
        &["row 1, column \"wind\": \"calm\" is not a finite number"],
    );
    refused(
        &[("far", good()), ("wind", good()), ("range", good())],
        &["no column \"distance\"; the file has far, wind, range"],
    );
    refused(
        &rest(numbers(&[])).map(|(name, _)| (name, numbers(&[]))),
        &["no rows"],
    );
    desk.write("bad.parquet", "distance,wind,range");
    desk.refused(2, "check run.toml", &["cannot read", "bad.parquet"]);
    desk.edit("run.toml", "bad.parquet", "none.parquet");
    desk.refused(2, "check run.toml", &["cannot read", "none.parquet"]);
}
