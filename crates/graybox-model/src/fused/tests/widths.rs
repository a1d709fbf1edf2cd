//! A run has the same bits whatever registers its machine has: here, whether AVX-512 is used where it is there.

use super::*;
use crate::kernels::without_avx512;

fn bits(tensor: &Tensor<2>) -> Vec<u32> {
    let values = tensor.clone().into_data().try_to_vec_as::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

/// What this comes to must not depend on the width of registers.
fn assert_same(compute: impl Fn() -> Vec<Tensor<2>>) {
    let wide = compute();
    let narrow = without_avx512(&compute);
    assert_eq!(wide.len(), narrow.len());
    for (wide, narrow) in wide.iter().zip(&narrow) {
        assert_eq!(bits(wide), bits(narrow));
    }
}

#[test]
fn networks_and_their_gradients_have_the_same_bits_in_registers_of_any_width() {
    for activation in [Activation::Tanh, Activation::Relu] {
        for hidden in [&[32, 32][..], &[7], &[64, 64], &[19, 40]] {
            for n in [1, 6, 37, 64] {
                assert_same(|| {
                    let mut rng = StdRng::seed_from_u64(1);
                    let surrogate = surrogate(&mut rng, [3, 2, 5], mlp(hidden, activation)).train();
                    let [x, u] =
                        [3, 2].map(|width| random(&mut rng, [n, width]).autodiff().require_grad());
                    let y = surrogate.forward(x.clone(), u.clone());
                    let found = gradients(&surrogate, &[x, u], y.clone());
                    [y].into_iter().chain(found.into_iter().flatten()).collect()
                });
            }
        }
    }
}

#[test]
fn steps_of_adam_and_soap_have_the_same_bits_in_registers_of_any_width() {
    let adam = |time| AdamStep {
        beta_1: 0.95,
        beta_2: 0.95,
        epsilon: 1e-8,
        rate: 3e-3,
        time,
    };
    for shape in [[1, 33], [7, 5], [9, 24], [64, 64], [32, 2]] {
        assert_same(|| {
            let mut rng = StdRng::seed_from_u64(2);
            let mut parameter = random(&mut rng, shape);
            let mut means = SoapMeans::new(&parameter);
            for time in 1..=40 {
                let step = SoapStep {
                    adam: adam(time),
                    beta_gram: 0.95,
                    decay: 1e-3,
                    turn: time % 10 == 1,
                };
                (parameter, means) = step.apply(parameter, random(&mut rng, shape), means);
            }
            vec![parameter]
        });
    }
}
