//! What every application around graybox shares: the device flag, progress, Ctrl-C, artefacts, pictures.
//!
//! Libraries never print; this crate does it for the examples and the command line.

mod artifacts;
mod device;
mod interrupt;
mod picture;
mod progress;
mod race;

pub use artifacts::{Artifacts, Summary};
pub use device::DeviceName;
pub use interrupt::stop_on_ctrl_c;
pub use picture::{Curve, learning_curves};
pub use progress::Console;
pub use race::RaceArgs;
