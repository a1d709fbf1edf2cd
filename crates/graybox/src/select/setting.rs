//! One setting of many, by its path.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The same settings but for the one at this path, as it stands in a config file: `algorithm.lambda`.
///
/// # Errors
/// Why not, if there is no such setting or it does not take this value.
pub fn with_setting<T: Serialize + DeserializeOwned>(
    settings: &T,
    path: &str,
    value: Value,
) -> Result<T, String> {
    let mut whole = serde_json::to_value(settings).map_err(|error| error.to_string())?;
    let mut place = &mut whole;
    for key in path.split('.') {
        // What is not stated by default is not there yet.
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(fields) = place else {
            return Err(format!("{key:?} is below a value"));
        };
        place = fields.entry(key).or_insert(Value::Null);
    }
    *place = value;
    serde_json::from_value(whole).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LearningRate, TrainConfig};

    #[test]
    fn a_part_of_what_is_not_stated_can_be_set() {
        let config = TrainConfig::default();
        assert_eq!(config.learning_rate, None);
        let changed = with_setting(&config, "learning_rate.initial", 0.5.into()).unwrap();
        let changed = with_setting(&changed, "learning_rate.floor", 0.25.into()).unwrap();
        let rate = LearningRate {
            initial: 0.5,
            floor: 0.25,
        };
        assert_eq!(changed.learning_rate, Some(rate));
    }

    #[test]
    fn what_is_no_setting_is_named() {
        let refused = |path: &str| {
            let changed = with_setting(&TrainConfig::default(), path, 1.into());
            changed.unwrap_err()
        };
        assert!(refused("calls.more").contains("more"));
        assert!(refused("call").contains("call"));
    }
}
