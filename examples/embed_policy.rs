//! graybox's models in a training loop of your own: no trainer, no oracle, only burn.
//!
//! A policy learns to imitate a thermostat: context (room, outside) in °C, action heater power in kW. It takes
//! and gives these units, so that the weight file is all another program needs.

use anyhow::Result;
use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use graybox_model::{Affine, HeadConfig, MlpConfig, MlpPolicyConfig, Policy};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What a person would set: 0.4 kW per degree below 21 °C and 0.1 per degree it is colder outside, 0 to 6 kW.
fn thermostat(room: f32, outside: f32) -> f32 {
    (0.4 * (21.0 - room) + 0.1 * (room - outside)).clamp(0.0, 6.0)
}

fn main() -> Result<()> {
    let device = Device::flex();
    let mut rng = StdRng::seed_from_u64(1);
    let config = MlpPolicyConfig {
        body: MlpConfig::new([32, 32]),
        context: Affine::new(vec![18.0, 5.0], vec![4.0, 8.0])?,
        head: HeadConfig::bounded(vec![-0.5], vec![6.5])?,
    };
    let mut policy = config.init(&mut rng, &device).train();
    let mut adam = AdamConfig::new().init();
    let mut last = f32::NAN;
    for step in 0..3_000 {
        let mut rows = || (rng.random_range(10.0..26.0), rng.random_range(-10.0..20.0));
        let rows: Vec<(f32, f32)> = (0..64).map(|_| rows()).collect();
        let x: Vec<f32> = rows
            .iter()
            .flat_map(|(room, outside)| [*room, *outside])
            .collect();
        let wanted: Vec<f32> = rows
            .iter()
            .map(|(room, outside)| thermostat(*room, *outside))
            .collect();
        let x = Tensor::<2>::from_data(TensorData::new(x, [64, 2]), &device);
        let wanted = Tensor::<2>::from_data(TensorData::new(wanted, [64, 1]), &device);

        let error = policy.forward(x) - wanted;
        let loss = (error.clone() * error).mean();
        last = loss.clone().without_autodiff().into_scalar();
        let gradients = GradientsParams::from_grads(loss.backward(), &policy);
        let rate = 5e-3 * (1.0 - f64::from(step) / 3_000.0);
        policy = adam.step(rate, policy, gradients);
    }
    let shown = policy
        .valid()
        .forward(Tensor::from_data([[16.0, 0.0]], &device));
    println!("root mean square error  {:.3} kW", last.sqrt());
    println!(
        "at 16 °C inside, 0 °C outside: {:.2} kW, the thermostat says {:.2}",
        shown.into_scalar::<f32>(),
        thermostat(16.0, 0.0)
    );
    Ok(())
}
