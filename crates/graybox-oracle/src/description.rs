//! What a program says of itself: the names, units and ranges of x, u and y.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Dims;

/// The answer of a program to `{"id":0,"describe":true}`.
///
/// Only the three lists are needed, since their lengths are the sizes; whatever else a program says is
/// kept in `extra`.
///
/// ```
/// use graybox_oracle::Description;
///
/// let said = r#"{"name": "lens", "x": [{"name": "object", "unit": "m"}],
///                "u": [{"name": "focal", "lo": 0.1, "hi": 2.0}], "y": [{"scale": 0.5}], "source": "Hecht"}"#;
/// let lens = Description::from_json(said)?;
/// assert_eq!((lens.dims().x, lens.dims().u, lens.dims().y), (1, 1, 1));
/// assert_eq!(lens.action_bounds(), Some((vec![0.1], vec![2.0])));
/// assert_eq!(lens.scales(), vec![0.5]);
/// assert_eq!(lens.extra["source"], "Hecht");
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Description {
    /// What the program is called.
    #[serde(default)]
    pub name: String,
    /// The context.
    pub x: Vec<Quantity>,
    /// The action.
    pub u: Vec<Quantity>,
    /// The outcome.
    pub y: Vec<Quantity>,
    /// The most rows the program takes in one line, where it says so. One means single rows only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Everything else the program said.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One number of a context, an action or an outcome.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Quantity {
    /// What it is called; empty where the program gave no name.
    #[serde(default)]
    pub name: String,
    /// Its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The smallest value it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lo: Option<f64>,
    /// The largest value it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hi: Option<f64>,
    /// A difference that matters: losses are measured in this unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// How much it counts in the loss; 0 for a quantity that is only reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Everything else the program said of it.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Description {
    /// The description of a program of which only the sizes are known.
    #[must_use]
    pub fn of_sizes(name: impl Into<String>, dims: Dims) -> Self {
        let unnamed = |n| vec![Quantity::default(); n];
        Self {
            name: name.into(),
            x: unnamed(dims.x),
            u: unnamed(dims.u),
            y: unnamed(dims.y),
            ..Self::default()
        }
        .named()
    }

    /// The lengths of the three lists.
    pub fn dims(&self) -> Dims {
        Dims::new(self.x.len(), self.u.len(), self.y.len())
    }

    /// The smallest and the largest action, if the program gave a finite range for each of its numbers.
    pub fn action_bounds(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        self.u.iter().map(|u| u.lo.zip(u.hi)).collect()
    }

    /// The scale of each outcome, 1 where none is given.
    pub fn scales(&self) -> Vec<f64> {
        self.y.iter().map(|y| y.scale.unwrap_or(1.0)).collect()
    }

    /// The weight of each outcome in the loss, 1 where none is given.
    pub fn weights(&self) -> Vec<f64> {
        self.y.iter().map(|y| y.weight.unwrap_or(1.0)).collect()
    }

    /// Reads a description from JSON, checks it, and fills in the names that are missing.
    ///
    /// # Errors
    /// What is wrong with it, in words: a list that is missing, a range the wrong way round, a scale that is
    /// not above 0.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        for list in ["x", "u", "y"] {
            match value.get(list) {
                Some(Value::Array(_)) => {}
                Some(_) => return Err(format!("`{list}` is not a list of quantities")),
                None => {
                    return Err(format!(
                        "it has no list `{list}`, so its sizes are not known"
                    ));
                }
            }
        }
        let description: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        description.check()?;
        Ok(description.named())
    }

    fn check(&self) -> Result<(), String> {
        if self.u.is_empty() || self.y.is_empty() {
            return Err("`u` and `y` need at least one quantity each".into());
        }
        if self.batch == Some(0) {
            return Err("`batch` is 0, expected at least 1 row to a line".into());
        }
        for (list, quantities) in [("x", &self.x), ("u", &self.u), ("y", &self.y)] {
            for (dim, quantity) in quantities.iter().enumerate() {
                if let (Some(lo), Some(hi)) = (quantity.lo, quantity.hi)
                    && lo >= hi
                {
                    return Err(format!(
                        "`{list}`[{dim}] has lo = {lo}, not below hi = {hi}"
                    ));
                }
                if let Some(scale) = quantity.scale
                    && scale <= 0.0
                {
                    return Err(format!("`{list}`[{dim}] has scale = {scale}, not above 0"));
                }
                if let Some(weight) = quantity.weight
                    && weight < 0.0
                {
                    return Err(format!("`{list}`[{dim}] has weight = {weight}, below 0"));
                }
            }
        }
        Ok(())
    }

    fn named(mut self) -> Self {
        for (letter, quantities) in [("x", &mut self.x), ("u", &mut self.u), ("y", &mut self.y)] {
            for (dim, quantity) in quantities.iter_mut().enumerate() {
                if quantity.name.is_empty() {
                    quantity.name = format!("{letter}{dim}");
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_kept() {
        let json = r#"{"name":"a","x":[],"u":[{"prior":"uniform"}],"y":[{}],"loss":[1,2]}"#;
        let description = Description::from_json(json).unwrap();
        assert_eq!(description.dims(), Dims::new(0, 1, 1));
        assert_eq!(description.extra["loss"], serde_json::json!([1, 2]));
        assert_eq!(description.u[0].extra["prior"], "uniform");
        let again = serde_json::to_string(&description).unwrap();
        assert_eq!(Description::from_json(&again).unwrap(), description);
    }

    #[test]
    fn missing_names_are_filled_in() {
        let description = Description::from_json(r#"{"x":[{}],"u":[{},{}],"y":[{"name":"p"}]}"#);
        let description = description.unwrap();
        assert_eq!(description.x[0].name, "x0");
        assert_eq!(description.u[1].name, "u1");
        assert_eq!(description.y[0].name, "p");
        assert_eq!(description.action_bounds(), None);
    }

    #[test]
    fn a_description_without_sizes_or_sense_is_refused() {
        let reason = |json| Description::from_json(json).unwrap_err();
        assert_eq!(
            reason(r#"{"x":[],"u":[{}]}"#),
            "it has no list `y`, so its sizes are not known"
        );
        assert_eq!(
            reason(r#"{"x":2,"u":1,"y":1}"#),
            "`x` is not a list of quantities"
        );
        assert_eq!(
            reason(r#"{"x":[],"u":[],"y":[{}]}"#),
            "`u` and `y` need at least one quantity each"
        );
        assert_eq!(
            reason(r#"{"x":[],"u":[{"lo":1,"hi":0}],"y":[{}]}"#),
            "`u`[0] has lo = 1, not below hi = 0"
        );
        assert_eq!(
            reason(r#"{"x":[],"u":[{}],"y":[{"scale":0}]}"#),
            "`y`[0] has scale = 0, not above 0"
        );
    }
}
