//! Functions as UM-Bridge models.

use std::fmt::Display;
use std::sync::Arc;

use axum::http::Method;
use serde_json::Value;

use super::wire::{Derivative, Wrt};
use crate::expected::Expected;
use crate::{Oracle, Queries, RowError, Rows};

/// A function under a name: lists of numbers in, lists of numbers out.
#[derive(Clone)]
pub struct Model {
    pub(super) name: String,
    pub(super) input_sizes: Vec<usize>,
    pub(super) output_sizes: Vec<usize>,
    evaluate: Arc<Evaluate>,
    pub(super) gradient: Option<Arc<Product>>,
    pub(super) jacobian: Option<Arc<Product>>,
}

type Evaluate = dyn Fn(&[Vec<f64>]) -> Result<Vec<Vec<f64>>, String> + Send + Sync;
/// A derivative times a factor.
type Product = dyn Fn(usize, usize, &[Vec<f64>], &[f64]) -> Result<Vec<f64>, String> + Send + Sync;

impl Model {
    /// A closure from lists of the input sizes to lists of the output sizes.
    pub fn new<E: Display>(
        name: impl Into<String>,
        input_sizes: impl Into<Vec<usize>>,
        output_sizes: impl Into<Vec<usize>>,
        evaluate: impl Fn(&[Vec<f64>]) -> Result<Vec<Vec<f64>>, E> + Send + Sync + 'static,
    ) -> Self {
        let evaluate =
            move |input: &[Vec<f64>]| evaluate(input).map_err(|reason| reason.to_string());
        Self {
            name: name.into(),
            input_sizes: input_sizes.into(),
            output_sizes: output_sizes.into(),
            evaluate: Arc::new(evaluate),
            gradient: None,
            jacobian: None,
        }
    }

    /// Offers a gradient: `(output, input, values, sens) → sensᵀ ∂output/∂input`, output and input by their numbers,
    /// as long as that input.
    #[must_use]
    pub fn with_gradient<E: Display>(
        mut self,
        gradient: impl Fn(usize, usize, &[Vec<f64>], &[f64]) -> Result<Vec<f64>, E>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.gradient = Some(product(gradient));
        self
    }

    /// Offers its Jacobian applied to vectors: `(output, input, values, vec) → ∂output/∂input · vec`, as long as that
    /// output.
    #[must_use]
    pub fn with_jacobian<E: Display>(
        mut self,
        jacobian: impl Fn(usize, usize, &[Vec<f64>], &[f64]) -> Result<Vec<f64>, E>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.jacobian = Some(product(jacobian));
        self
    }

    /// A closure from `d_in` numbers to `d_out`, such as a trained policy from a context to an action.
    pub fn from_fn<E: Display>(
        name: impl Into<String>,
        d_in: usize,
        d_out: usize,
        evaluate: impl Fn(&[f64]) -> Result<Vec<f64>, E> + Send + Sync + 'static,
    ) -> Self {
        Self::new(name, [d_in], [d_out], move |input| {
            evaluate(&input[0]).map(|output| vec![output])
        })
    }

    /// An oracle: the context and the action are its two inputs, the outcome its one output.
    pub fn from_oracle(name: impl Into<String>, oracle: impl Oracle + 'static) -> Self {
        let dims = oracle.dims();
        Self::new(name, [dims.x, dims.u], [dims.y], move |input| {
            let one = |values: &[f64]| {
                let mut rows = Rows::with_capacity(values.len(), 1);
                rows.push(values)
                    .expect("a row as wide as the matrix made for it");
                rows
            };
            let (x, u) = (one(&input[0]), one(&input[1]));
            let queries = Queries::new(&x, &u).expect("one context and one action");
            let missing = RowError::Malformed("the oracle gave no answer".into());
            let mut outcome = oracle.evaluate(queries).pop().unwrap_or(Err(missing));
            Expected::Outcome(dims.y).check(&mut outcome);
            outcome.map(|y| vec![y]).map_err(|error| match error {
                RowError::Failed(reason) => reason,
                error => error.to_string(),
            })
        })
    }

    pub(super) fn check_input(&self, input: &[Vec<f64>]) -> Result<(), String> {
        let (sizes, expected) = (sizes(input), &self.input_sizes);
        if sizes != *expected {
            return Err(format!(
                "the input has sizes {sizes:?}, expected {expected:?}"
            ));
        }
        Ok(())
    }

    /// Whether output and input are there, and the factor is as long as it has to be.
    pub(super) fn check_factor(
        &self,
        derivative: Derivative,
        wrt: Wrt,
        factor: &[f64],
    ) -> Result<(), String> {
        let (outputs, inputs) = (self.output_sizes.len(), self.input_sizes.len());
        let Some(&output) = self.output_sizes.get(wrt.output) else {
            return Err(format!(
                "outWrt = {}, of {outputs} outputs counted from 0",
                wrt.output
            ));
        };
        let Some(&input) = self.input_sizes.get(wrt.input) else {
            return Err(format!(
                "inWrt = {}, of {inputs} inputs counted from 0",
                wrt.input
            ));
        };
        let expected = match derivative {
            Derivative::Gradient => output,
            Derivative::Jacobian => input,
        };
        let (name, found) = (derivative.factor(), factor.len());
        if found != expected {
            return Err(format!("{name} has {found} numbers, expected {expected}"));
        }
        Ok(())
    }

    /// The output for an input of the right sizes.
    pub(super) fn call(&self, input: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, String> {
        let output = (self.evaluate)(input)?;
        let (sizes, expected) = (sizes(&output), &self.output_sizes);
        if sizes != *expected {
            return Err(format!(
                "the model returned sizes {sizes:?}, expected {expected:?}"
            ));
        }
        let expected = |block: &[f64]| Expected::Outcome(block.len());
        match (output.iter()).find_map(|block| expected(block).not_finite(block)) {
            Some(reason) => Err(reason),
            None => Ok(output),
        }
    }

    /// What it offers of its derivatives.
    pub(super) fn product(&self, derivative: Derivative) -> Option<&Arc<Product>> {
        match derivative {
            Derivative::Gradient => self.gradient.as_ref(),
            Derivative::Jacobian => self.jacobian.as_ref(),
        }
    }

    /// A derivative times a factor, for an input and a factor of the right sizes.
    pub(super) fn call_product(
        &self,
        derivative: Derivative,
        wrt: Wrt,
        input: &[Vec<f64>],
        factor: &[f64],
    ) -> Result<Vec<f64>, String> {
        let product = self.product(derivative).ok_or("it is not offered")?;
        let output = product(wrt.output, wrt.input, input, factor)?;
        let expected = match derivative {
            Derivative::Gradient => self.input_sizes[wrt.input],
            Derivative::Jacobian => self.output_sizes[wrt.output],
        };
        let (name, size) = (derivative.path(), output.len());
        if size != expected {
            return Err(format!("{name} gave {size} numbers, expected {expected}"));
        }
        let fault = Expected::Gradient(size).not_finite(&output);
        fault.map_or(Ok(output), Err)
    }
}

/// A closure whose errors are words.
fn product<E: Display>(
    closure: impl Fn(usize, usize, &[Vec<f64>], &[f64]) -> Result<Vec<f64>, E> + Send + Sync + 'static,
) -> Arc<Product> {
    Arc::new(move |output, input, values: &[Vec<f64>], factor: &[f64]| {
        closure(output, input, values, factor).map_err(|reason| reason.to_string())
    })
}

fn sizes(blocks: &[Vec<f64>]) -> Vec<usize> {
    blocks.iter().map(Vec::len).collect()
}

/// A page of JSON beside the protocol's own: an address, and what is answered there.
#[derive(Clone)]
pub struct Page {
    pub(super) path: String,
    pub(super) method: Method,
    pub(super) answer: Arc<Respond>,
}

type Respond = dyn Fn(&[u8]) -> Result<Value, String> + Send + Sync;

impl Page {
    /// Answers GET at this path, which begins with a slash and is none of the protocol's.
    pub fn get(
        path: impl Into<String>,
        answer: impl Fn() -> Value + Send + Sync + 'static,
    ) -> Self {
        Self {
            path: path.into(),
            method: Method::GET,
            answer: Arc::new(move |_| Ok(answer())),
        }
    }

    /// Answers POST at this path from the body of the request. A reason instead of an answer is told as the
    /// protocol tells it, as `InvalidInput`.
    pub fn post<E: Display>(
        path: impl Into<String>,
        answer: impl Fn(&[u8]) -> Result<Value, E> + Send + Sync + 'static,
    ) -> Self {
        let answer = move |body: &[u8]| answer(body).map_err(|reason| reason.to_string());
        Self {
            path: path.into(),
            method: Method::POST,
            answer: Arc::new(answer),
        }
    }
}
