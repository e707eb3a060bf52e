//! Putting the layers together. Every problem is named with where it came from, all at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use l05_core::document::{DocumentFormat, TextLimits, parse};
use l05_core::suggest::{did_you_mean, nearest};
use l05_core::{Error, ErrorCode};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::absent::AbsentKey;
use super::key::ConfigKey;
use super::keys::KEYS;

/// Names of the environment that begin like ours and are not configuration.
const OTHER_VARIABLES: &[&str] = &["L05_SECRET_", "L05_TEST_"];

/// The sources of the layers.
#[derive(Default)]
pub struct ConfigLayers {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// `--set key=value` and the flags that stand for a key.
    pub flags: Vec<(String, String)>,
}

/// One key's value and its origin.
#[derive(Clone, PartialEq)]
pub struct ConfigSetting {
    /// The value.
    pub value: Value,
    /// `default`, `file:line`, a variable or a flag.
    pub origin: String,
}

/// Without the value, which may be a secret.
impl fmt::Debug for ConfigSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSetting").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// All keys' values.
pub type Settings = BTreeMap<&'static str, ConfigSetting>;

/// Loads the configuration; all problems are one E5000.
pub fn load(layers: &ConfigLayers) -> Result<(Config, Settings), Error> {
    let mut loader = ConfigLoader::default();
    for key in KEYS {
        let setting = ConfigSetting { value: key.default_value(), origin: "default".to_owned() };
        loader.settings.insert(key.name, setting);
    }
    if let Some(path) = config_file(layers) {
        loader.file(&path);
    }
    loader.environment(&layers.environment);
    for (name, text) in &layers.flags {
        loader.text(name, text, &format!("--set {name}"));
    }
    if loader.problems.is_empty() {
        let config = assemble(&loader.settings);
        return Ok((config, loader.settings));
    }
    let message = loader.problems.join("; ");
    Err(Error::new(ErrorCode::ConfigError, message).detail("problems", loader.problems))
}

/// `--config`, `PLANNING_CONFIG_PATH`, `./l05.toml`, the user's configuration folder.
fn config_file(layers: &ConfigLayers) -> Option<PathBuf> {
    let variable = |name: &str| {
        let found = layers.environment.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| PathBuf::from(value)).filter(|p| !p.as_os_str().is_empty())
    };
    let home =
        || variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|h| h.join(".config")));
    layers
        .file
        .clone()
        .or_else(|| variable("PLANNING_CONFIG_PATH"))
        .or_else(|| Some(PathBuf::from("l05.toml")).filter(|p| p.is_file()))
        .or_else(|| home().map(|base| base.join("l05/l05.toml")).filter(|p| p.is_file()))
}

#[derive(Default)]
struct ConfigLoader {
    settings: Settings,
    problems: Vec<String>,
}

impl ConfigLoader {
    fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problems.push(format!("{name}: {error}")),
        };
        let is_toml = path.extension().is_none_or(|e| e == "toml");
        if is_toml {
            return self.toml(&name, &text);
        }
        match parse(&text, DocumentFormat::detect(&name, &text), TextLimits::default()) {
            Err(error) => self.problems.push(format!("{name}: {error}")),
            Ok(Value::Object(sections)) => {
                for (section, keys) in &sections {
                    match keys {
                        Value::Object(keys) => {
                            for (key, value) in keys {
                                self.value(&format!("{section}.{key}"), value, &name);
                            }
                        }
                        _ => self.problems.push(format!("{name}: `{section}` must be a section")),
                    }
                }
            }
            Ok(_) => self.problems.push(format!("{name}: must hold sections with keys")),
        }
    }

    fn toml(&mut self, name: &str, text: &str) {
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                return self.problems.push(format!("{name}:{}: {}", line(at), error.message()));
            }
        };
        for (section, keys) in table.get_ref() {
            let DeValue::Table(keys) = keys.get_ref() else {
                let at = line(section.span().start);
                self.problems
                    .push(format!("{name}:{at}: `{}` must be a section", section.get_ref()));
                continue;
            };
            for (key, value) in keys {
                let origin = format!("{name}:{}", line(key.span().start));
                let full = format!("{}.{}", section.get_ref(), key.get_ref());
                match plain(value.get_ref()) {
                    Some(value) => self.value(&full, &value, &origin),
                    None => {
                        self.problems.push(format!("{origin}: `{full}` must be a single value"));
                    }
                }
            }
        }
    }

    fn environment(&mut self, variables: &[(OsString, OsString)]) {
        for (name, value) in variables {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            let known = KEYS.iter().find(|k| k.variable() == name || k.aliases.contains(&name));
            match known {
                Some(key) => self.text(key.name, value, name),
                None if AbsentKey::of_variable(name).is_some() => {
                    // A platform sets its variables for all of its parts: an empty one says nothing.
                    let key = AbsentKey::of_variable(name).filter(|_| !value.is_empty());
                    key.into_iter().for_each(|key| self.absent(key, key.name, value, name));
                }
                None if !name.starts_with("L05_") => {}
                None if OTHER_VARIABLES.iter().any(|prefix| name.starts_with(prefix)) => {}
                None => {
                    let names: Vec<String> = KEYS.iter().map(ConfigKey::variable).collect();
                    let near = nearest(name, names.iter().map(String::as_str));
                    let hint = did_you_mean(&near);
                    self.problems.push(format!("the variable {name} stands for no key{hint}"));
                }
            }
        }
    }

    /// Refuses a key that is not here, unless it is set to what holds all the same.
    fn absent(&mut self, key: &AbsentKey, name: &str, value: &str, origin: &str) {
        if key.holds.is_some_and(|holds| holds.eq_ignore_ascii_case(value)) {
            return;
        }
        let only = key.holds.map(|holds| format!(", only {holds} is accepted")).unwrap_or_default();
        let reason = key.reason;
        self.problems.push(format!("{origin}: the key `{name}` is not here: {reason}{only}"));
    }

    fn text(&mut self, name: &str, text: &str, origin: &str) {
        if let (None, Some(absent)) = (known(name), AbsentKey::of_name(name)) {
            return self.absent(absent, name, text, origin);
        }
        let Some(key) = self.key(name, origin) else { return };
        match key.kind.from_text(text) {
            Some(value) => self.keep(key, value, origin),
            None => self.out_of_range(key, text, origin),
        }
    }

    fn value(&mut self, name: &str, value: &Value, origin: &str) {
        if let (None, Some(absent)) = (known(name), AbsentKey::of_name(name)) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return self.absent(absent, name, &text, origin);
        }
        let Some(key) = self.key(name, origin) else { return };
        match key.kind.check(value) {
            Some(value) => self.keep(key, value, origin),
            None => self.out_of_range(key, &value.to_string(), origin),
        }
    }

    fn key(&mut self, name: &str, origin: &str) -> Option<&'static ConfigKey> {
        let key = known(name);
        if key.is_none() {
            let hint = did_you_mean(&nearest(name, KEYS.iter().map(|key| key.name)));
            self.problems.push(format!("{origin}: there is no key `{name}`{hint}"));
        }
        key
    }

    fn keep(&mut self, key: &'static ConfigKey, value: Value, origin: &str) {
        self.settings.insert(key.name, ConfigSetting { value, origin: origin.to_owned() });
    }

    fn out_of_range(&mut self, key: &ConfigKey, given: &str, origin: &str) {
        let range = key.kind.range();
        let instead = if key.kind.is_secret() { String::new() } else { format!(", not {given}") };
        self.problems.push(format!("{origin}: `{}` must be {range}{instead}", key.name));
    }
}

fn known(name: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.name == name)
}

fn plain(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(b) => Some(Value::from(*b)),
        DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix()).ok().map(Value::from),
        DeValue::Float(f) => f.as_str().parse::<f64>().ok().map(Value::from),
        // The parser bounds how deep tables nest.
        DeValue::Table(table) => {
            let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((key.to_string(), plain(value.get_ref())?))
            };
            table.iter().map(entry).collect::<Option<_>>().map(Value::Object)
        }
        DeValue::Datetime(_) | DeValue::Array(_) => None,
    }
}

/// The configuration that the settings make; each key says where its value goes.
fn assemble(settings: &Settings) -> Config {
    let mut config = Config::default();
    for key in KEYS {
        (key.set)(&mut config, &settings[key.name].value);
    }
    config
}

#[cfg(test)]
mod tests {
    use l05_core::goal::input::InputPolicy;
    use l05_engine::rules::ServiceRules;

    use super::*;

    /// The defaults of the table and those of the embedded service are written down twice, for people
    /// and for the compiler: they say the same.
    #[test]
    fn the_defaults_of_the_table_are_those_of_the_service() {
        let (config, _) = load(&ConfigLayers::default()).unwrap();
        let mut rules = ServiceRules::default();
        // Without a configuration no threshold asks for approval; with one it can never be reached.
        rules.limits.approval.cost_over_usd = Some(1e9);
        rules.limits.approval.complexity_over = Some(1e9);
        assert_eq!(format!("{:#?}", config.rules), format!("{rules:#?}"));
    }

    #[test]
    fn keys_that_are_not_here_are_refused_with_the_reason() {
        let variables = [
            ("L05_REGION", "eu"),
            ("L05_TRACE_SAMPLE_RATE", "0.1"),
            ("L02_REGISTRY_ENDPOINT", "http://registry"),
            ("AGENT_REGISTRY_REQUIRED", "false"),
            ("PLANNING_METRICS_ENABLED", "true"),
            ("PLANNING_TRACING_ENABLED", ""),
            ("L05_RATE_LIMITING_BURST_LIMIT", "5"),
        ];
        let flags = [
            ("security.enable_plan_signing", "true"),
            ("security.signing_algorithm", "RSA"),
            ("server.http", "127.0.0.1:1"),
        ];
        let layers = ConfigLayers {
            environment: variables.map(|(n, v)| (n.into(), v.into())).to_vec(),
            flags: flags.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
            ..ConfigLayers::default()
        };
        let error = load(&layers).unwrap_err().message;
        let expected = [
            "L05_REGION: the key `observability.region` is not here",
            "L05_TRACE_SAMPLE_RATE: the key `observability.tracing` is not here",
            "L02_REGISTRY_ENDPOINT: the key `service_discovery` is not here",
            "PLANNING_METRICS_ENABLED: the key `observability.metrics_enabled` is not here",
            "L05_RATE_LIMITING_BURST_LIMIT: the key `rate_limiting` is not here: nothing listens yet",
            "--set security.signing_algorithm: the key `security.signing_algorithm` is not here: it is the only one, only HMAC-SHA256 is accepted",
            "--set server.http: the key `server.http` is not here",
        ];
        for words in expected {
            assert!(error.contains(words), "{words}: {error}");
        }
        assert_eq!(error.matches("is not here").count(), expected.len(), "{error}");
    }

    #[test]
    fn nothing_prints_a_secret() {
        let postgres = ["store.url", "model.url", "model.api_key"]
            .map(|key| (key.to_owned(), "postgres://u:hunter2@h/d".to_owned()));
        let redis = [("cache.l2_redis_endpoint".to_owned(), "redis://u:hunter2@h".to_owned())];
        let flags = postgres.into_iter().chain(redis).collect();
        let layers = ConfigLayers { flags, ..ConfigLayers::default() };
        let (config, settings) = load(&layers).unwrap();
        let printed = format!("{config:?} {settings:?}");
        assert!(printed.contains("REDACTED"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn later_layers_win_and_say_where_they_came_from() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[input]\npolicy = \"prose\"\n\n[decomposition]\nmax_tasks = 500\n")
            .unwrap();
        let layers = ConfigLayers {
            file: Some(file.clone()),
            environment: vec![
                ("L05_DECOMPOSITION_MAX_TASKS".into(), "600".into()),
                ("PATH".into(), "x".into()),
            ],
            flags: vec![("decomposition.template_threshold".into(), "0.5".into())],
        };
        let (config, settings) = load(&layers).unwrap();
        assert_eq!(
            (config.rules.policy, config.rules.limits.tasks_max, config.rules.template_threshold),
            (InputPolicy::Prose, 600, 0.5)
        );
        assert_eq!(settings["input.policy"].origin, format!("{}:2", file.display()));
        assert_eq!(settings["decomposition.max_tasks"].origin, "L05_DECOMPOSITION_MAX_TASKS");
    }

    #[test]
    fn all_problems_are_named_with_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[input]\npolcy = \"prose\"\n[decomposition]\nmax_tasks = 5\n")
            .unwrap();
        let layers = ConfigLayers {
            file: Some(file),
            environment: vec![
                ("L05_INPUT_POLICY".into(), "lax".into()),
                ("L05_INPT_POLICY".into(), "x".into()),
            ],
            flags: vec![("security.require_signed_plans".into(), "yes".into())],
        };
        let error = load(&layers).map(drop).unwrap_err();
        assert_eq!(error.code, ErrorCode::ConfigError);
        for part in [
            "x.toml:2: there is no key `input.polcy`; did you mean `input.policy`",
            "x.toml:4: `decomposition.max_tasks` must be 10 to 1000000, not 5",
            "L05_INPUT_POLICY: `input.policy` must be strict | prose, not lax",
            "the variable L05_INPT_POLICY stands for no key; did you mean",
            "--set security.require_signed_plans: `security.require_signed_plans` must be true or false, not yes",
        ] {
            assert!(error.message.contains(part), "{part}\n{}", error.message);
        }
    }
}
