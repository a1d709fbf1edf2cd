//! Policies and surrogates as ordinary burn modules.
//!
//! A [`Policy`] maps contexts to actions, `π(x)`; a [`Surrogate`] predicts outcomes, `F̃(x, u)`. Both take
//! and give the user's own units: standardisation and bounds live inside the module, so that a weight
//! file is all another program needs. Nothing here knows what an oracle is, and no backend is chosen.
//!
//! ```
//! use burn::prelude::*;
//! use graybox_model::{Affine, HeadConfig, MlpConfig, MlpPolicyConfig, Policy};
//! use rand::{SeedableRng, rngs::StdRng};
//!
//! let device = Device::flex();
//! let policy = MlpPolicyConfig {
//!     body: MlpConfig::default(),
//!     context: Affine::new(vec![0.0, 300.0], vec![1.0, 20.0])?,
//!     head: HeadConfig::bounded(vec![-1.0], vec![4.0])?,
//! }
//! .init(&mut StdRng::seed_from_u64(1), &device);
//!
//! let u = policy.forward(Tensor::from_data([[0.5, 310.0], [-0.5, 290.0]], &device));
//! assert_eq!(u.dims(), [2, 1]);
//! # Ok::<(), graybox_model::ModelError>(())
//! ```

mod adam;
mod error;
mod flat;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod fused;
mod head;
#[cfg(feature = "flex")]
mod kernels;
mod link;
mod loss;
mod mlp;
mod onnx;
mod orthonormal;
mod policy;
mod scaler;
mod soap;
mod stochastic;
mod surrogate;
#[cfg(feature = "store")]
mod weights;

pub use adam::AdamStep;
pub use error::ModelError;
pub use flat::FlatLayout;
pub use head::{Head, HeadConfig, Squash};
pub use link::{ToAction, ToBoth, ToParameters};
pub use loss::{
    Term, inner_product, squared_error, squared_error_gradient, squared_excess,
    squared_excess_gradient,
};
pub use mlp::{Activation, Mlp, MlpConfig};
pub use onnx::{OPSET, onnx};
pub use policy::{MlpPolicy, MlpPolicyConfig, Policy};
pub use scaler::{Affine, Scaler};
pub use soap::{Eigenbasis, SoapMeans, SoapStep};
pub use stochastic::{
    CategoricalPolicy, CategoricalPolicyConfig, DiscretePolicy, GaussianHead, GaussianHeadConfig,
    categorical_log_prob,
};
pub use surrogate::{Ensemble, MlpSurrogate, MlpSurrogateConfig, Surrogate};
#[cfg(feature = "store")]
pub use weights::{Layout, load_weights, save_weights};

/// Whether networks, losses and optimizer steps on this device run as fused kernels, a whole network as one
/// operation, rather than as burn's own operations one by one. The numbers are the same to rounding.
pub fn is_fused(device: &burn::prelude::Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == burn::prelude::Device::flex();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}
