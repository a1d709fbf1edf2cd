//! `NAME.path=value`: a setting that differs from the default.

use std::fmt;
use std::str::FromStr;

use graybox::select::with_setting;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Contender, Entry, RaceError};

/// One setting: of an algorithm by its name, or of every run under `train`.
///
/// The value is JSON; what is not JSON is taken as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    name: String,
    path: String,
    value: Value,
}

/// The name under which the settings of every run stand.
const TRAIN: &str = "train";

impl FromStr for Override {
    type Err = RaceError;

    fn from_str(setting: &str) -> Result<Self, RaceError> {
        let refused = || RaceError::Override {
            setting: setting.to_string(),
            reason: "expected NAME.path=value, such as joint.lambda=0.5 or train.batch=4".into(),
        };
        let (target, value) = setting.split_once('=').ok_or_else(refused)?;
        if target.split('.').any(str::is_empty) {
            return Err(refused());
        }
        let (name, path) = target.split_once('.').ok_or_else(refused)?;
        Ok(Self {
            name: name.to_string(),
            path: path.to_string(),
            value: serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
        })
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}={}", self.name, self.path, self.value)
    }
}

impl Override {
    /// Whether it sets anything of this entry.
    pub fn concerns(&self, entry: &Entry) -> bool {
        self.name == TRAIN || self.name == entry.algorithm()
    }

    /// Sets it, if it concerns the entry.
    ///
    /// # Errors
    /// If there is no such setting or it does not take this value.
    pub fn apply(&self, entry: &mut Entry) -> Result<(), RaceError> {
        if self.name == TRAIN {
            entry.config = self.set(&entry.config)?;
        } else if self.concerns(entry) {
            match &mut entry.contender {
                Contender::Algorithm(config) => *config = self.set(config)?,
                Contender::WhiteBox(config) => *config = self.set(config)?,
                Contender::WhiteBoxReplay(config) => *config = self.set(config)?,
            }
        }
        Ok(())
    }

    fn set<T: Serialize + DeserializeOwned>(&self, config: &T) -> Result<T, RaceError> {
        let changed = with_setting(config, &self.path, self.value.clone());
        changed.map_err(|reason| RaceError::Override {
            setting: self.to_string(),
            reason,
        })
    }
}
