//! Rules about the repository itself that no compiler checks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use l05_core::error::{ErrorInfo, REGISTRY};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut stack = vec![folder.to_owned()];
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What each crate may use of the others (ARCHITECTURE.md).
const MAY_USE: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("run", &["l05-core"]),
    ("draft", &["l05-core"]),
    ("engine", &["l05-core", "l05-run", "l05-draft"]),
    ("store", &["l05-core", "l05-run", "l05-engine"]),
    ("connect", &["l05-core", "l05-run", "l05-engine"]),
    ("l05", &["l05-core", "l05-run", "l05-engine", "l05-store", "l05-connect"]),
    ("cli", &["l05", "l05-core", "l05-run", "l05-draft", "l05-engine"]),
    (
        "bench",
        &["l05", "l05-core", "l05-run", "l05-draft", "l05-engine", "l05-store", "l05-connect"],
    ),
];

/// The modules of each crate from the bottom up: a module uses those before it, and none behind it.
const LAYERS: &[(&str, &str)] = &[
    (
        "core",
        "error finding suggest id time printable document goal json_path reference resource task agent caller secrets json_schema flow \
         catalog condition evaluation graph plan bound_check constraints context random schedule estimate template schema \
         validate",
    ),
    ("run", "amounts event placement command record codec machine history public_event explain"),
    ("draft", "import decomposition"),
    (
        "engine",
        "port evaluations goal_record workspaces blobs keys request cache decomposer shard rules tool_catalog hub records cost_report \
         report memory observed_runs driver service",
    ),
    ("store", "worker sqlite postgres redis test_support"),
    (
        "connect",
        "workspace_identity keyfile tokens workspace evaluator tools evaluation_work model templates",
    ),
    ("l05", "child config compose"),
    ("cli", "cli"),
    ("bench", "measure disk boxed workload runs fair memory planning"),
];

#[test]
fn crates_depend_in_one_direction() {
    let crates: BTreeSet<String> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(crates, listed, "a crate is not in the table");
    for (name, allowed) in MAY_USE {
        let manifest: toml::Table =
            read(&root().join("crates").join(name).join("Cargo.toml")).parse().unwrap();
        let used = manifest["dependencies"].as_table().unwrap().keys();
        for other in used.filter(|key| key.starts_with("l05")) {
            assert!(allowed.contains(&other.as_str()), "{name} must not use {other}");
        }
    }
}

/// The modules of its own crate that a source file names: `crate::a::B`, `use crate::{a::B, c}`.
fn modules_named(text: &str) -> BTreeSet<String> {
    let product = text.split("#[cfg(test)]").next().unwrap();
    let code: Vec<&str> = product.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
    };
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => named.extend([word(rest)]),
            Some(group) => {
                let mut depth = 0;
                let flat = group.split_inclusive(['{', '}', ',']).map_while(|part| {
                    let top = (depth == 0).then(|| word(part));
                    depth += part.matches('{').count() as i32 - part.matches('}').count() as i32;
                    (depth >= 0 || top.is_some()).then_some(top)
                });
                named.extend(flat.flatten());
            }
        }
    }
    named.retain(|name| !name.is_empty());
    named
}

#[test]
fn modules_of_a_crate_are_layers() {
    for (name, layers) in LAYERS {
        let layers: Vec<&str> = layers.split_whitespace().collect();
        let source = root().join("crates").join(name).join("src");
        for path in files(&source, "rs") {
            let inside = path.strip_prefix(&source).unwrap().to_str().unwrap();
            let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
            if ["lib", "main"].contains(&module) || inside.contains("tests") {
                continue;
            }
            let level = layers.iter().position(|layer| *layer == module);
            let level = level.unwrap_or_else(|| panic!("{name}: no layer for `{module}`"));
            for used in modules_named(&read(&path)).iter().filter(|used| *used != module) {
                let below = layers[..level].contains(&used.as_str());
                assert!(
                    below,
                    "{name}: `{module}` ({inside}) is below `{used}` and must not use it"
                );
            }
        }
    }
}

/// The product part of a source file: no comments, no unit tests, and text literals emptied.
fn product(text: &str) -> String {
    let product = text.split("#[cfg(test)]").next().unwrap();
    let code = product.lines().map(|line| line.split("//").next().unwrap());
    code.collect::<Vec<_>>().join("\n")
}

/// Text is for people: code decides on kinds, columns of the registry and types.
#[test]
fn nothing_is_decided_by_the_text_of_an_error() {
    let forbidden = [".code ==", ".code !=", "details.get", "details.contains_key", ".message =="];
    // The registry's own tables, and what prints errors.
    let exempt = ["core/src/error.rs", "core/src/error/registry.rs", "cli/src/cli/output.rs"];
    for path in files(&root().join("crates"), "rs") {
        let place = path.strip_prefix(root().join("crates")).unwrap().to_str().unwrap();
        if exempt.contains(&place) || place.contains("tests") || place.contains("examples") {
            continue;
        }
        let code = product(&read(&path));
        for word in forbidden {
            assert!(!code.contains(word), "{place} has {word}");
        }
        let matched = code.match_indices("match ").any(|(at, _)| {
            let head = code[at..].split('{').next().unwrap();
            head.trim_end().ends_with(".code")
        });
        assert!(!matched, "{place} matches on a code");
        assert!(!code.contains("matches!(error.code"), "{place} matches on a code");
    }
}

/// A new kind of event must not fall through: whoever reads events lists them all.
#[test]
fn event_kinds_are_listed_one_by_one() {
    for path in files(&root().join("crates/run/src"), "rs") {
        if path.to_str().unwrap().contains("tests") {
            continue;
        }
        let code = product(&read(&path));
        for (at, _) in code.match_indices("match ") {
            let Some(open) = code[at..].find('{') else { continue };
            let body = braced(&code[at + open..]);
            let arms = top_level(body);
            let is_of_events = arms.iter().filter(|arm| is_event_pattern(arm)).count() > 0;
            let falls_through = arms.iter().any(|arm| arm.trim_start().starts_with("_ =>"));
            assert!(!(is_of_events && falls_through), "{}: {body}", path.display());
        }
    }
}

fn is_event_pattern(arm: &str) -> bool {
    let pattern = arm.trim_start();
    ["RunEvent::", "PublicEventKind::", "Kind::"].iter().any(|kind| pattern.starts_with(kind))
}

/// The text between the brace that it begins with and the one that closes it.
fn braced(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[1..at];
        }
    }
    text
}

/// The lines of a block that stand in no inner one.
fn top_level(block: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut lines = Vec::new();
    for line in block.lines() {
        if depth == 0 {
            lines.push(line);
        }
        let opened = line.matches(['{', '(', '[']).count() as i64;
        depth += opened - line.matches(['}', ')', ']']).count() as i64;
    }
    lines
}

/// A key stands in one table, and nowhere else as text.
/// Every key of the platform's documents is here, or on the list of those that are not, with the reason.
#[test]
fn each_key_of_the_platform_is_here_or_on_the_list() {
    const PLATFORM: &str = "decomposition.strategy decomposition.cache_enabled decomposition.template_threshold decomposition.max_depth \
        decomposition.max_tasks decomposition.cost_model validation.enable_security_checks validation.enable_capability_matching \
        validation.enable_constraint_propagation rate_limiting.requests_per_minute rate_limiting.burst_limit \
        rate_limiting.requests_per_hour resource_estimation.model resource_estimation.historical_datapoint_threshold \
        resource_estimation.rolling_average_window_days resource_estimation.confidence_interval_initial \
        quotas.token_budget_per_plan quotas.token_budget_per_task quotas.cpu_cores_per_task quotas.memory_gb_per_task \
        quotas.execution_time_seconds_per_task context.max_size_mb context.vault_location context.secret_field_names \
        security.enable_plan_signing security.signing_algorithm security.enable_context_encryption \
        security.encryption_algorithm security.require_signed_plans cache.strategy cache.l1_capacity_plans \
        cache.l1_ttl_hours cache.l2_backend cache.l2_capacity_plans cache.l2_ttl_hours cache.l2_redis_endpoint \
        bulkheads.decomposer bulkheads.template_matcher bulkheads.validator bulkheads.resolver \
        event_publishing.retry_max_attempts event_publishing.retry_backoff_base_ms event_publishing.dlq_retention_days \
        event_publishing.dlq_alert_threshold event_publishing.dlq_growth_rate_alert_threshold \
        service_discovery.health_check_interval_sec service_discovery.health_check_timeout_sec \
        service_discovery.fallback_cache_ttl_sec service_discovery.retry_max_attempts service_discovery.registry_required \
        observability.tracing.sample_rate_normal observability.tracing.sample_rate_error \
        observability.tracing.sample_rate_high_latency observability.tracing.high_latency_threshold_ms retention.plans_days \
        retention.audit_days input.policy server.http server.grpc auth.jwt.jwks webhooks layers.l01.url mcp.servers models.a.gateway \
        input.cli_policy security.flow_policy retention.events_days";
    let page = read(&root().join("docs/configuration.md"));
    for key in PLATFORM.split_whitespace() {
        let is_here = l05::config::KEYS.iter().any(|known| known.name == key);
        let mut absent = l05::config::ABSENT_KEYS.iter();
        let is_listed =
            absent.any(|known| key == known.name || key.starts_with(&format!("{}.", known.name)));
        assert!(is_here != is_listed, "{key}: here {is_here}, on the list {is_listed}");
    }
    for absent in l05::config::ABSENT_KEYS {
        let row = format!("| `{}` |", absent.name);
        assert!(page.contains(&row) && page.contains(absent.reason), "{}", absent.name);
        assert!(absent.aliases.iter().all(|alias| page.contains(&format!("`{alias}`"))));
    }
}

#[test]
fn config_keys_stand_in_one_table() {
    let keys: BTreeSet<&str> = l05::config::KEYS.iter().map(|key| key.name).collect();
    assert_eq!(keys.len(), l05::config::KEYS.len(), "a key stands in the table twice");
    for path in files(&root().join("crates/l05/src"), "rs") {
        if path.ends_with("config/keys.rs") {
            continue;
        }
        let text = read(&path);
        let text = text.split("#[cfg(test)]").next().unwrap();
        for key in &keys {
            assert!(!text.contains(&format!("\"{key}\"")), "{} has {key}", path.display());
        }
    }
}

#[test]
fn the_core_is_pure() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
        "SystemTime",
        "Instant",
        "tokio",
        "async fn",
        "rand::",
        "Uuid::now",
        "Uuid::new_v4",
        "println!",
        "Timestamp::now",
    ];
    let pure = ["core", "run", "draft"].map(|name| root().join("crates").join(name).join("src"));
    for path in pure.iter().flat_map(|source| files(source, "rs")) {
        let text = read(&path);
        for word in forbidden {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

/// Lines without tests; tables are exempt.
const FILE_LINES_MAX: usize = 600;
const TABLES: &[&str] = &["registry.rs"];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["utils.rs", "util.rs", "helpers.rs", "common.rs", "manager.rs", "misc.rs"];

#[test]
fn files_are_small_and_named_for_what_they_hold() {
    for path in files(&root().join("crates"), "rs") {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!EMPTY_NAMES.contains(&name), "{}", path.display());
        let text = read(&path);
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = product.lines().count();
        let exempt = TABLES.contains(&name) || name == "tests.rs";
        assert!(exempt || lines <= FILE_LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_is_left_for_later() {
    for path in files(&root().join("crates"), "rs") {
        if path.ends_with("tidy.rs") {
            continue;
        }
        let text = read(&path);
        for word in ["todo!(", "unimplemented!(", "#[ignore", "#[allow(", "#![allow("] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn the_registry_is_the_contract() {
    let contract: toml::Table = read(&root().join("crates/core/error-codes.toml")).parse().unwrap();
    let rows = contract["error"].as_array().unwrap();
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap();
        let info = l05_core::ErrorCode::parse(text("code"))
            .unwrap_or_else(|| panic!("{} is missing", text("code")))
            .info();
        assert_eq!(info.name(), text("name"));
        assert_eq!(info.message, text("message"), "{}", text("code"));
        assert_eq!(info.suggestion, text("suggestion"), "{}", text("code"));
        assert_eq!(info.grpc, text("grpc"), "{}", text("code"));
        assert_eq!(i64::from(info.http), row["http"].as_integer().unwrap(), "{}", text("code"));
        assert_eq!(info.retryable, row["retryable"].as_bool().unwrap(), "{}", text("code"));
    }
    assert!(REGISTRY.is_sorted_by_key(|info| info.code));
    assert!(REGISTRY.len() >= rows.len());
}

/// What stands behind this line of an error page was written by hand and is kept.
const BY_HAND: &str = "<!-- written by hand from here on -->\n";

fn generated(info: &ErrorInfo) -> String {
    format!(
        "# {} {}\n\n{}.\n\nWhat to do: {}.\n\n| category | may be retried | HTTP | gRPC |\n|---|---|---|---|\n| {} | {} | {} | {} |\n\n",
        info.code,
        info.name(),
        uppercase_first(info.message),
        info.suggestion,
        info.code.category(),
        if info.retryable { "yes" } else { "no" },
        info.http,
        info.grpc
    )
}

fn uppercase_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// `L05_TEST_BLESS=1` writes the generated parts anew.
#[test]
fn every_error_code_has_its_page() {
    let folder = root().join("docs/errors");
    let bless = std::env::var_os("L05_TEST_BLESS").is_some();
    for info in REGISTRY {
        let path = folder.join(format!("{}.md", info.code));
        let present = std::fs::read_to_string(&path).unwrap_or_default();
        let by_hand = present.find(BY_HAND).map_or("", |at| &present[at..]);
        let wanted = format!("{}{by_hand}", generated(info));
        if bless {
            std::fs::write(&path, &wanted).unwrap();
        } else {
            assert_eq!(present, wanted, "{}: run the tests with L05_TEST_BLESS=1", path.display());
        }
    }
    let pages = files(&folder, "md").into_iter().filter(|p| !p.ends_with("README.md")).count();
    assert_eq!(pages, REGISTRY.len(), "a page belongs to no code");
}

/// Codes that no test gets, by the list for users: each with the reason.
fn codes_without_a_test() -> BTreeSet<String> {
    let page = read(&root().join("docs/errors/README.md"));
    let rows = page.lines().filter(|line| line.starts_with("| E5"));
    let codes = rows.flat_map(|line| line.split('|').nth(1).unwrap_or_default().split_whitespace());
    codes.map(str::to_owned).collect()
}

/// The codes that tests compare results with: string literals that are a code, and codes that are compared by name. A
/// code in a comment, or inside a text that a test hands in, is no result.
fn codes_that_tests_get() -> BTreeSet<String> {
    let mut got = BTreeSet::new();
    for folder in
        ["crates/cli/tests", "crates/l05/tests", "crates/store/tests", "crates/engine/tests"]
    {
        for path in
            files(&root().join(folder), "rs").into_iter().filter(|p| !p.ends_with("tidy.rs"))
        {
            let text = read(&path);
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for info in REGISTRY {
                    let literal = line.contains(&format!("\"{}\"", info.code));
                    let compared = line.contains("assert") || line.contains("==");
                    let name = info.name();
                    let camel = name.split('_').map(|w| w[..1].to_uppercase() + &w[1..]);
                    let by_name = format!("ErrorCode::{}", camel.collect::<String>());
                    if literal || (compared && line.contains(&by_name)) {
                        got.insert(info.code.to_string());
                    }
                }
            }
        }
    }
    got
}

#[test]
fn every_error_code_is_a_tests_result_or_on_the_list_with_the_reason() {
    let (got, listed) = (codes_that_tests_get(), codes_without_a_test());
    let all = REGISTRY.iter().map(|info| info.code.to_string());
    let missing: Vec<String> = all.filter(|c| !got.contains(c) && !listed.contains(c)).collect();
    assert!(
        missing.is_empty(),
        "no test gets them, and docs/errors/README.md has no reason: {missing:?}"
    );
    let stale: Vec<&String> = listed.intersection(&got).collect();
    assert!(stale.is_empty(), "tests get them: docs/errors/README.md is out of date: {stale:?}");
}

/// Licences that may be in the binary; `deny.toml` has the same list.
#[test]
fn licences_are_allowed() {
    let deny: toml::Table = read(&root().join("deny.toml")).parse().unwrap();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    // What other platforms need is neither built nor fetched here.
    let about = std::process::Command::new("rustc").arg("-vV").output().unwrap();
    let about = String::from_utf8(about.stdout).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none").replace('/', " OR ");
        // `A OR B AND C`: one alternative must be allowed in all its parts.
        let parts = |text: &str| text.replace(['(', ')'], "");
        let fine = parts(&licence)
            .split(" OR ")
            .any(|alternative| alternative.split(" AND ").all(|one| allowed.contains(&one.trim())));
        assert!(fine, "{} is under {licence}", package["name"]);
    }
}

#[test]
fn words_of_the_workplace_stay_out() {
    let tracked = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    for name in String::from_utf8(tracked.stdout).unwrap().split('\0').filter(|n| !n.is_empty()) {
        let Ok(text) = std::fs::read_to_string(root().join(name)) else { continue };
        for word in ["/root/", "/home/user"] {
            // The policy's own list of paths is not a path of ours.
            let exempt = name.ends_with("input.rs") || name.ends_with("tidy.rs");
            assert!(exempt || !text.contains(word), "{name} has {word}");
        }
    }
}
