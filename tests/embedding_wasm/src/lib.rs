//! The policy that `tests/embedding` trains, for a page: two numbers cross, a context and an action.

use std::cell::RefCell;

use burn::prelude::*;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use graybox_model::{Affine, HeadConfig, MlpConfig, MlpPolicy, MlpPolicyConfig, Policy};
use rand::SeedableRng;
use rand::rngs::StdRng;

#[link(wasm_import_module = "page")]
unsafe extern "C" {
    /// Fills memory of this module with `crypto.getRandomValues`.
    fn randomness(bytes: *mut u8, len: usize);
}

/// burn gives every parameter a random name.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    bytes: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    // SAFETY: the page writes `len` bytes and no more.
    unsafe { randomness(bytes, len) };
    Ok(())
}

thread_local! {
    static FILE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static POLICY: RefCell<Option<MlpPolicy>> = const { RefCell::new(None) };
}

/// Makes room for a weight file of this many bytes, and says where.
#[unsafe(no_mangle)]
pub extern "C" fn room(bytes: usize) -> *mut u8 {
    FILE.with_borrow_mut(|file| {
        file.resize(bytes, 0);
        file.as_mut_ptr()
    })
}

/// Takes the weights that were written there. False if they are not those of this policy.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> bool {
    let policy = MlpPolicyConfig {
        body: MlpConfig::new([16]),
        context: Affine::identity(1),
        head: HeadConfig::bounded(vec![0.0], vec![2.0]).expect("low is below high"),
    }
    .init(&mut StdRng::seed_from_u64(0), &Device::flex());
    let bytes = Bytes::from_bytes_vec(FILE.take());
    let record = ModuleRecord::from_bytes(bytes);
    let loaded = record
        .and_then(|record| policy.try_load_record(record))
        .ok();
    POLICY.with_borrow_mut(|policy| *policy = loaded);
    POLICY.with_borrow(Option::is_some)
}

/// The action in a context; NaN before [`load`].
#[unsafe(no_mangle)]
pub extern "C" fn act(x: f32) -> f32 {
    let act = |policy: &MlpPolicy| {
        let u = policy.forward(Tensor::from_data([[x]], &Device::flex()));
        u.into_scalar::<f32>()
    };
    POLICY.with_borrow(|policy| policy.as_ref().map_or(f32::NAN, act))
}
