//! Host kernels for small networks: plain slices of `f32` in, plain slices out.
//!
//! A policy here has a few thousand weights and a batch a few dozen rows, so a step is over before a general
//! matrix product has chosen its blocking. These kernels keep a tile of outputs in registers, apply the
//! activation while the rows are still in the first-level cache, and allocate from a pool of their own. The
//! instruction set is found at run time (AVX-512, or AVX2 with FMA, on x86-64, NEON on ARM).
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

/// Runs an operation with the widest registers this machine has. What it computes must not depend on how wide they are,
/// so that a run has the same bits with all of them: a sum goes through the rows one by one, never across a register.
#[inline]
pub(crate) fn vectorize<Op: WithSimd>(operation: Op) -> Op::Output {
    #[cfg(target_arch = "x86_64")]
    if may_use_avx512()
        && let Some(avx512) = pulp::x86::V4::try_new()
    {
        return pulp::Simd::vectorize(avx512, operation);
    }
    vectorize_to_avx2(operation)
}

/// Whether there is no test that has it otherwise.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn may_use_avx512() -> bool {
    #[cfg(test)]
    return !WITHOUT_AVX512.get();
    #[cfg(not(test))]
    true
}

#[cfg(test)]
thread_local! {
    static WITHOUT_AVX512: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What this thread computes as on a machine without AVX-512.
#[cfg(test)]
pub(crate) fn without_avx512<T>(compute: impl FnOnce() -> T) -> T {
    WITHOUT_AVX512.set(true);
    let computed = compute();
    WITHOUT_AVX512.set(false);
    computed
}

/// Runs an operation that sums across a register, so that its last bits depend on its width: at most that of AVX2.
#[inline]
pub(crate) fn vectorize_to_avx2<Op: WithSimd>(operation: Op) -> Op::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return pulp::Simd::vectorize(avx2, operation);
    }
    Arch::new().dispatch(operation)
}
