//! The black box: functions `F(x, u) → y` that can be called but not differentiated.
//!
//! An [`Oracle`] answers rows of [`Queries`] with one [`Outcome`] each; a row that fails is an error in
//! its own place and the others stand. [`FnOracle`] wraps a closure, [`ProcessOracle`] runs programs that
//! speak JSON lines, and [`Metered`] counts every call against a [`Budget`].
//!
//! This crate knows nothing of neural networks or devices: a black box lives on the host, in `f64`.
//!
//! ```
//! use graybox_oracle::{Budget, Dims, FnOracle, Metered, Queries, Rows};
//!
//! let ball = FnOracle::new(Dims::new(1, 1, 1), |x, u| [u[0].sin() - x[0]]);
//! let mut metered = Metered::new(ball, Budget::new(10)?);
//!
//! let x = Rows::from_vec(1, vec![0.0, 0.5])?;
//! let u = Rows::from_vec(1, vec![0.0, 0.0])?;
//! let outcomes = metered.evaluate(Queries::new(&x, &u)?)?;
//! assert_eq!(outcomes, vec![Ok(vec![0.0]), Ok(vec![-0.5])]);
//! assert_eq!(metered.calls(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(all(unix, feature = "umbridge", feature = "ledger"))]
#[doc = include_str!("clusters.md")]
pub mod clusters {}

#[cfg(any(unix, feature = "umbridge"))]
mod clock;
mod closure;
mod description;
mod error;
mod expected;
#[cfg(all(any(test, feature = "fuzz"), any(unix, feature = "umbridge")))]
#[doc(hidden)]
pub mod fuzz;
mod lanes;
#[cfg(feature = "ledger")]
mod ledger;
mod metered;
mod oracle;
#[cfg(unix)]
mod process;
mod record;
mod rows;
#[cfg(unix)]
mod sample;
#[cfg(any(unix, feature = "umbridge"))]
mod seconds;
#[cfg(feature = "umbridge")]
mod umbridge;
#[cfg(any(unix, feature = "umbridge"))]
mod wire;

pub use closure::{FnOracle, IntoOutcome};
pub use description::{Description, Quantity};
pub use error::{AskError, BudgetError, RowError, ShapeError};
pub use lanes::Lanes;
#[cfg(feature = "ledger")]
pub use ledger::{Duplicates, Lab, Ledger, LedgerError, Wanted};
pub use metered::{Arrival, Budget, Meter, Metered};
pub use oracle::{Answer, Dims, Oracle, Outcome};
#[cfg(unix)]
pub use process::{ProcessConfig, ProcessOracle, SpawnError, StartError};
pub use record::{Answered, Asking, Purpose, Recall, Record, RecordError};
pub use rows::{Queries, Rows};
#[cfg(unix)]
pub use sample::{Sample, SampleError};
#[cfg(feature = "umbridge")]
pub use umbridge::{
    ConnectError, Model, Page, ServeConfig, ServeError, UmBridgeConfig, UmBridgeOracle,
    UmBridgeServer,
};
