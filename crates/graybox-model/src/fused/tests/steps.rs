//! Many steps on the fused path against as many by burn's own operations.

use super::*;

/// Policy and surrogate trained together by burn's own Adam, on an L* whose outcomes stand still.
fn losses(
    policy: MlpPolicy,
    surrogate: MlpSurrogate,
    forward: impl Fn(&MlpPolicy, &MlpSurrogate, Tensor<2>) -> Tensor<2>,
) -> Vec<f32> {
    use burn::optim::AdamConfig;

    let x = random(&mut StdRng::seed_from_u64(9), [64, 2]);
    let (target, y) = (x.clone() * 0.5, x.clone() * 0.8);
    let (mut policy, mut surrogate) = (policy.train(), surrogate.train());
    let adam = AdamConfig::new().with_beta_2(0.99).with_epsilon(1e-8);
    let (mut for_policy, mut for_surrogate) = (adam.init(), adam.init());
    let mut losses = Vec::new();
    for _ in 0..1_000 {
        let y_hat = forward(&policy, &surrogate, x.clone());
        let fit = (y_hat.clone() - target.clone()).powi_scalar(2).mean();
        let loss = fit + (y_hat - y.clone()).powi_scalar(2).mean() * 4.0;
        losses.push(loss.clone().inner().into_scalar::<f32>());
        let mut gradients = loss.backward();
        let of_policy = GradientsParams::from_module(&mut gradients, &policy);
        let of_surrogate = GradientsParams::from_module(&mut gradients, &surrogate);
        policy = for_policy.step(1e-3, policy, of_policy);
        surrogate = for_surrogate.step(1e-3, surrogate, of_surrogate);
    }
    losses
}

#[test]
fn a_thousand_steps_have_the_losses_of_the_composed_form() {
    let rng = &mut StdRng::seed_from_u64(8);
    let policy = policy(
        rng,
        2,
        mlp(&[8, 8], Activation::Tanh),
        HeadConfig::identity(1),
    );
    let surrogate = surrogate(rng, [2, 1, 2], mlp(&[12, 12], Activation::Tanh));
    let fused = losses(policy.clone(), surrogate.clone(), |policy, surrogate, x| {
        let u = policy.fused(&x).unwrap();
        surrogate.fused(&x, &u).unwrap()
    });
    let composed = losses(policy, surrogate, |policy, surrogate, x| {
        let u = policy.composed(x.clone());
        surrogate.composed(x, u)
    });
    assert!(
        composed[999] < 0.5 * composed[0],
        "{} {}",
        composed[0],
        composed[999]
    );
    for (step, (fused, composed)) in fused.iter().zip(&composed).enumerate() {
        let error = (fused - composed).abs();
        assert!(error <= 1e-5, "step {step}: {fused} {composed}");
    }
}

/// A network, and what SOAP remembers of its layers.
#[derive(Clone)]
struct Soaped {
    net: Mlp,
    means: Vec<SoapMeans>,
    moments: Vec<[Tensor<1>; 2]>,
}

impl Soaped {
    /// One step on other rows each time, so that Gram matrices soon have full rank: of what they have not seen
    /// any basis will do, and rounding chooses it. Hand-chained and fused, or by the graph and in burn's own
    /// operations; the loss before it.
    fn step(&mut self, time: usize, by_hand: bool) -> f32 {
        let x = random(&mut StdRng::seed_from_u64(100 + time as u64), [32, 3]);
        let target = x.clone().narrow(1, 0, 2) * x.clone().narrow(1, 1, 2);
        let columns = Tensor::<2>::ones([1, 2], &Device::flex());
        let mut gradients = GradientsParams::new();
        let loss = if by_hand {
            let terms = [Term::mean(target)];
            let (y, link) = linked(&[Input::new(&x, None)], &self.net, None).unwrap();
            let gradient = squared_error_gradient(y.clone(), &terms, columns.clone());
            link.into_parameters()(gradient, &mut gradients);
            squared_error(y, &terms, columns)
        } else {
            let residual = self.net.composed(x) - target;
            let loss = residual.powi_scalar(2).sum() / 32.0;
            gradients = GradientsParams::from_grads(loss.backward(), &self.net);
            loss.inner()
        };
        let adam = AdamStep {
            beta_1: 0.95,
            beta_2: 0.95,
            epsilon: 1e-8,
            rate: 1e-3,
            time,
        };
        let soap = SoapStep {
            adam,
            beta_gram: 0.95,
            decay: 0.0,
            turn: time % 10 == 1,
        };
        for (l, layer) in self.net.layers.iter_mut().enumerate() {
            let gradient = gradients.remove::<2>(layer.weight.id).unwrap();
            let (w, means) = (layer.weight.val().inner(), self.means[l].clone());
            let (w, means) = if by_hand {
                soap.apply(w, gradient, means)
            } else {
                soap.composed(w, gradient, means)
            };
            self.means[l] = means;
            layer.weight = Param::from_tensor(Tensor::from_inner(w).require_grad());
            let bias = layer.bias.take().unwrap();
            let gradient = gradients.remove::<1>(bias.id).unwrap();
            let (b, moments) = (bias.val().inner(), self.moments[l].clone());
            let (b, moments) = if by_hand {
                adam.apply(b, gradient, Some(moments))
            } else {
                adam.composed(b, gradient, moments)
            };
            self.moments[l] = moments;
            layer.bias = Some(Param::from_tensor(Tensor::from_inner(b).require_grad()));
        }
        loss.into_scalar::<f32>()
    }
}

#[test]
fn a_thousand_steps_of_soap_have_the_losses_of_the_composed_form() {
    let rng = &mut StdRng::seed_from_u64(11);
    let net = mlp(&[8, 8], Activation::Tanh).init(3, 2, rng, &Device::flex());
    let layers = net.layers.iter();
    let zeros = |layer: &burn::nn::Linear| {
        let zeros = layer.bias.as_ref().unwrap().val().zeros_like();
        [zeros.clone(), zeros]
    };
    let mut by_hand = Soaped {
        means: (layers.clone())
            .map(|layer| SoapMeans::new(&layer.weight.val()))
            .collect(),
        moments: layers.map(zeros).collect(),
        net: net.train(),
    };
    let first = by_hand.step(1, true);
    for time in 2..=20 {
        by_hand.step(time, true);
    }
    let mut composed = by_hand.clone();
    let mut worst = (0.0f32, 0);
    let mut last = first;
    for time in 21..=1_020 {
        let losses = [by_hand.step(time, true), composed.step(time, false)];
        let error = (losses[0] - losses[1]).abs();
        if error > worst.0 {
            worst = (error, time);
        }
        last = losses[1];
    }
    assert!(last < 0.2 * first, "{first} {last}");
    assert!(worst.0 <= 1e-5, "{worst:?}");
}
