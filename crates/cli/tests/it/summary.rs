//! The first command of the README, its figures recounted here.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::sandbox::{Sandbox, git};

const GOAL: &str = "Create a summary of the project status";

fn report(sandbox: &Sandbox) -> String {
    let (code, result) = sandbox.json(&["run", GOAL]);
    assert_eq!((code, &result["status"]), (0, &"COMPLETED".into()), "{result}");
    sandbox.read(result["files"][0].as_str().unwrap())
}

#[test]
fn the_figures_are_those_of_git() {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    sandbox.write("README.md", "# Acme\n\n[![badge](x)](y)\n\nThe *best* thing.\n\nMore.\n");
    sandbox.write("CHANGELOG.md", "# Changes\n\n- first\n");
    sandbox
        .write("src/main.rs", "fn main() {}\n// TODO: more <b>here</b>\n// no newline at the end");
    sandbox.write("src/lib.py", "import x\n\n# FIXME soon\n");
    sandbox.write(".gitignore", "*.log\n/target\n");
    sandbox.write("kept.log", "tracked although ignored\n");
    git(&work, &["init", "-q", "-b", "trunk"]);
    git(&work, &["add", "-A", "-f"]);
    git(&work, &["commit", "-q", "-m", "first | <commit>"]);
    sandbox.write("noise.log", "ignored\n");
    sandbox.write("target/out.rs", "ignored\n");
    sandbox.write("new.rs", "untracked\n");

    // Counted by git and by hand.
    let listed = git(&work, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let files: Vec<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
    let lines: usize = files
        .iter()
        .map(|f| std::fs::read(work.join(f)).unwrap().iter().filter(|b| **b == b'\n').count())
        .sum();
    let bytes: usize = files.iter().map(|f| std::fs::read(work.join(f)).unwrap().len()).sum();

    let text = report(&sandbox);
    assert!(
        text.contains(&format!("{} files, {lines} lines, {bytes} bytes", files.len())),
        "{text}"
    );
    for part in [
        "# Project status: work",
        "**Acme**",
        "> The \\*best\\* thing.",
        "| Rust | 2 | 3 |",
        "| Python | 1 | 3 |",
        "- `src/main.rs:2` // TODO: more &lt;b&gt;here&lt;/b&gt;",
        "- `src/lib.py:3` \\# FIXME soon",
        "`CHANGELOG.md` begins:",
        "> \\- first",
        "1 commits on `trunk`",
        "Ada: first \\| &lt;commit&gt;",
        "| Ada | 1 |",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains("noise.log") && !text.contains("target/out.rs"), "{text}");
}

#[test]
fn reports_are_numbered_and_nothing_is_overwritten() {
    let sandbox = Sandbox::new();
    let (_, first) = sandbox.json(&["run", GOAL]);
    let name = first["files"][0].as_str().unwrap().to_owned();
    std::fs::write(sandbox.work().join(&name), "mine").unwrap();
    let (_, second) = sandbox.json(&["run", GOAL]);
    let stem = name.strip_suffix(".md").unwrap();
    assert_eq!(second["files"][0], format!("{stem}-2.md"));
    assert_eq!(sandbox.read(&name), "mine");
}

#[test]
fn an_empty_folder_has_a_report_too() {
    let text = report(&Sandbox::new());
    assert!(text.contains("0 files, 0 lines, 0 bytes"), "{text}");
    assert!(text.contains("There is no README") && text.contains("No git history"), "{text}");
}

#[test]
fn odd_and_unreadable_files_are_said_and_not_fatal() {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    sandbox.write("a`b|c<d>.txt", "one\n");
    sandbox.write("new\nline.txt", "one\n");
    sandbox.write("ünïcödé/日本.md", "one\n");
    std::fs::write(work.join("binary.bin"), [0u8, 1, 10, 10, 255]).unwrap();
    std::fs::write(work.join("latin1.txt"), b"caf\xe9 TODO\n").unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"bad\xff.txt");
    std::fs::write(work.join(odd), "x\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", work.join("outside")).unwrap();
    std::os::unix::fs::symlink(".", work.join("loop")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(work.join("pipe")).status().unwrap();
    assert!(fifo.success());
    sandbox.write("locked.txt", "secret\n");
    std::fs::set_permissions(work.join("locked.txt"), std::fs::Permissions::from_mode(0o000))
        .unwrap();
    let text = report(&sandbox);
    assert!(text.contains("| Binary | 1 | 0 | 5 |"), "{text}");
    assert!(text.contains("``a`b\\|c<d>.txt``"), "{text}");
    assert!(text.contains("`latin1.txt:1`"), "{text}");
    assert!(text.contains("its name is not UTF-8"), "{text}");
    assert!(!text.contains("root:"), "{text}");
    // The superuser reads what has no permissions.
    let is_root = std::fs::read(work.join("locked.txt")).is_ok();
    assert!(is_root || text.contains("`locked.txt`: "), "{text}");
}
