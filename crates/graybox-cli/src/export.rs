//! `graybox export`: the policy for other programs.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use graybox::model::{Layout, MlpPolicy, onnx, save_weights};
use graybox_app::DeviceName;

use crate::args::Export;
use crate::outcome::{Blame, Done, Failure};
use crate::policy_file::PolicyFile;

pub(crate) fn run(args: &Export) -> Result<Done, Failure> {
    let device = any_device()?;
    let (file, policy) = PolicyFile::open(&args.run, &device).or_usage()?;
    if let Some(path) = &args.onnx {
        write_onnx(&file, &policy, path)?;
    }
    for (path, layout) in [
        (&args.safetensors, Layout::Burn),
        (&args.pytorch_layout, Layout::PyTorch),
    ] {
        if let Some(path) = path {
            save_weights(&policy, path, layout).map_err(anyhow::Error::from)?;
        }
    }
    for path in [&args.onnx, &args.safetensors, &args.pytorch_layout]
        .into_iter()
        .flatten()
    {
        println!("wrote {}", path.display());
    }
    Ok(Done::Finished)
}

/// Numbers are moved here, not computed, so any device that was compiled in will do.
fn any_device() -> Result<Device, Failure> {
    let names = ["flex", "ndarray", "cuda", "vulkan", "wgpu"];
    let devices = names
        .iter()
        .filter_map(|name| name.parse::<DeviceName>().ok());
    let mut opened = devices.map(|name| name.open());
    let first = opened
        .find(Result::is_ok)
        .context("no backend was compiled in")?;
    first.or_usage()
}

fn write_onnx(file: &PolicyFile, policy: &MlpPolicy, path: &Path) -> Result<()> {
    let json = serde_json::to_string(&file.oracle)?;
    let model = onnx(policy, &[("graybox.oracle", &json)]);
    std::fs::write(path, model).with_context(|| format!("cannot write {}", path.display()))
}
