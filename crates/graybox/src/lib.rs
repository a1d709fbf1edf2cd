//! Train a neural network through a function that can be called but not differentiated.
//!
//! Given contexts X, wanted outcomes Y and an oracle F, a [`Trainer`] finds a policy π with F(X, π(X)) ≈ Y, by one of
//! the methods of [`AlgorithmConfig`]. The [guide] says what the problem is and which method suits which black
//! box.

mod adam;
pub mod algorithm;
pub mod anchor;
mod batch;
mod between;
mod bridge;
mod checkpoint;
mod dataset;
mod diagnose;
mod error;
mod exploration;
mod failure_limit;
pub mod feasibility;
pub mod gauss_newton;
pub mod guide;
mod learning_rate;
mod objective;
mod observe;
mod optimizer;
mod penalty;
mod probe;
mod problem;
mod replay;
mod report;
mod seed;
pub mod select;
mod snapshot;
mod soap;
mod stop;
mod student;
pub mod testing;
mod train_config;
mod trainer;
pub mod trust_region;
mod wishes;

pub use adam::Adam;
pub use algorithm::{Algorithm, AlgorithmConfig, Asynchronous, Facts, Proposal};
pub use batch::{Batch, DeviceData};
pub use dataset::Dataset;
pub use diagnose::{Call, Calls, Diagnosis, Evidence, Region, diagnose};
pub use error::{ConfigError, DataError, SnapshotError, StepError, TrainError};
pub use exploration::{Annealed, Antithetic};
pub use failure_limit::FailureLimit;
pub use learning_rate::LearningRate;
pub use objective::{Objective, SquaredError};
pub use observe::{History, Observer, Progress, RoundReport, Silent};
pub use optimizer::OptimizerKind;
pub use probe::{Measured, Probe};
pub use problem::{Names, Problem};
pub use replay::{Replay, Replayed};
pub use report::{Ending, RunReport, Score};
pub use snapshot::Snapshot;
pub use soap::Soap;
pub use stop::Stop;
pub use student::Student;
pub use train_config::TrainConfig;
pub use trainer::Trainer;

#[doc(no_inline)]
pub use graybox_model as model;
#[doc(no_inline)]
pub use graybox_oracle as oracle;

/// The README's program is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
