//! The fused network against burn's own operations.

mod steps;
mod widths;

use std::slice::from_ref;

use super::*;
use crate::link::ToParameters;
use crate::{
    AdamStep, Affine, Ensemble, HeadConfig, MlpConfig, MlpPolicy, MlpPolicyConfig, MlpSurrogate,
    MlpSurrogateConfig, Policy, SoapMeans, SoapStep, Surrogate, Term, squared_error,
    squared_error_gradient,
};
use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::TensorData;
use rand::{RngExt, SeedableRng, rngs::StdRng};

fn random(rng: &mut StdRng, shape: [usize; 2]) -> Tensor<2> {
    let values = (0..shape[0] * shape[1]).map(|_| rng.random_range(-1.5f32..1.5));
    Tensor::from_data(
        TensorData::new(values.collect::<Vec<_>>(), shape),
        &Device::flex(),
    )
}

fn units(rng: &mut StdRng, width: usize) -> Affine {
    let mut draw = |low: f64, high: f64| (0..width).map(|_| rng.random_range(low..high)).collect();
    Affine::new(draw(-0.5, 0.5), draw(0.5, 2.0)).unwrap()
}

fn mlp(hidden: &[usize], activation: Activation) -> MlpConfig {
    MlpConfig {
        hidden: hidden.to_vec(),
        activation,
    }
}

/// `(1 + |expected|)` times the last digits a sum of this length may lose.
fn assert_close(found: &Tensor<2>, expected: &Tensor<2>) {
    assert_eq!(found.dims(), expected.dims());
    let host = |t: &Tensor<2>| t.clone().into_data().try_to_vec_as::<f32>().unwrap();
    for (found, expected) in host(found).iter().zip(host(expected)) {
        let error = (found - expected).abs();
        assert!(error <= 1e-6 * (1.0 + expected.abs()), "{found} {expected}");
    }
}

/// The gradients of all parameters that have one, as rows.
struct Collect<'a> {
    gradients: &'a burn::tensor::Gradients,
    found: Vec<Option<Tensor<2>>>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let gradient = parameter.val().grad(self.gradients);
        let n = parameter.val().shape().num_elements();
        self.found.push(gradient.map(|g| g.reshape([1, n])));
    }
}

fn gradients(
    module: &impl Module,
    inputs: &[Tensor<2>],
    output: Tensor<2>,
) -> Vec<Option<Tensor<2>>> {
    // Every element of the output matters differently, and the gradient has a scale of one.
    let n = output.dims()[0] as f32;
    let [rows, width] = output.dims();
    let weight = (0..rows * width).map(|i| ((i % 7) as f32 - 2.5) / n);
    let weight = TensorData::new(weight.collect::<Vec<_>>(), [rows, width]);
    let weight = Tensor::<2>::from_data(weight, &Device::flex());
    let gradients = (output * weight).sum().backward();
    let mut collect = Collect {
        gradients: &gradients,
        found: inputs.iter().map(|input| input.grad(&gradients)).collect(),
    };
    module.visit(&mut collect);
    collect.found
}

fn assert_same_gradients(found: &[Option<Tensor<2>>], expected: &[Option<Tensor<2>>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.is_some(), expected.is_some());
        if let (Some(found), Some(expected)) = (found, expected) {
            assert_close(found, expected);
        }
    }
}

fn policy(rng: &mut StdRng, d_x: usize, body: MlpConfig, head: HeadConfig) -> MlpPolicy {
    let config = MlpPolicyConfig {
        body,
        context: units(rng, d_x),
        head,
    };
    config.init(rng, &Device::flex())
}

fn surrogate(rng: &mut StdRng, [d_x, d_u, d_y]: [usize; 3], body: MlpConfig) -> MlpSurrogate {
    let config = MlpSurrogateConfig {
        body,
        context: units(rng, d_x),
        action: units(rng, d_u),
        outcome: units(rng, d_y),
    };
    config.init(rng, &Device::flex())
}

#[test]
fn a_policy_equals_its_composed_form_in_value_and_gradient() {
    let rng = &mut StdRng::seed_from_u64(1);
    let heads = [
        HeadConfig::scaled(vec![1.0, -2.0], vec![3.0, 0.5]).unwrap(),
        HeadConfig::bounded(vec![-1.0, 0.0], vec![2.0, 5.0]).unwrap(),
        HeadConfig::Simplex { n: 2 },
    ];
    let activations = [Activation::Tanh, Activation::Relu, Activation::Silu];
    for (head, activation) in heads.iter().zip(activations) {
        // One row, fewer than a tile, several blocks with a remainder.
        for n in [1, 5, 211] {
            for hidden in [&[][..], &[7], &[33, 16, 9]] {
                let body = mlp(hidden, activation);
                let policy = policy(rng, 3, body, head.clone());
                let x = random(rng, [n, 3]);
                assert_close(&policy.forward(x.clone()), &policy.composed(x.clone()));
                let policy = policy.train();
                assert!(policy.fused(&x).unwrap().is_autodiff());
                for x in [x.clone(), x.autodiff().require_grad()] {
                    let fused = policy.forward(x.clone());
                    let composed = policy.composed(x.clone());
                    assert_close(&fused.clone().inner(), &composed.clone().inner());
                    let inputs = if x.is_autodiff() { vec![x] } else { vec![] };
                    let fused = gradients(&policy, &inputs, fused);
                    let composed = gradients(&policy, &inputs, composed);
                    assert!(fused.iter().flatten().count() >= 2 * (hidden.len() + 1));
                    assert_same_gradients(&fused, &composed);
                }
            }
        }
    }
}

#[test]
fn a_surrogate_equals_its_composed_form_whatever_is_frozen() {
    let rng = &mut StdRng::seed_from_u64(2);
    for dims in [[2, 1, 2], [0, 3, 1], [5, 9, 17]] {
        let trained = surrogate(rng, dims, mlp(&[12, 20], Activation::Tanh)).train();
        let mut half = trained.clone();
        half.body.layers[0] = half.body.layers[0].clone().no_grad();
        let frozen = trained.clone().no_grad();
        let plain = trained.valid();
        for surrogate in [trained, half, frozen, plain] {
            let x = random(rng, [40, dims[0]]);
            let u = random(rng, [40, dims[1]]).autodiff().require_grad();
            assert!(surrogate.fused(&x, &u).is_some());
            let fused = surrogate.forward(x.clone(), u.clone());
            let composed = surrogate.composed(x, u.clone());
            assert_close(&fused.clone().inner(), &composed.clone().inner());
            let inputs = [u];
            let fused = gradients(&surrogate, &inputs, fused);
            let composed = gradients(&surrogate, &inputs, composed);
            assert_same_gradients(&fused, &composed);
        }
    }
}

/// The gradients that a link leads to, in the order of the module's parameters.
fn through(
    link: ToParameters,
    gradient: &Tensor<2>,
    module: &impl Module,
) -> Vec<Option<Tensor<2>>> {
    struct Take(GradientsParams, Vec<Option<Tensor<2>>>);

    impl ModuleVisitor for Take {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let gradient = self.0.remove::<D>(parameter.id);
            let n = parameter.val().shape().num_elements();
            self.1.push(gradient.map(|g| g.reshape([1, n])));
        }
    }

    let mut take = Take(GradientsParams::new(), Vec::new());
    link(gradient.clone(), &mut take.0);
    module.visit(&mut take);
    take.1
}

#[test]
fn links_lead_to_the_gradients_of_the_graph() {
    let rng = &mut StdRng::seed_from_u64(10);
    let n = 37;
    let gradient_of = |y: &Tensor<2>| {
        // What `gradients` weighs outputs by.
        let leaf = y.clone().autodiff().require_grad();
        gradients(&Vec::<Mlp>::new(), from_ref(&leaf), leaf.clone())
            .pop()
            .flatten()
            .unwrap()
    };
    for head in [
        HeadConfig::scaled(vec![1.0, -2.0], vec![3.0, 0.5]).unwrap(),
        HeadConfig::bounded(vec![-1.0, 0.0], vec![2.0, 5.0]).unwrap(),
        HeadConfig::Simplex { n: 2 },
    ] {
        let trained = policy(rng, 3, mlp(&[12, 20], Activation::Silu), head).train();
        let mut half = trained.clone();
        half.body.layers[1] = half.body.layers[1].clone().no_grad();
        for policy in [trained, half] {
            let x = random(rng, [n, 3]);
            let (u, link) = policy.linked(x.clone());
            assert!(!u.is_autodiff());
            let composed = policy.composed(x);
            assert_close(&u, &composed.clone().inner());
            let found = through(link, &gradient_of(&u), &policy);
            assert_same_gradients(&found, &gradients(&policy, &[], composed));
        }
    }

    let body = || mlp(&[12, 20], Activation::Tanh);
    let members = vec![
        surrogate(rng, [2, 3, 2], body()),
        surrogate(rng, [2, 3, 2], body()),
    ];
    let plain = Ensemble { members };
    let (x, u) = (random(rng, [n, 2]), random(rng, [n, 3]));
    let trained = plain.clone().train();
    let (y, link) = trained.linked(x.clone(), u.clone());
    assert!(!y.is_autodiff());
    let gradient = gradient_of(&y);
    let composed = |plain: &Ensemble<MlpSurrogate>, u: &Tensor<2>| {
        let each = plain.members.iter();
        let each = each.map(|member| member.composed(x.clone(), u.clone()));
        each.reduce(|sum, y| sum + y).unwrap() / 2.0
    };
    assert_close(&y, &composed(&plain, &u));
    let expected = gradients(&trained, &[], composed(&trained, &u));
    assert_same_gradients(&through(link, &gradient, &trained), &expected);
    let (_, to_both) = trained.linked_to_both(x.clone(), u.clone());
    let (sent, received) = std::sync::mpsc::channel();
    let link: ToParameters = Box::new(move |gradient, all| {
        let both = to_both(gradient, all);
        sent.send(both).unwrap();
    });
    assert_same_gradients(&through(link, &gradient, &trained), &expected);
    let at_action = received.recv().unwrap();

    let (y, link) = plain.linked_to_action(x.clone(), u.clone());
    assert_close(&y, &composed(&plain, &u));
    let leaf = u.autodiff().require_grad();
    let expected = gradients(&Vec::<Mlp>::new(), from_ref(&leaf), composed(&plain, &leaf));
    assert_same_gradients(&[Some(link(gradient))], &expected);
    assert_same_gradients(&[Some(at_action)], &expected);
}

#[test]
fn two_networks_in_one_graph_have_the_gradients_of_the_composed_ones() {
    let rng = &mut StdRng::seed_from_u64(3);
    let head = HeadConfig::identity(2);
    let policy = policy(rng, 2, mlp(&[8, 8], Activation::Tanh), head).train();
    let surrogate = surrogate(rng, [2, 2, 2], mlp(&[16], Activation::Silu)).train();
    let x = random(rng, [64, 2]);
    let fused = surrogate.forward(x.clone(), policy.forward(x.clone()));
    let composed = surrogate.composed(x.clone(), policy.composed(x));
    let both = vec![policy.body, surrogate.body];
    let fused = gradients(&both, &[], fused);
    assert_same_gradients(&fused, &gradients(&both, &[], composed));
}

#[test]
fn views_of_larger_tensors_are_read_as_what_they_show() {
    let rng = &mut StdRng::seed_from_u64(4);
    let net = mlp(&[6], Activation::Tanh).init(3, 2, rng, &Device::flex());
    let wide = random(rng, [10, 5]);
    let views = [
        wide.clone().narrow(1, 1, 3),
        wide.clone().narrow(1, 0, 3).narrow(0, 2, 4),
        random(rng, [3, 8]).transpose(),
        random(rng, [1, 3]).expand([9, 3]),
    ];
    for view in views {
        assert_close(&net.forward(view.clone()), &net.composed(view));
    }
}

#[test]
fn a_layer_without_bias_and_a_network_of_many_layers_are_no_exception() {
    let rng = &mut StdRng::seed_from_u64(5);
    let mut net = mlp(&[5; 12], Activation::Tanh).init(2, 2, rng, &Device::flex());
    net.layers[1].bias = None;
    let x = random(rng, [7, 2]);
    assert_close(&net.forward(x.clone()), &net.composed(x.clone()));
    let net = net.train();
    let fused = gradients(&net, &[], net.forward(x.clone()));
    assert_same_gradients(&fused, &gradients(&net, &[], net.composed(x)));
}

#[test]
fn a_trained_change_of_units_is_left_to_burn() {
    let rng = &mut StdRng::seed_from_u64(6);
    let body = mlp(&[4], Activation::Tanh);
    let mut policy = policy(rng, 2, body, HeadConfig::identity(1)).train();
    policy.context.shift = policy.context.shift.set_require_grad(true);
    let x = random(rng, [3, 2]);
    assert!(policy.fused(&x).is_none());
    let found = gradients(&policy, &[], policy.forward(x));
    assert_eq!(found.iter().flatten().count(), 1 + 4);
}

#[test]
fn a_population_equals_its_composed_form() {
    let rng = &mut StdRng::seed_from_u64(7);
    for (activation, n) in [
        (Activation::Tanh, 64),
        (Activation::Relu, 1),
        (Activation::Silu, 200),
    ] {
        let mut net = mlp(&[9, 16], activation).init(3, 2, rng, &Device::flex());
        net.layers[1].bias = None;
        // Of the size of a fresh network's, so that sums stay near one.
        let weights = random(rng, [5, net.num_params()]) * 0.3;
        let x = random(rng, [n, 3]);
        let fused = population(&net, &weights, &x).unwrap();
        let composed = net.composed_population(weights, x);
        assert_eq!(fused.dims(), [5, n, 2]);
        let flat = |t: Tensor<3>| t.reshape([5 * n, 2]);
        assert_close(&flat(fused), &flat(composed));
    }
}
