//! What a key is and what its value may be. The keys themselves are in `keys`.

use serde_json::{Value, json};

use super::Config;

/// Kinds of values of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A number.
    Number {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path; empty for none.
    Path,
    /// Any text; empty for none.
    Text,
    /// A text that is never shown; empty for none.
    Secret,
    /// Names or absolute paths of programs, separated by commas; in a file a list will do.
    Programs,
    /// `postgres://…`; empty for none. It may hold a password and is never shown.
    StoreUrl,
    /// `redis://…`; empty for none. It may hold a password and is never shown.
    RedisUrl,
    /// Models with what a million tokens cost: `{name: {input, output}}`, `*` for all others.
    ModelPrices,
    /// Tools with what a call costs: `{name: US dollars}`.
    ToolPrices,
}

/// One key.
#[derive(Debug)]
pub struct ConfigKey {
    /// `section.key`.
    pub name: &'static str,
    /// The kind of value.
    pub kind: KeyKind,
    /// As it would be written on a command line.
    pub default: &'static str,
    /// The meaning.
    pub meaning: &'static str,
    /// Fixed names in the environment beside `L05_<SECTION>_<KEY>`.
    pub aliases: &'static [&'static str],
    /// The place that a checked value goes to.
    pub set: fn(&mut Config, &Value),
}

impl ConfigKey {
    /// The variable's name in the environment.
    pub fn variable(&self) -> String {
        format!("L05_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The default as a value.
    pub fn default_value(&self) -> Value {
        self.kind.from_text(self.default).expect("defaults fit their kinds: a test reads them all")
    }
}

impl KeyKind {
    /// The permitted values, in words.
    pub fn range(self) -> String {
        match self {
            KeyKind::Boolean => "true or false".to_owned(),
            KeyKind::Integer { min, max } => format!("{min} to {max}"),
            KeyKind::Number { min, max } => format!("{min} to {max}, fractions allowed"),
            KeyKind::Choice(words) => words.join(" | "),
            KeyKind::Path => "a path".to_owned(),
            KeyKind::Text | KeyKind::Secret => "a text".to_owned(),
            KeyKind::Programs => "names or absolute paths, separated by commas".to_owned(),
            KeyKind::StoreUrl => format!("empty, or a URL that begins with {}", STORE_SCHEMES[0]),
            KeyKind::RedisUrl => format!("empty, or a URL that begins with {}", REDIS_SCHEMES[0]),
            KeyKind::ModelPrices => {
                "{model: {input, output}} in US dollars per million tokens, * for others".to_owned()
            }
            KeyKind::ToolPrices => "{tool: US dollars a call}".to_owned(),
        }
    }

    /// The written name.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Boolean => "boolean",
            KeyKind::Integer { .. } => "integer",
            KeyKind::Number { .. } => "number",
            KeyKind::Choice(_) => "choice",
            KeyKind::Path => "path",
            KeyKind::Text => "text",
            KeyKind::Secret => "secret",
            KeyKind::Programs => "list",
            KeyKind::StoreUrl | KeyKind::RedisUrl => "URL",
            KeyKind::ModelPrices | KeyKind::ToolPrices => "table",
        }
    }

    /// Reads what a flag or a variable says.
    pub fn from_text(self, text: &str) -> Option<Value> {
        let value = match self {
            KeyKind::Boolean => Value::from(text.parse::<bool>().ok()?),
            KeyKind::Integer { .. } => Value::from(text.parse::<u64>().ok()?),
            KeyKind::Number { .. } => Value::from(text.parse::<f64>().ok()?),
            KeyKind::Choice(_)
            | KeyKind::Path
            | KeyKind::Text
            | KeyKind::Secret
            | KeyKind::Programs
            | KeyKind::StoreUrl
            | KeyKind::RedisUrl => Value::from(text),
            KeyKind::ModelPrices | KeyKind::ToolPrices => serde_json::from_str(text).ok()?,
        };
        self.check(&value)
    }

    /// True if values may hold what nobody is to read.
    pub fn is_secret(self) -> bool {
        match self {
            KeyKind::StoreUrl | KeyKind::RedisUrl | KeyKind::Secret => true,
            KeyKind::Boolean
            | KeyKind::Integer { .. }
            | KeyKind::Number { .. }
            | KeyKind::Choice(_)
            | KeyKind::Path
            | KeyKind::Text
            | KeyKind::Programs
            | KeyKind::ModelPrices
            | KeyKind::ToolPrices => false,
        }
    }

    /// The value in the kind's own form, if it is in range.
    pub fn check(self, value: &Value) -> Option<Value> {
        match self {
            KeyKind::Boolean => value.as_bool().map(Value::from),
            KeyKind::Integer { min, max } => {
                value.as_u64().filter(|n| (min..=max).contains(n)).map(Value::from)
            }
            KeyKind::Number { min, max } => {
                value.as_f64().filter(|n| (min..=max).contains(n)).map(Value::from)
            }
            KeyKind::Choice(words) => {
                let word = value.as_str()?;
                words.iter().find(|known| known.eq_ignore_ascii_case(word)).map(|w| Value::from(*w))
            }
            KeyKind::Path | KeyKind::Text | KeyKind::Secret => value.as_str().map(Value::from),
            KeyKind::Programs => programs(value).map(Value::from),
            KeyKind::StoreUrl => url(value, &STORE_SCHEMES),
            KeyKind::RedisUrl => url(value, &REDIS_SCHEMES),
            KeyKind::ModelPrices => {
                let fits = |price: &Value| {
                    price.as_object().is_some_and(|map| {
                        map.len() == 2 && ["input", "output"].iter().all(|k| is_price(map.get(*k)))
                    })
                };
                value.as_object()?.values().all(fits).then(|| value.clone())
            }
            KeyKind::ToolPrices => {
                value.as_object()?.values().all(|p| is_price(Some(p))).then(|| value.clone())
            }
        }
    }

    /// As JSON Schema.
    pub fn schema(self) -> Value {
        match self {
            KeyKind::Boolean => json!({ "type": "boolean" }),
            KeyKind::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            KeyKind::Number { min, max } => {
                json!({ "type": "number", "minimum": min, "maximum": max })
            }
            KeyKind::Choice(words) => json!({ "type": "string", "enum": words }),
            KeyKind::Path
            | KeyKind::Text
            | KeyKind::Secret
            | KeyKind::StoreUrl
            | KeyKind::RedisUrl => {
                json!({ "type": "string" })
            }
            KeyKind::Programs => {
                json!({ "type": ["string", "array"], "items": { "type": "string" } })
            }
            KeyKind::ModelPrices => {
                let price = json!({ "type": "number", "minimum": 0 });
                json!({ "type": "object", "additionalProperties": {
                    "type": "object", "required": ["input", "output"], "additionalProperties": false,
                    "properties": { "input": price, "output": price },
                }})
            }
            KeyKind::ToolPrices => json!({
                "type": "object", "additionalProperties": { "type": "number", "minimum": 0 },
            }),
        }
    }
}

/// Beginnings of the URL of a store.
const STORE_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Beginnings of the URL of the shared plan cache.
const REDIS_SCHEMES: [&str; 2] = ["redis://", "rediss://"];

/// A URL with one of these beginnings, or nothing.
fn url(value: &Value, schemes: &[&str]) -> Option<Value> {
    let fits =
        |text: &&str| text.is_empty() || schemes.iter().any(|scheme| text.starts_with(scheme));
    value.as_str().filter(fits).map(Value::from)
}

/// Programs in one form, separated by commas: a name has no slash, a path begins with one.
fn programs(value: &Value) -> Option<String> {
    let listed: Vec<&str> = match value {
        Value::String(text) => text.split(',').map(str::trim).filter(|p| !p.is_empty()).collect(),
        Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let fits = |program: &&str| {
        !program.is_empty()
            && !program.contains([',', '\0'])
            && (program.starts_with('/') || !program.contains('/'))
    };
    listed.iter().all(fits).then(|| listed.join(","))
}

fn is_price(value: Option<&Value>) -> bool {
    value.and_then(Value::as_f64).is_some_and(|price| (0.0..=1e9).contains(&price))
}
