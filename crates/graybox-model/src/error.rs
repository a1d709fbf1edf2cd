//! What can be wrong with a model's description or its weight file.

/// A model that cannot be built or loaded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Two lists that describe the same columns differ in length.
    #[error("{what}: {first} values beside {second}, expected one of each per column")]
    Lengths {
        /// The lists, by name.
        what: &'static str,
        /// Length of the first.
        first: usize,
        /// Length of the second.
        second: usize,
    },
    /// A scale that is zero, negative or not finite.
    #[error("scale of column {column} is {value}, expected a positive finite number")]
    Scale {
        /// Which column.
        column: usize,
        /// The value given.
        value: f64,
    },
    /// A categorical policy over no actions at all.
    #[error("there is nothing to choose from: list at least 1 choice")]
    NoChoices,
    /// A shift that is not finite.
    #[error("shift of column {column} is {value}, expected a finite number")]
    Shift {
        /// Which column.
        column: usize,
        /// The value given.
        value: f64,
    },
    /// Bounds that enclose nothing.
    #[error(
        "bounds of action {column} are [{low}, {high}], expected finite numbers with low < high"
    )]
    Bounds {
        /// Which action.
        column: usize,
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// A policy that would choose nothing.
    #[error("there are no actions, expected at least 1")]
    NoActions,
    /// A hidden layer of no units.
    #[error("hidden layer {layer} has 0 units, expected at least 1")]
    EmptyLayer {
        /// Which hidden layer, from 0.
        layer: usize,
    },
    /// A weight file that could not be written or read, or does not fit the module.
    #[error("weights {path}: {reason}")]
    Weights {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}
