//! What a key is and what its value may be. The keys themselves are in `keys`.

use serde_json::{Value, json};

/// What a key's value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
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
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// As it would be written on a command line.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Fixed names in the environment beside `L05_<SECTION>_<KEY>`.
    pub aliases: &'static [&'static str],
}

impl Key {
    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!("L05_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The default as a value.
    pub fn default_value(&self) -> Value {
        self.kind.from_text(self.default).expect("defaults fit their kinds: a test reads them all")
    }
}

impl Kind {
    /// What the value must be, in words.
    pub fn range(self) -> String {
        match self {
            Kind::Boolean => "true or false".to_owned(),
            Kind::Integer { min, max } => format!("{min} to {max}"),
            Kind::Number { min, max } => format!("{min} to {max}, fractions allowed"),
            Kind::Choice(words) => words.join(" | "),
            Kind::Path => "a path".to_owned(),
            Kind::Text | Kind::Secret => "a text".to_owned(),
            Kind::Programs => "names or absolute paths, separated by commas".to_owned(),
            Kind::StoreUrl => format!("empty, or a URL that begins with {}", STORE_SCHEMES[0]),
            Kind::RedisUrl => format!("empty, or a URL that begins with {}", REDIS_SCHEMES[0]),
            Kind::ModelPrices => {
                "{model: {input, output}} in US dollars per million tokens, * for others".to_owned()
            }
            Kind::ToolPrices => "{tool: US dollars a call}".to_owned(),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::Integer { .. } => "integer",
            Kind::Number { .. } => "number",
            Kind::Choice(_) => "choice",
            Kind::Path => "path",
            Kind::Text => "text",
            Kind::Secret => "secret",
            Kind::Programs => "list",
            Kind::StoreUrl | Kind::RedisUrl => "URL",
            Kind::ModelPrices | Kind::ToolPrices => "table",
        }
    }

    /// Reads what a flag or a variable says.
    pub fn from_text(self, text: &str) -> Option<Value> {
        let value = match self {
            Kind::Boolean => Value::from(text.parse::<bool>().ok()?),
            Kind::Integer { .. } => Value::from(text.parse::<u64>().ok()?),
            Kind::Number { .. } => Value::from(text.parse::<f64>().ok()?),
            Kind::Choice(_)
            | Kind::Path
            | Kind::Text
            | Kind::Secret
            | Kind::Programs
            | Kind::StoreUrl
            | Kind::RedisUrl => Value::from(text),
            Kind::ModelPrices | Kind::ToolPrices => serde_json::from_str(text).ok()?,
        };
        self.check(&value)
    }

    /// Whether values may hold what nobody is to read.
    pub fn is_secret(self) -> bool {
        match self {
            Kind::StoreUrl | Kind::RedisUrl | Kind::Secret => true,
            Kind::Boolean
            | Kind::Integer { .. }
            | Kind::Number { .. }
            | Kind::Choice(_)
            | Kind::Path
            | Kind::Text
            | Kind::Programs
            | Kind::ModelPrices
            | Kind::ToolPrices => false,
        }
    }

    /// The value in the kind's own form, if it is in range.
    pub fn check(self, value: &Value) -> Option<Value> {
        match self {
            Kind::Boolean => value.as_bool().map(Value::from),
            Kind::Integer { min, max } => {
                value.as_u64().filter(|n| (min..=max).contains(n)).map(Value::from)
            }
            Kind::Number { min, max } => {
                value.as_f64().filter(|n| (min..=max).contains(n)).map(Value::from)
            }
            Kind::Choice(words) => {
                let word = value.as_str()?;
                words.iter().find(|known| known.eq_ignore_ascii_case(word)).map(|w| Value::from(*w))
            }
            Kind::Path | Kind::Text | Kind::Secret => value.as_str().map(Value::from),
            Kind::Programs => programs(value).map(Value::from),
            Kind::StoreUrl => url(value, &STORE_SCHEMES),
            Kind::RedisUrl => url(value, &REDIS_SCHEMES),
            Kind::ModelPrices => {
                let fits = |price: &Value| {
                    price.as_object().is_some_and(|map| {
                        map.len() == 2 && ["input", "output"].iter().all(|k| is_price(map.get(*k)))
                    })
                };
                value.as_object()?.values().all(fits).then(|| value.clone())
            }
            Kind::ToolPrices => {
                value.as_object()?.values().all(|p| is_price(Some(p))).then(|| value.clone())
            }
        }
    }

    /// As JSON Schema.
    pub fn schema(self) -> Value {
        match self {
            Kind::Boolean => json!({ "type": "boolean" }),
            Kind::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Kind::Number { min, max } => {
                json!({ "type": "number", "minimum": min, "maximum": max })
            }
            Kind::Choice(words) => json!({ "type": "string", "enum": words }),
            Kind::Path | Kind::Text | Kind::Secret | Kind::StoreUrl | Kind::RedisUrl => {
                json!({ "type": "string" })
            }
            Kind::Programs => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
            Kind::ModelPrices => {
                let price = json!({ "type": "number", "minimum": 0 });
                json!({ "type": "object", "additionalProperties": {
                    "type": "object", "required": ["input", "output"], "additionalProperties": false,
                    "properties": { "input": price, "output": price },
                }})
            }
            Kind::ToolPrices => json!({
                "type": "object", "additionalProperties": { "type": "number", "minimum": 0 },
            }),
        }
    }
}

/// How the URL of a store may begin.
const STORE_SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// How the URL of the shared plan cache may begin.
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
