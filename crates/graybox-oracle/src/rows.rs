//! Rows of numbers on the host, and the queries made of them.

use crate::ShapeError;

/// A row-major matrix `[n, width]` of `f64`.
///
/// The width may be zero (a context of no numbers), so the number of rows is kept apart from the data.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    width: usize,
    len: usize,
    data: Vec<f64>,
}

impl Rows {
    /// No rows yet, each to be `width` wide.
    pub fn new(width: usize) -> Self {
        Self::with_capacity(width, 0)
    }

    /// No rows yet, with room for `n` of them.
    pub fn with_capacity(width: usize, n: usize) -> Self {
        Self {
            width,
            len: 0,
            data: Vec::with_capacity(width * n),
        }
    }

    /// Takes a flat row-major buffer.
    ///
    /// # Errors
    /// If the buffer is not a whole number of rows.
    pub fn from_vec(width: usize, data: Vec<f64>) -> Result<Self, ShapeError> {
        let len = data.len();
        if width == 0 || !len.is_multiple_of(width) {
            return Err(ShapeError::NotWholeRows { len, width });
        }
        Ok(Self {
            width,
            len: len / width,
            data,
        })
    }

    /// Appends one row.
    ///
    /// # Errors
    /// If the row is not as wide as the others.
    pub fn push(&mut self, row: &[f64]) -> Result<(), ShapeError> {
        self.fits(row)?;
        self.data.extend_from_slice(row);
        self.len += 1;
        Ok(())
    }

    /// Takes all rows out, and keeps the room they had.
    pub fn clear(&mut self) {
        self.data.clear();
        self.len = 0;
    }

    /// Whether a row is as wide as the others.
    pub(crate) fn fits(&self, row: &[f64]) -> Result<(), ShapeError> {
        if row.len() == self.width {
            return Ok(());
        }
        Err(ShapeError::Width {
            found: row.len(),
            expected: self.width,
        })
    }

    /// Appends all rows of another matrix of the same width.
    ///
    /// # Errors
    /// If the widths differ.
    pub fn append(&mut self, other: &Self) -> Result<(), ShapeError> {
        if other.width != self.width {
            return Err(ShapeError::Width {
                found: other.width,
                expected: self.width,
            });
        }
        self.data.extend_from_slice(&other.data);
        self.len += other.len;
        Ok(())
    }

    /// The rows at these indices, in this order; an index may repeat.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn select(&self, index: &[usize]) -> Self {
        let mut data = Vec::with_capacity(self.width * index.len());
        for &row_idx in index {
            data.extend_from_slice(self.row(row_idx));
        }
        Self {
            width: self.width,
            len: index.len(),
            data,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One row.
    ///
    /// # Panics
    /// If the index is out of range.
    pub fn row(&self, row_idx: usize) -> &[f64] {
        assert!(
            row_idx < self.len,
            "row {row_idx} of {} asked for",
            self.len
        );
        &self.data[row_idx * self.width..(row_idx + 1) * self.width]
    }

    /// One row, to write to.
    ///
    /// # Panics
    /// If the index is out of range.
    pub fn row_mut(&mut self, row_idx: usize) -> &mut [f64] {
        assert!(
            row_idx < self.len,
            "row {row_idx} of {} asked for",
            self.len
        );
        &mut self.data[row_idx * self.width..(row_idx + 1) * self.width]
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        (0..self.len).map(|row_idx| self.row(row_idx))
    }

    /// The flat row-major buffer.
    pub fn as_slice(&self) -> &[f64] {
        &self.data
    }
}

/// Rows (x, u) to ask an oracle about: `x` is `[n, d_x]`, `u` is `[n, d_u]`.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    x: &'a Rows,
    u: &'a Rows,
}

impl<'a> Queries<'a> {
    /// Pairs contexts with actions.
    ///
    /// # Errors
    /// If their numbers differ.
    pub fn new(x: &'a Rows, u: &'a Rows) -> Result<Self, ShapeError> {
        if x.len() != u.len() {
            return Err(ShapeError::Unpaired {
                x: x.len(),
                u: u.len(),
            });
        }
        Ok(Self { x, u })
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.x.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.x.is_empty()
    }

    /// All contexts, `[n, d_x]`.
    pub fn x(&self) -> &'a Rows {
        self.x
    }

    /// All actions, `[n, d_u]`.
    pub fn u(&self) -> &'a Rows {
        self.u
    }

    /// The pairs (x, u), in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a [f64], &'a [f64])> {
        let (x, u) = (self.x, self.u);
        (0..x.len()).map(move |row_idx| (x.row(row_idx), u.row(row_idx)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_no_width_still_count() {
        let mut rows = Rows::new(0);
        rows.push(&[]).unwrap();
        rows.push(&[]).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows.iter().count(), 2);
        assert_eq!(rows.row(1), &[] as &[f64]);
    }

    #[test]
    fn what_was_cleared_has_the_same_width_and_no_rows() {
        let mut rows = Rows::from_vec(2, vec![1.0, 2.0]).unwrap();
        rows.clear();
        assert!(rows.is_empty() && rows.as_slice().is_empty());
        rows.push(&[3.0, 4.0]).unwrap();
        assert_eq!(rows, Rows::from_vec(2, vec![3.0, 4.0]).unwrap());
    }

    #[test]
    fn a_buffer_that_is_not_whole_rows_is_refused() {
        assert_eq!(
            Rows::from_vec(2, vec![1.0, 2.0, 3.0]),
            Err(ShapeError::NotWholeRows { len: 3, width: 2 })
        );
    }

    #[test]
    fn selecting_keeps_order_and_repeats() {
        let rows = Rows::from_vec(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(
            rows.select(&[1, 0, 1]).as_slice(),
            &[3.0, 4.0, 1.0, 2.0, 3.0, 4.0]
        );
    }

    #[test]
    fn unpaired_queries_are_refused() {
        let x = Rows::from_vec(1, vec![1.0, 2.0]).unwrap();
        let u = Rows::from_vec(1, vec![1.0]).unwrap();
        assert_eq!(
            Queries::new(&x, &u).map(|_| ()),
            Err(ShapeError::Unpaired { x: 2, u: 1 })
        );
    }
}
