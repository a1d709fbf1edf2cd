//! Weight files: safetensors that burn and PyTorch read.

use std::path::Path;

use burn::prelude::*;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore};
use serde::{Deserialize, Serialize};

use crate::ModelError;

/// How the matrices of linear layers lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// burn's: `[d_in, d_out]`.
    #[default]
    Burn,
    /// PyTorch's: `[d_out, d_in]`, ready for `load_state_dict`.
    PyTorch,
}

/// Writes every tensor of a module, constants included, to a safetensors file. An existing file is
/// replaced.
///
/// # Errors
/// If the file cannot be written.
pub fn save_weights(module: &impl Module, path: &Path, layout: Layout) -> Result<(), ModelError> {
    let store = SafetensorsStore::from_bytes(None);
    let (format, store) = match layout {
        Layout::Burn => ("safetensors", store),
        Layout::PyTorch => ("pt", store.with_to_adapter(BurnToPyTorchAdapter)),
    };
    // One entry only: several would stand in another order in every file, and equal weights are to give
    // equal files.
    let mut store = store.clear_metadata().metadata("format", format);
    let saved = module.valid().save_into(&mut store);
    saved.map_err(|error| weights_error(path, &error))?;
    let bytes = store.get_bytes();
    let bytes = bytes.map_err(|error| weights_error(path, &error))?;
    // Written here rather than by the store, whose files only their owner may read.
    std::fs::write(path, bytes).map_err(|error| weights_error(path, &error))
}

/// Reads every tensor of a module from a safetensors file written by [`save_weights`] or by PyTorch.
///
/// # Errors
/// If the file cannot be read, a tensor is missing, or one has another shape.
pub fn load_weights<M: Module>(
    mut module: M,
    path: &Path,
    layout: Layout,
) -> Result<M, ModelError> {
    let mut store = SafetensorsStore::from_file(path);
    if layout == Layout::PyTorch {
        store = store.with_from_adapter(PyTorchToBurnAdapter);
    }
    let result = module
        .load_from(&mut store)
        .map_err(|error| weights_error(path, &error))?;
    if let Some(error) = result.errors.first() {
        return Err(weights_error(path, error));
    }
    if let Some(missing) = result.missing.first() {
        return Err(weights_error(path, &format!("{missing:?} is missing")));
    }
    Ok(module)
}

fn weights_error(path: &Path, reason: &impl ToString) -> ModelError {
    ModelError::Weights {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}
