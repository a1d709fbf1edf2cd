//! Host kernels for small networks: plain slices of `f32` in, plain slices out.
//!
//! A policy here has a few thousand weights and a batch a few dozen rows, so a step is over before a general
//! matrix product has chosen its blocking. These kernels keep a tile of outputs in registers, apply the
//! activation while the rows are still in the first-level cache, and allocate from a pool of their own. The
//! instruction set is found at run time (AVX2 with FMA on x86-64, NEON on ARM).
//!
//! Nothing in this folder knows burn; [`crate::fused`] hangs the kernels into its graph.

#![expect(
    clippy::inline_always,
    reason = "code that is generic over registers becomes instructions only inside the function that has them enabled"
)]

mod activation;
mod adam;
mod buffer;
mod network;
mod orthonormal;
mod soap;
mod tile;
mod transpose;

use pulp::{Arch, WithSimd};

pub(crate) use activation::tanh_in_place;
pub(crate) use adam::Adam;
pub(crate) use buffer::Buffer;
pub(crate) use network::{Layer, Network, Trace, Wanted};
pub(crate) use soap::{Basis, Matrix, Soap};

/// Runs an operation with the widest registers this machine has.
#[inline]
pub(crate) fn vectorize<Op: WithSimd>(operation: Op) -> Op::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return pulp::Simd::vectorize(avx2, operation);
    }
    Arch::new().dispatch(operation)
}
