//! Working memory that is taken from a pool and goes back to it.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Buffers kept per thread; a step of two networks holds a dozen at a time.
const KEPT: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A slice of `f32` with arbitrary contents. Dropping it gives the memory to the next one.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// At least as long as what was asked for: it never shrinks, so that nothing is filled twice.
    data: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// `len` numbers, whatever they are.
    pub(crate) fn take(len: usize) -> Self {
        let mut data = POOL
            .try_with(|pool| pool.borrow_mut().pop())
            .ok()
            .flatten()
            .unwrap_or_default();
        if data.len() < len {
            data = vec![0.0; len];
        }
        Self { data, len }
    }

    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self::take(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        // A thread that is ending has no pool left; its memory simply goes.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT && !data.is_empty() {
                pool.push(data);
            }
        });
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::take(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[..self.len]
    }
}
