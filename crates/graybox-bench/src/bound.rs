//! What one core can do: the same steps written by hand, with no framework and no allocation.
//!
//! The weights live in the order in which the kernels read them, and so do the gradients and Adam's means.
//! Rows go through both networks and back block by block, so that no activation leaves the cache.

#![expect(clippy::inline_always, reason = "kernels")]

mod joint;
mod network;
mod population;
mod tile;

use pulp::{Arch, Simd, WithSimd};

pub(crate) use joint::Joint;
pub(crate) use population::Population;

/// Runs with AVX2 and FMA where they are.
fn vectorize<Op: WithSimd>(operation: Op) -> Op::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return Simd::vectorize(avx2, operation);
    }
    Arch::new().dispatch(operation)
}
