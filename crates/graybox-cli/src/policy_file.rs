//! A trained policy on disk: `policy.json` says what it is, `policy.safetensors` holds its numbers.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor, TensorData};
use graybox::model::{Layout, MlpPolicy, MlpPolicyConfig, Policy, load_weights};
use graybox::oracle::{Description, Rows};
use graybox_app::Artifacts;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use crate::run_folder::{POLICY, WEIGHTS, check_trained};

/// All that is needed to rebuild a policy from its weights, and to name what goes in and comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PolicyFile {
    /// The program it was trained through: names, units, ranges.
    pub(crate) oracle: Description,
    /// Hidden layers, scaling and bounds.
    pub(crate) policy: MlpPolicyConfig,
}

impl PolicyFile {
    pub(crate) fn write(&self, artifacts: &Artifacts) -> Result<()> {
        artifacts.json(POLICY, self)
    }

    /// Reads a policy and its weights.
    pub(crate) fn open(folder: &Path, device: &Device) -> Result<(Self, MlpPolicy)> {
        check_trained(folder)?;
        let path = folder.join(POLICY);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let file: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a policy of this version", path.display()))?;
        file.policy
            .check()
            .with_context(|| format!("{} makes no sense", path.display()))?;
        let policy = load(&file.policy, &folder.join(WEIGHTS), Layout::Burn, device)?;
        Ok((file, policy))
    }
}

/// A policy with weights from a file.
pub(crate) fn load(
    config: &MlpPolicyConfig,
    path: &Path,
    layout: Layout,
    device: &Device,
) -> Result<MlpPolicy> {
    // Every number drawn here is replaced by one from the file, or the file is refused.
    let fresh = config.init(&mut StdRng::seed_from_u64(0), device);
    Ok(load_weights(fresh, path, layout)?)
}

/// A policy's actions. `[n, d_x]` → `[n, d_u]`
pub(crate) fn act(policy: &MlpPolicy, x: &Rows, device: &Device) -> Result<Vec<Vec<f32>>> {
    if x.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<f32> = x.as_slice().iter().map(|v| *v as f32).collect();
    let x = Tensor::<2>::from_data(TensorData::new(values, [x.len(), x.width()]), device);
    let u = policy.forward(x);
    let [_, d_u] = u.dims();
    let values = u.into_data().try_to_vec_as::<f32>();
    let values = values.context("actions cannot be read from the device")?;
    Ok(values
        .chunks_exact(d_u.max(1))
        .map(<[f32]>::to_vec)
        .collect())
}
