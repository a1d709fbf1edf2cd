//! The trained parameters of a module as one vector, for methods that search in their space.

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;

/// Which float parameters of a module are trained. In this order they make one vector.
///
/// ```
/// use burn::prelude::*;
/// use graybox_model::{FlatLayout, MlpConfig};
/// use rand::{SeedableRng, rngs::StdRng};
///
/// let mut rng = StdRng::seed_from_u64(1);
/// let network = MlpConfig::new([3]).init(2, 1, &mut rng, &Device::flex().autodiff());
/// let layout = FlatLayout::of(&network);
/// assert_eq!(layout.len(), 2 * 3 + 3 + 3 + 1);
/// let weights = layout.flatten(&network);
/// let doubled = layout.unflatten(network.valid(), weights.clone() * 2.0);
/// layout.flatten(&doubled).to_data().assert_eq(&(weights * 2.0).to_data(), true);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlatLayout {
    /// For every float parameter, in the order of a visit.
    trained: Vec<bool>,
    len: usize,
}

impl FlatLayout {
    /// Of a module on its autodiff device; elsewhere nothing is trained.
    pub fn of(module: &impl Module) -> Self {
        let mut layout = Self {
            trained: Vec::new(),
            len: 0,
        };
        module.visit(&mut layout);
        layout
    }

    /// Number of trained weights.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// For every float parameter, in the order of a visit, whether it is trained.
    pub fn trained(&self) -> &[bool] {
        &self.trained
    }

    /// The trained weights of a module of this layout, without gradients.
    ///
    /// # Shapes
    /// `[len]`
    pub fn flatten(&self, module: &impl Module) -> Tensor<1> {
        let mut flatten = Flatten {
            trained: self.trained.iter(),
            parts: Vec::new(),
        };
        module.visit(&mut flatten);
        Tensor::cat(flatten.parts, 0)
    }

    /// The module with other weights. Frozen parameters stay.
    ///
    /// # Shapes
    /// `weights`: `[len]`
    #[must_use]
    pub fn unflatten<M: Module>(&self, module: M, weights: Tensor<1>) -> M {
        module.map(&mut Unflatten {
            trained: self.trained.iter(),
            weights,
            start: 0,
        })
    }
}

impl ModuleVisitor for FlatLayout {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let trained = value.is_require_grad();
        self.trained.push(trained);
        if trained {
            self.len += value.shape().num_elements();
        }
    }
}

struct Flatten<'a> {
    trained: std::slice::Iter<'a, bool>,
    parts: Vec<Tensor<1>>,
}

impl ModuleVisitor for Flatten<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.trained.next().is_some_and(|trained| *trained) {
            let value = param.val().without_autodiff();
            let n = value.shape().num_elements();
            self.parts.push(value.reshape([n]));
        }
    }
}

struct Unflatten<'a> {
    trained: std::slice::Iter<'a, bool>,
    weights: Tensor<1>,
    start: usize,
}

impl ModuleMapper for Unflatten<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.trained.next().is_none_or(|trained| !*trained) {
            return param;
        }
        let (id, old, mapper) = param.consume();
        let shape = old.shape();
        let n = shape.num_elements();
        let mut new = self.weights.clone().narrow(0, self.start, n).reshape(shape);
        self.start += n;
        if old.is_autodiff() {
            new = new.autodiff().set_require_grad(old.is_require_grad());
        }
        Param::from_mapped_value(id, new, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Affine, HeadConfig, MlpConfig, MlpPolicy, MlpPolicyConfig, Policy};
    use rand::{SeedableRng, rngs::StdRng};

    fn policy() -> MlpPolicy {
        let config = MlpPolicyConfig {
            body: MlpConfig::new([4, 3]),
            context: Affine::new(vec![1.0, -2.0], vec![2.0, 0.5]).unwrap(),
            head: HeadConfig::bounded(vec![-1.0, 0.0], vec![1.0, 5.0]).unwrap(),
        };
        config.init(&mut StdRng::seed_from_u64(2), &Device::flex().autodiff())
    }

    #[test]
    fn units_are_no_weights() {
        let layout = FlatLayout::of(&policy());
        assert_eq!(layout.len(), 2 * 4 + 4 + 4 * 3 + 3 + 3 * 2 + 2);
        assert_eq!(FlatLayout::of(&policy().valid()).len(), 0);
    }

    #[test]
    fn a_population_acts_as_its_members_do_one_by_one() {
        let policy = policy();
        let layout = FlatLayout::of(&policy);
        let plain = policy.valid();
        let device = Device::flex();
        let mean = layout.flatten(&plain);
        let offset = Tensor::<1>::from_floats([0.5, -0.25, 1.0], &device).unsqueeze_dim::<2>(1);
        let weights = mean.unsqueeze::<2>() * (offset + 1.0);
        let x = Tensor::<2>::from_data([[0.3, -1.0], [2.0, 0.5]], &device);
        let u = plain.forward_population(&layout, weights.clone(), x.clone());
        assert_eq!(u.dims(), [3, 2, 2]);
        for member in 0..3 {
            let own = weights.clone().narrow(0, member, 1).squeeze_dim(0);
            let expected = layout.unflatten(plain.clone(), own).forward(x.clone());
            let found = u.clone().narrow(0, member, 1).squeeze_dim::<2>(0);
            let worst = (found - expected).abs().max().into_scalar::<f32>();
            assert!(worst < 1e-5, "{worst:e}");
        }
    }

    #[test]
    fn a_policy_with_a_frozen_layer_is_searched_in_the_others() {
        let mut policy = policy();
        policy.body.layers[0] = policy.body.layers[0].clone().no_grad();
        let layout = FlatLayout::of(&policy);
        assert_eq!(layout.len(), 4 * 3 + 3 + 3 * 2 + 2);
        let plain = policy.valid();
        let weights = layout.flatten(&plain).unsqueeze::<2>();
        let x = Tensor::<2>::from_data([[0.3, -1.0]], &Device::flex());
        let u = plain.forward_population(&layout, weights, x.clone());
        u.squeeze_dim::<2>(0)
            .to_data()
            .assert_eq(&plain.forward(x).to_data(), true);
    }
}
