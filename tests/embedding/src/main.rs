//! Policy and surrogate as ordinary burn modules in somebody else's training loop.
//!
//! The loop is burn's own: forward, backward, Adam. It fits a surrogate to a known function, then trains a
//! policy through it, and ends with an error if either has not learned. With an argument it writes the policy's
//! weights to that file, for the page of `tests/embedding_wasm`.

use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use graybox_model::{
    Affine, HeadConfig, MlpConfig, MlpPolicy, MlpPolicyConfig, MlpSurrogateConfig, Policy,
    Surrogate,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ROWS: usize = 256;

/// The function to be inverted: y = u + x u, so u = Y / (1 + x).
fn outcome(x: &Tensor<2>, u: &Tensor<2>) -> Tensor<2> {
    u.clone() + x.clone() * u.clone()
}

fn column(rng: &mut StdRng, low: f32, high: f32, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..ROWS).map(|_| rng.random_range(low..high)).collect();
    Tensor::from_data(TensorData::new(values, [ROWS, 1]), device)
}

fn mean_square(error: Tensor<2>) -> Tensor<1> {
    (error.clone() * error).mean()
}

fn loss(policy: &MlpPolicy, rng: &mut StdRng, device: &Device) -> f32 {
    let x = column(rng, 0.0, 1.0, device);
    let y = outcome(&x, &policy.forward(x.clone()));
    mean_square(y - 1.0).into_scalar()
}

fn main() {
    let device = Device::flex();
    let mut rng = StdRng::seed_from_u64(1);
    let context = Affine::new(vec![0.5], vec![0.3]).expect("one shift and one scale");
    let head = HeadConfig::bounded(vec![0.0], vec![2.0]).expect("low is below high");
    let mut surrogate = MlpSurrogateConfig {
        body: MlpConfig::new([32, 32]),
        context: context.clone(),
        action: head.affine(),
        outcome: Affine::identity(1),
    }
    .init(&mut rng, &device)
    .train();
    let mut policy = MlpPolicyConfig {
        body: MlpConfig::new([16]),
        context,
        head,
    }
    .init(&mut rng, &device)
    .train();
    let before = loss(&policy.valid(), &mut rng, &device);

    let mut adam = AdamConfig::new().init();
    for _ in 0..800 {
        let x = column(&mut rng, 0.0, 1.0, &device);
        let u = column(&mut rng, 0.0, 2.0, &device);
        let error = surrogate.forward(x.clone(), u.clone()) - outcome(&x, &u);
        let gradients = mean_square(error).backward();
        let gradients = GradientsParams::from_grads(gradients, &surrogate);
        surrogate = adam.step(3e-3, surrogate, gradients);
    }
    let frozen = surrogate.valid();
    let mut adam = AdamConfig::new().init();
    for _ in 0..800 {
        let x = column(&mut rng, 0.0, 1.0, &device);
        let u = policy.forward(x.clone());
        let gradients = mean_square(frozen.forward(x, u) - 1.0).backward();
        let gradients = GradientsParams::from_grads(gradients, &policy);
        policy = adam.step(3e-3, policy, gradients);
    }
    let after = loss(&policy.valid(), &mut rng, &device);
    println!("true loss {before:.2e} -> {after:.2e}");
    assert!(
        after < before / 100.0 && after < 1e-3,
        "the policy has not learned"
    );
    if let Some(file) = std::env::args().nth(1) {
        let written = policy.valid().into_record().save(file);
        written.expect("the weights can be written");
    }
}
