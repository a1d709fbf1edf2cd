//! The `--device` flag.

use std::fmt;
use std::str::FromStr;
use std::sync::Once;

use anyhow::{Result, bail};
use burn::tensor::Device;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda"))]
use burn::tensor::DeviceType;
use graybox_model::is_fused;

/// A device by name: `flex`, `ndarray`, `wgpu`, `vulkan`, `cuda` or `cuda:1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceName {
    /// burn's CPU backend in pure Rust; the default.
    Flex,
    /// The older CPU backend.
    NdArray,
    /// Whatever graphics API the machine offers.
    Wgpu,
    /// Vulkan and nothing else.
    Vulkan,
    /// An NVIDIA card, by index.
    Cuda(usize),
}

impl FromStr for DeviceName {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "flex" => Self::Flex,
            "ndarray" => Self::NdArray,
            "wgpu" => Self::Wgpu,
            "vulkan" => Self::Vulkan,
            "cuda" => Self::Cuda(0),
            _ => match name.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(index)) => Self::Cuda(index),
                _ => bail!(
                    "no device {name:?}: expected flex, ndarray, wgpu, vulkan, cuda or cuda:N"
                ),
            },
        })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flex => f.write_str("flex"),
            Self::NdArray => f.write_str("ndarray"),
            Self::Wgpu => f.write_str("wgpu"),
            Self::Vulkan => f.write_str("vulkan"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceName {
    /// Opens the device, so that no run pays for calls and then finds its device missing. Where the fused kernels do
    /// not reach, it says so on standard error, once.
    ///
    /// # Errors
    /// If it was not compiled in, or this machine has none; the message names the feature or the driver.
    pub fn open(&self) -> Result<Device> {
        static SAID: Once = Once::new();
        let device = self.find()?;
        if let Some(path) = slow_path(&device) {
            SAID.call_once(|| eprintln!("{self}: {path}"));
        }
        Ok(device)
    }

    /// Opens the device and says nothing.
    pub(crate) fn find(&self) -> Result<Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "kept as an option as long as burn keeps it")]
            Self::NdArray => Ok(Device::ndarray()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => {
                self.look_for(0, DeviceType::Wgpu, GRAPHICS)?;
                Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
            }
            #[cfg(feature = "vulkan")]
            Self::Vulkan => {
                self.look_for(0, DeviceType::Vulkan, GRAPHICS)?;
                Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice))
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => {
                let driver = "an NVIDIA card with its driver and the CUDA toolkit's NVRTC library";
                self.look_for(*index, DeviceType::Cuda, driver)?;
                Ok(Device::cuda(*index))
            }
            #[cfg(not(all(
                feature = "flex",
                feature = "ndarray",
                feature = "wgpu",
                feature = "vulkan",
                feature = "cuda"
            )))]
            missing => {
                let feature = missing.to_string();
                let feature = feature.split(':').next().unwrap_or_default();
                bail!(
                    "device {missing} was not compiled in: build again with `--features {feature}`"
                )
            }
        }
    }

    /// Whether the machine has a device of this type and number. Looking for one can panic inside a driver's
    /// bindings, which is then what is missing.
    #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda"))]
    fn look_for(&self, index: usize, kind: DeviceType, needed: &str) -> Result<()> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let found = std::panic::catch_unwind(|| Device::enumerate(kind).len());
        std::panic::set_hook(hook);
        match found {
            Ok(found) if index < found => Ok(()),
            Ok(found) if found > 0 => {
                bail!("no device {self}: this machine has {found}, counted from 0")
            }
            _ => bail!("no device {self} on this machine: it needs {needed}"),
        }
    }
}

/// What there is to say of how networks run on a device, if it is not the fast path.
fn slow_path(device: &Device) -> Option<&'static str> {
    let path = "every layer is an operation of burn's; the fused kernels, several times faster for small \
                networks, are those of --device flex";
    (!is_fused(device)).then_some(path)
}

/// What wgpu needs on this kind of system.
#[cfg(any(feature = "wgpu", feature = "vulkan"))]
const GRAPHICS: &str = "a Vulkan driver (of the card's maker, or Mesa's mesa-vulkan-drivers, which also has one in software)";

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "flex")]
    #[test]
    fn nothing_is_said_of_the_fast_path() {
        assert_eq!(slow_path(&DeviceName::Flex.find().unwrap()), None);
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn a_device_without_fused_kernels_is_told_what_it_does_instead() {
        let path = slow_path(&DeviceName::NdArray.find().unwrap());
        assert!(path.is_some_and(|path| path.contains("--device flex")));
    }

    #[test]
    fn names_are_read_as_they_are_shown() {
        for name in ["flex", "ndarray", "wgpu", "vulkan", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse::<DeviceName>().unwrap(), DeviceName::Cuda(0));
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(name.parse::<DeviceName>().is_err(), "{name:?}");
        }
    }
}
