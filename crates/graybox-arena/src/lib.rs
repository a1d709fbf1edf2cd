//! Tasks with known truth, and the race between algorithms at equal oracle calls.
//!
//! A [`Task`] is a black box whose formula is known here and nowhere else: its true Jacobian serves the
//! [white-box reference](white_box) and no algorithm that is measured as black-box.

mod dual;
mod noise;
mod objective;
pub mod race;
pub mod statistics;
mod task;
mod tasks;
pub mod white_box;

pub use dual::{Dual, Real};
pub use task::{Published, Task, TaskOracle, Truth};
pub use tasks::{all, by_name};
