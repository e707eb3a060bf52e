//! A repository that wants to run something, in every way git offers.

use std::os::unix::fs::PermissionsExt as _;

use crate::sandbox::{Sandbox, git};

#[test]
fn nothing_of_a_hostile_repository_runs() {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    let mark = sandbox.data().with_file_name("ran");
    git(&work, &["init", "-q", "-b", "main"]);
    sandbox.write("a.txt", "one\n");
    git(&work, &["add", "a.txt"]);
    git(&work, &["commit", "-q", "-m", "first"]);
    let script = sandbox.work().join(".git/evil.sh");
    std::fs::write(&script, format!("#!/bin/sh\necho $0 $* >> {}\ncat\n", mark.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let evil = script.to_str().unwrap();
    for hook in [
        "post-checkout",
        "pre-commit",
        "post-index-change",
        "reference-transaction",
        "fsmonitor-watchman",
    ] {
        let path = work.join(".git/hooks").join(hook);
        std::fs::copy(&script, &path).unwrap();
    }
    for (key, value) in [
        ("core.fsmonitor", evil),
        ("core.pager", evil),
        ("core.sshCommand", evil),
        ("core.editor", evil),
        ("core.askPass", evil),
        ("core.alternateRefsCommand", evil),
        ("diff.external", evil),
        ("diff.evil.textconv", evil),
        ("diff.evil.command", evil),
        ("filter.evil.clean", evil),
        ("filter.evil.smudge", evil),
        ("filter.evil.process", evil),
        ("gpg.program", evil),
        ("log.showSignature", "true"),
        ("credential.helper", evil),
        ("alias.log", &format!("!{evil}")),
        ("alias.rev-parse", &format!("!{evil}")),
        ("pager.log", evil),
        ("uploadpack.packObjectsHook", evil),
        ("remote.origin.url", &format!("ext::{evil}")),
        ("remote.origin.promisor", "true"),
        ("extensions.partialClone", "origin"),
    ] {
        git(&work, &["config", key, value]);
    }
    std::fs::write(work.join(".gitattributes"), "* diff=evil filter=evil\n").unwrap();
    // A missing object would be fetched from the promisor.
    std::fs::write(work.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();

    let (code, result) = sandbox.json(&["run", "Create a summary of the project status"]);
    assert_eq!((code, &result["status"]), (0, &"COMPLETED".into()), "{result}");
    let ran = std::fs::read_to_string(&mark).unwrap_or_default();
    assert_eq!(ran, "", "the repository ran something");
    let git_task =
        result["tasks"].as_array().unwrap().iter().find(|t| t["task_id"] == "git").unwrap();
    assert_eq!(git_task["outputs"]["total_commits"], 1, "{git_task}");
}

#[test]
fn a_git_link_leads_to_no_other_repository() {
    let sandbox = Sandbox::new();
    let outside = sandbox.data().with_file_name("outside");
    std::fs::create_dir_all(&outside).unwrap();
    git(&outside, &["init", "-q", "-b", "main"]);
    std::fs::write(outside.join("a"), "x").unwrap();
    git(&outside, &["add", "a"]);
    git(&outside, &["commit", "-q", "-m", "SECRET SUBJECT"]);
    sandbox.write("plan.yaml", "goal: x\ntasks:\n  - {id: a, tool: git.summary}\n");
    let link = sandbox.work().join(".git");
    std::os::unix::fs::symlink(outside.join(".git"), &link).unwrap();
    for _ in 0..2 {
        let ran = sandbox.run(&["execute", "plan.yaml", "--output", "json"]);
        assert_eq!(ran.code, 0);
        assert!(!ran.stdout.contains("SECRET") && ran.stdout.contains("lie elsewhere"), "{ran:?}");
        std::fs::remove_file(&link).unwrap();
        std::fs::write(&link, format!("gitdir: {}\n", outside.join(".git").display())).unwrap();
    }
}

#[test]
fn a_repository_reads_no_other_one() {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    let outside = sandbox.data().with_file_name("outside");
    std::fs::create_dir_all(&outside).unwrap();
    git(&outside, &["init", "-q", "-b", "main"]);
    std::fs::write(outside.join("a"), "x").unwrap();
    git(&outside, &["add", "a"]);
    git(&outside, &["commit", "-q", "-m", "SECRET SUBJECT"]);
    let head = git(&outside, &["rev-parse", "HEAD"]);
    sandbox.write("plan.yaml", "goal: x\ntasks:\n  - {id: a, tool: git.summary}\n");
    let data = outside.join(".git");
    let check = |how: &str| {
        let ran = sandbox.run(&["execute", "plan.yaml", "--output", "json"]);
        assert_eq!(ran.code, 0, "{how}: {ran:?}");
        assert!(
            !ran.stdout.contains("SECRET") && ran.stdout.contains("lead out"),
            "{how}: {ran:?}"
        );
        std::fs::remove_dir_all(work.join(".git")).unwrap();
    };
    let fresh = || {
        git(&work, &["init", "-q", "-b", "main"]);
        std::fs::write(work.join(".git/refs/heads/main"), &head).unwrap();
    };
    fresh();
    let objects = format!("{}\n", data.join("objects").display());
    std::fs::write(work.join(".git/objects/info/alternates"), objects).unwrap();
    check("alternates");
    for part in ["objects", "refs"] {
        fresh();
        std::fs::remove_dir_all(work.join(".git").join(part)).unwrap();
        std::os::unix::fs::symlink(data.join(part), work.join(".git").join(part)).unwrap();
        check(part);
    }
    fresh();
    for entry in std::fs::read_dir(data.join("objects")).unwrap().flatten() {
        let link = work.join(".git/objects").join(entry.file_name());
        let _ = std::fs::remove_dir_all(&link);
        std::os::unix::fs::symlink(entry.path(), link).unwrap();
    }
    check("linked folders of objects");
}

#[test]
fn git_is_the_machines_own() {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    git(&work, &["init", "-q", "-b", "main"]);
    sandbox.write("a.txt", "one\n");
    git(&work, &["add", "a.txt"]);
    git(&work, &["commit", "-q", "-m", "first"]);
    let mark = sandbox.data().with_file_name("ran");
    let fake = sandbox.write("git", &format!("#!/bin/sh\ntouch {}\n", mark.display()));
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write("plan.yaml", "goal: x\ntasks:\n  - {id: a, tool: git.summary}\n");
    let path = std::env::var("PATH").unwrap();
    for before in [".".to_owned(), String::new(), work.display().to_string()] {
        let mut command = sandbox.command(&["execute", "plan.yaml", "--output", "json"]);
        let output = command.env("PATH", format!("{before}:{path}")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("\"total_commits\": 1"), "{told}");
        assert!(!mark.exists(), "PATH={before}: the folder's own git ran");
    }
}

#[test]
fn a_repository_above_the_workspace_is_told() {
    let sandbox = Sandbox::new();
    let above = sandbox.work();
    git(&above, &["init", "-q", "-b", "main"]);
    sandbox.write("inner/a.txt", "one\n");
    git(&above, &["add", "."]);
    git(&above, &["commit", "-q", "-m", "first"]);
    sandbox.write("plan.yaml", "goal: x\ntasks:\n  - {id: a, tool: git.summary}\n");
    let inner = above.join("inner").display().to_string();
    let (code, result) = sandbox.json(&["execute", "plan.yaml", "--workspace", &inner]);
    assert_eq!(code, 0, "{result}");
    let told = result["outputs"]["a"]["above"].as_str().unwrap().to_owned();
    assert_eq!(std::path::Path::new(&told), above.canonicalize().unwrap());
    let (_, result) = sandbox.json(&["execute", "plan.yaml"]);
    assert_eq!(result["outputs"]["a"]["above"], "", "{result}");
}
