//! What is written to a program.

/// The handshake.
pub(crate) const DESCRIBE: &[u8] = b"{\"id\":0,\"describe\":true}\n";

/// Appends the line that asks for one row.
pub(crate) fn write_row(line: &mut Vec<u8>, id: u64, x: &[f64], u: &[f64]) {
    line.extend_from_slice(b"{\"id\":");
    write_value(line, &id);
    line.extend_from_slice(b",\"x\":");
    write_value(line, x);
    line.extend_from_slice(b",\"u\":");
    write_value(line, u);
    line.extend_from_slice(b"}\n");
}

/// Appends the line that asks for several rows at once.
pub(crate) fn write_rows<'a>(
    line: &mut Vec<u8>,
    id: u64,
    x: impl Iterator<Item = &'a [f64]>,
    u: impl Iterator<Item = &'a [f64]>,
) {
    line.extend_from_slice(b"{\"id\":");
    write_value(line, &id);
    line.extend_from_slice(b",\"x\":");
    write_list(line, x);
    line.extend_from_slice(b",\"u\":");
    write_list(line, u);
    line.extend_from_slice(b"}\n");
}

fn write_list<'a>(line: &mut Vec<u8>, rows: impl Iterator<Item = &'a [f64]>) {
    line.push(b'[');
    for (row_idx, row) in rows.enumerate() {
        if row_idx > 0 {
            line.push(b',');
        }
        write_value(line, row);
    }
    line.push(b']');
}

fn write_value<T: serde::Serialize + ?Sized>(line: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(line, value)
        .expect("numbers and lists of them are JSON, and a vector takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_one_line_each() {
        let mut line = Vec::new();
        write_row(&mut line, 7, &[1.0, 0.1], &[]);
        let (a, b) = ([0.5], [-2e-9]);
        let (x, u) = ([&a[..], &b], [&b[..], &a]);
        write_rows(&mut line, 8, x.into_iter(), u.into_iter());
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"id\":7,\"x\":[1.0,0.1],\"u\":[]}\n\
             {\"id\":8,\"x\":[[0.5],[-2e-9]],\"u\":[[-2e-9],[0.5]]}\n"
        );
    }
}
