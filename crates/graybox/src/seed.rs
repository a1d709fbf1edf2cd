//! One seed per run, one stream of numbers per purpose.
//!
//! A stream is a function of (seed, purpose, index), so that a run resumed at round `k` draws what the
//! uninterrupted run would have drawn, and no generator needs saving.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The generator of one purpose and index under a seed.
pub(crate) fn stream(seed: u64, purpose: &str, index: u64) -> StdRng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16..24].copy_from_slice(&fnv1a(purpose.as_bytes()).to_le_bytes());
    StdRng::from_seed(key)
}

/// Fowler–Noll–Vo hash, 64 bits: tells purposes and data apart, the same on every machine.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn seed_purpose_and_index_each_make_another_stream() {
        let first = |seed, purpose, index| stream(seed, purpose, index).next_u64();
        assert_eq!(first(1, "round", 0), first(1, "round", 0));
        assert_ne!(first(1, "round", 0), first(2, "round", 0));
        assert_ne!(first(1, "round", 0), first(1, "round", 1));
        assert_ne!(first(1, "round", 0), first(1, "weights", 0));
    }
}
