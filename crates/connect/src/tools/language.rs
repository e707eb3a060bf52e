//! Which language a file is in, by its name.

use std::path::Path;

/// The language's name; `Other` when nobody knows.
pub(super) fn of(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if let Some((_, language)) = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return language;
    }
    let extension =
        path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS
        .binary_search_by_key(&extension.as_str(), |(known, _)| known)
        .map_or("Other", |at| EXTENSIONS[at].1)
}

static NAMES: &[(&str, &str)] = &[
    ("Makefile", "Makefile"),
    ("Dockerfile", "Dockerfile"),
    ("CMakeLists.txt", "CMake"),
    ("Rakefile", "Ruby"),
    ("Gemfile", "Ruby"),
    ("Jenkinsfile", "Groovy"),
    ("README", "Text"),
    ("LICENSE", "Text"),
    ("CHANGELOG", "Text"),
    (".gitignore", "Ignore list"),
    (".dockerignore", "Ignore list"),
    ("Cargo.lock", "Lock file"),
    ("package-lock.json", "Lock file"),
    ("yarn.lock", "Lock file"),
    ("poetry.lock", "Lock file"),
];

/// Sorted by extension.
static EXTENSIONS: &[(&str, &str)] = &[
    ("adoc", "AsciiDoc"),
    ("asm", "Assembly"),
    ("astro", "Astro"),
    ("awk", "Awk"),
    ("bash", "Shell"),
    ("bat", "Batch"),
    ("c", "C"),
    ("cc", "C++"),
    ("cfg", "INI"),
    ("cjs", "JavaScript"),
    ("clj", "Clojure"),
    ("cmake", "CMake"),
    ("cpp", "C++"),
    ("cs", "C#"),
    ("css", "CSS"),
    ("csv", "CSV"),
    ("cu", "CUDA"),
    ("cxx", "C++"),
    ("d", "D"),
    ("dart", "Dart"),
    ("el", "Emacs Lisp"),
    ("elm", "Elm"),
    ("erl", "Erlang"),
    ("ex", "Elixir"),
    ("exs", "Elixir"),
    ("f90", "Fortran"),
    ("fish", "Shell"),
    ("fs", "F#"),
    ("go", "Go"),
    ("gradle", "Groovy"),
    ("graphql", "GraphQL"),
    ("groovy", "Groovy"),
    ("h", "C"),
    ("hcl", "HCL"),
    ("hpp", "C++"),
    ("hs", "Haskell"),
    ("htm", "HTML"),
    ("html", "HTML"),
    ("ini", "INI"),
    ("ipynb", "Jupyter"),
    ("java", "Java"),
    ("jinja", "Jinja"),
    ("jl", "Julia"),
    ("js", "JavaScript"),
    ("json", "JSON"),
    ("jsonl", "JSON"),
    ("jsx", "JavaScript"),
    ("kt", "Kotlin"),
    ("kts", "Kotlin"),
    ("less", "CSS"),
    ("lua", "Lua"),
    ("m", "Objective-C"),
    ("md", "Markdown"),
    ("mdx", "Markdown"),
    ("mjs", "JavaScript"),
    ("ml", "OCaml"),
    ("mm", "Objective-C"),
    ("ndjson", "JSON"),
    ("nim", "Nim"),
    ("nix", "Nix"),
    ("pas", "Pascal"),
    ("php", "PHP"),
    ("pl", "Perl"),
    ("pm", "Perl"),
    ("proto", "Protocol Buffers"),
    ("ps1", "PowerShell"),
    ("py", "Python"),
    ("pyi", "Python"),
    ("r", "R"),
    ("rb", "Ruby"),
    ("rs", "Rust"),
    ("rst", "reStructuredText"),
    ("sass", "CSS"),
    ("scala", "Scala"),
    ("scss", "CSS"),
    ("sh", "Shell"),
    ("sol", "Solidity"),
    ("sql", "SQL"),
    ("svelte", "Svelte"),
    ("svg", "SVG"),
    ("swift", "Swift"),
    ("tcl", "Tcl"),
    ("tex", "TeX"),
    ("tf", "HCL"),
    ("toml", "TOML"),
    ("ts", "TypeScript"),
    ("tsv", "CSV"),
    ("tsx", "TypeScript"),
    ("txt", "Text"),
    ("vim", "Vim script"),
    ("vue", "Vue"),
    ("xml", "XML"),
    ("yaml", "YAML"),
    ("yml", "YAML"),
    ("zig", "Zig"),
    ("zsh", "Shell"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_used() {
        assert!(EXTENSIONS.is_sorted_by_key(|(extension, _)| *extension));
        for (name, language) in [
            ("src/main.rs", "Rust"),
            ("Makefile", "Makefile"),
            ("a/b.TSX", "TypeScript"),
            ("noext", "Other"),
            ("x.unknown", "Other"),
        ] {
            assert_eq!(of(Path::new(name)), language, "{name}");
        }
    }
}
