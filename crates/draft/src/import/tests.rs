use super::*;
use l05_core::plan::PlanDocument;

/// `id <- needs` for each task, and the counts of repairs and warnings.
fn outline(text: &str) -> (Vec<String>, ImportedPlan) {
    let imported = read_markdown(text).expect(text);
    PlanDocument::read(&imported.plan).expect("what is imported is a plan file");
    let tasks = imported.plan["tasks"].as_array().expect("tasks");
    let line = |task: &Value| {
        let needs: Vec<&str> = task["depends_on"]
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let short = |id: &str| id.trim_start_matches("step-").to_owned();
        let needs: Vec<String> = needs.into_iter().map(short).collect();
        format!("{} <- {}", short(task["id"].as_str().expect("an id")), needs.join(" "))
    };
    (tasks.iter().map(line).collect(), imported)
}

#[test]
fn numbered_steps_follow_each_other_unless_they_say_otherwise() {
    let (lines, imported) = outline(
        "# Ship the release\n\nSome words.\n\n1. Write the code in `src/main.rs`\n2. Write the tests (in parallel with step 1)\n3. Run everything (depends on 1 and 2)\n   ```sh\n   cargo test\n   ```\n4. Publish\n5. Tell people, after step 3\n",
    );
    assert_eq!(lines, ["1 <- ", "2 <- ", "3 <- 1 2", "4 <- 3", "5 <- 3"]);
    assert_eq!(imported.plan["goal"], "Ship the release");
    assert_eq!(imported.plan["tasks"][0]["metadata"]["files"], json!(["src/main.rs"]));
    assert_eq!(
        imported.plan["tasks"][2]["metadata"]["commands"],
        json!([{ "language": "sh", "text": "cargo test" }])
    );
    assert_eq!(imported.warnings, ["not understood: the paragraph \"Some words.\""]);
}

#[test]
fn boxes_headings_and_nested_steps() {
    let (lines, imported) = outline(
        "## Plan\n- [x] Set up\n- [ ] Build\n  1. Models\n  2. Routes\n  - a note\n- [ ] Release\n",
    );
    assert_eq!(lines, ["1 <- ", "2.1 <- 1", "2.2 <- 2.1", "3 <- 2.2"]);
    assert_eq!(imported.plan["tasks"][0]["metadata"]["done"], true);
    assert!(imported.repairs.iter().any(|r| r.contains("is a group of 2 steps")), "{imported:?}");

    let (lines, _) = outline(
        "# Goal\n## Step 1: Collect\nWords.\n- one\n- two\n## Step 2: Write\nDepends on step 1.\n## Step 3: Check\nNo dependencies.\n",
    );
    assert_eq!(lines, ["1 <- ", "2 <- 1", "3 <- "]);

    let (lines, _) = outline("- [ ] a\n- [ ] b\n- [ ] c (depends on 1)\n");
    assert_eq!(lines, ["1 <- ", "2 <- ", "3 <- 1"], "a list that says what some need is no order");

    let (lines, _) =
        outline("* first\n* second\n* third, in parallel\n* last, after all previous steps\n");
    assert_eq!(lines, ["1 <- ", "2 <- 1", "3 <- 1", "4 <- 2 3"]);
}

#[test]
fn needs_may_stand_later_and_be_named() {
    let check = |text: &str, expected: &[&str]| {
        let (lines, imported) = outline(text);
        assert_eq!(lines, expected, "{text}\n{imported:?}");
    };
    check("1. Publish (depends on 2)\n2. Build\n", &["1 <- 2", "2 <- "]);
    check("1. Deploy after step 3\n2. Build\n3. Test\n", &["1 <- 3", "2 <- ", "3 <- 2"]);
    check("1. a (depends on 2)\n2. b (depends on 1)\n", &["1 <- 2", "2 <- "]);
    check(
        "- [ ] Fetch data\n- [ ] Read docs\n- [ ] Clean data (depends on Fetch data)\n",
        &["1 <- ", "2 <- ", "3 <- 1"],
    );
    check(
        "- [ ] T001 Setup\n- [ ] T002 Models (depends on T001)\n- [ ] T003 Tests (depends on T001)\n- [ ] T004 Ship (depends on T002, T003)\n",
        &["1 <- ", "2 <- 1", "3 <- 1", "4 <- 2 3"],
    );
    check(
        "1. Backend\n   1. Schema\n   2. API\n2. Frontend\n   1. Views\n   2. Styles\n   3. Wire up (depends on 1 and 2)\n",
        &["1.1 <- ", "1.2 <- 1.1", "2.1 <- 1.2", "2.2 <- 2.1", "2.3 <- 2.1 2.2"],
    );
    check(
        "1. Prepare\n2. Build (depends on 1)\n   1. compile\n   2. link\n",
        &["1 <- ", "2.1 <- 1", "2.2 <- 2.1"],
    );
    check(
        "## Phase 1\n1. A\n2. B\n## Phase 2\n1. C\n2. D (depends on 1)\n",
        &["1.1 <- ", "1.2 <- 1.1", "2.1 <- 1.2", "2.2 <- 2.1"],
    );
    check(
        "1. Read\n2. Write, does not depend on step 1\n3. Approve: needs 2 reviewers\n",
        &["1 <- ", "2 <- 1", "3 <- 2"],
    );
    check("\u{feff}1. A\n2. B\n", &["1 <- ", "2 <- 1"]);
}

#[test]
fn what_is_not_understood_is_said() {
    let (lines, imported) = outline("1. a\n2. b (depends on 9)\n3. c (depends on 3)\n");
    assert_eq!(lines, ["1 <- ", "2 <- 1", "3 <- 2"], "a number that is no step is no statement");
    assert_eq!(imported.warnings.len(), 2, "{imported:?}");
    assert_eq!(read_markdown("just words").expect_err("no step").code, ErrorCode::PlanMalformed);
    assert_eq!(read_markdown("").expect_err("empty").code, ErrorCode::PlanMalformed);
}

#[test]
fn workflows_of_nodes_and_edges() {
    let (lines, imported) = outline(
        "Node:\n1: go there\n2: take it\n3: come back.\nEdge: (START,1) (1,2) (1,3) (2,3) (3,END) (7,1) (2,2)",
    );
    assert_eq!(lines, ["1 <- ", "2 <- 1", "3 <- 1 2"]);
    assert_eq!(imported.warnings.len(), 2, "{imported:?}");
}

#[test]
fn hostile_texts_end() {
    let deep = "1. a\n".to_owned()
        + &(1..400).map(|d| format!("{}1. x\n", "   ".repeat(d))).collect::<String>();
    assert!(read_markdown(&deep).is_ok());
    let wide = "- [ ] x\n".repeat(20_000);
    assert_eq!(
        read_markdown(&wide).expect("many steps").plan["tasks"].as_array().map(Vec::len),
        Some(20_000)
    );
    let quotes = "> ".repeat(50_000) + "1. x";
    let _ = read_markdown(&quotes);
    let bullets = format!("{}x\n\n1. step\n", "+ ".repeat(99_000));
    let _ = read_markdown(&bullets);
    let ranges: String =
        (1..600).map(|i| format!("{i}. x (depends on 1-{})\n", (i - 1).max(1))).collect();
    assert!(read_markdown(&ranges).is_ok());
    let nodes: String = (0..110_000).map(|i| format!("{i}: x\n")).collect();
    let nodes = format!("Node:\n{nodes}Edge: (1,2)");
    assert_eq!(read_markdown(&nodes).expect_err("too many").code, ErrorCode::PlanSizeInvalid);
    let phase = "## Phase 18446744073709551615: x\n- [ ] a\n## Phase 2: y\n- [ ] b\n";
    assert!(read_markdown(phase).is_ok());
    let forks: String = "- [ ] a\n".to_owned()
        + &"- [ ] b [P]\n".repeat(1_200)
        + "- [ ] c\n"
        + &"- [ ] d [P]\n".repeat(1_200);
    assert_eq!(read_markdown(&forks).expect_err("too many").code, ErrorCode::PlanSizeInvalid);
    let huge = "1. a\n".repeat(200_000);
    assert_eq!(read_markdown(&huge).expect_err("too many").code, ErrorCode::PlanSizeInvalid);
}

#[test]
fn numbers_count_as_they_are_written() {
    let check = |text: &str, expected: &[&str]| {
        let (lines, imported) = outline(text);
        assert_eq!(lines, expected, "{text}\n{imported:?}");
    };
    check("10. Build\n20. Test (depends on 10)\n30. Ship\n", &["10 <- ", "20 <- 10", "30 <- 20"]);
    check(
        "1. Build\n3. Test (depends on 1)\n4. Lint (depends on 1)\n6. Ship (depends on 3 and 4)\n",
        &["1 <- ", "3 <- 1", "4 <- 1", "6 <- 3 4"],
    );
    check("1. a\n1. b\n1. c\n", &["1 <- ", "2 <- 1", "3 <- 2"]);
    for (text, word) in [
        ("3. a\n2. b\n1. c\n", "run backwards (3, 2, 1)"),
        ("1. a\n2. b\n2. c\n3. d\n", "a second step 2 is step 4"),
    ] {
        let (_, imported) = outline(text);
        assert!(imported.warnings[0].contains(word), "{imported:?}");
    }
}

#[test]
fn sub_steps_are_tasks_however_they_are_numbered() {
    for text in [
        "1. Book a hotel\n1.1 Find\n1.2 Choose\n2. Book a flight\n2.1 Search",
        "1. Book a hotel\n   1.1. Find\n   1.2. Choose\n2. Book a flight\n   2.1. Search",
        "1) Book a hotel\n  1.1) Find\n\n  1.2) Choose\n\n2) Book a flight\n  2.1) Search",
        "- 1. Book a hotel\n- 1.1 Find\n- 1.2 Choose\n- 2. Book a flight\n- 2.1 Search",
        "1. Book a hotel\n   a. Find\n   b. Choose\n2. Book a flight\n   1. Search",
        "Step 1: Book a hotel\nStep 1.1: Find\nStep 1.2: Choose\nStep 2: Book a flight\nStep 2.1: Search",
        "## 1. Book a hotel\n1.1 Find\n\n1.2 Choose\n## 2. Book a flight\n2.1 Search",
    ] {
        let (lines, imported) = outline(text);
        assert_eq!(lines, ["1.1 <- ", "1.2 <- 1.1", "2.1 <- 1.2"], "{text}\n{imported:?}");
        assert_eq!(imported.plan["tasks"][0]["description"], "Part of: Book a hotel", "{text}");
    }
    let (lines, _) = outline("1. Wait for\n   1.5 seconds\n2. Go\n");
    assert_eq!(lines, ["1 <- ", "2 <- 1"]);
}

#[test]
fn steps_side_by_side_are_joined_by_what_follows() {
    let diamond = ["1 <- ", "2 <- ", "3 <- 1 2"];
    for text in [
        "1. Bake\n2. Whip in parallel with step 1\n3. Serve\n",
        "1. Bake\n2. Whip at the same time\n3. Serve\n",
        "- [ ] T001 Bake\n- [ ] T002 [P] Whip\n- [ ] T003 Serve\n",
        "1. Bake\n2. Whip\n3. Serve\n\nSteps 1 and 2 can run in parallel.\n",
        "- [ ] T001 Bake\n- [ ] T002 Whip\n- [ ] T003 Serve\n\n## Notes\n- `T001` and `T002` can run in parallel\n",
    ] {
        let (lines, imported) = outline(text);
        assert_eq!(lines, diamond, "{text}\n{imported:?}");
    }
    let (lines, _) = outline("1. Fetch\n2. Run in parallel:\n   - lint\n   - test\n3. Ship\n");
    assert_eq!(lines, ["1 <- ", "2.1 <- 1", "2.2 <- 1", "3 <- 2.1 2.2"]);
}

#[test]
fn a_phase_waits_for_the_phase_before_it() {
    for text in [
        "## Phase 1: Setup\n- [ ] T001 a\n- [ ] T002 [P] b\n## Phase 2: Work\n- [ ] T003 [P] c\n- [ ] T004 d\n",
        "## Phase 1: Setup\n- [ ] T001 a\n- [ ] T002 [P] b\n## Phase N: Work\n- [ ] T003 c (depends on T001)\n- [ ] T004 d\n",
        "**Phase 1: Setup**\n1. a\n2. b, in parallel\n\n**Phase 2: Work**\n1. c\n2. d\n",
        "# Plan\n## Setup\n1. a\n2. b [P]\n## Work\n1. c [P]\n2. d\n## Notes\n1. nothing\n",
    ] {
        let (lines, imported) = outline(text);
        assert_eq!(
            lines,
            ["1.1 <- ", "1.2 <- ", "2.1 <- 1.1 1.2", "2.2 <- 2.1"],
            "{text}\n{imported:?}"
        );
    }
    let (lines, _) = outline(
        "## Phase 1\n### Step 1: a\n### Step 2: b\n## Phase 2\n### Step 3: c (after step 1)\n### Step 4: d\n",
    );
    assert_eq!(lines, ["1.1 <- ", "1.2 <- 1.1", "2.3 <- 1.1 1.2", "2.4 <- 2.3"]);
}

#[test]
fn headings_beside_the_tasks_make_none() {
    for title in [
        "Implementation Strategy",
        "Notes",
        "Dependencies & Execution Order",
        "Format: `[ID] [P?]`",
        "Success Criteria",
        "4. Risks and Mitigations",
        "Testing strategy (optional)",
        "Timeline",
    ] {
        let (lines, imported) =
            outline(&format!("# Goal\n## Tasks\n- [ ] a\n- [ ] b\n## {title}\n1. Odd one\n"));
        assert_eq!(lines, ["1 <- ", "2 <- 1"], "{title}");
        assert!(imported.warnings.iter().any(|w| w.contains("Odd one")), "{imported:?}");
    }
    let (lines, _) = outline("# Goal\n## Release notes service\n1. a\n## Format the disk\n1. b\n");
    assert_eq!(lines, ["1.1 <- ", "2.1 <- 1.1"]);
    let (lines, _) = outline("# Implementation Strategy\n1. a\n2. b\n");
    assert_eq!(lines, ["1 <- ", "2 <- 1"]);
}

#[test]
fn starred_boxes_are_optional_tasks() {
    let (lines, imported) = outline(
        "- [ ] 1. Build\n  - [ ] 1.1 Model\n  - [ ]* 1.2 Tests\n- [x] 2. Ship\n  - with care\n- [ ]* 2.1 Measure\n- [ ] 3. Rest\n",
    );
    assert_eq!(lines, ["1.1 <- ", "1.2 <- 1.1", "2 <- 1.2", "2.1 <- 2", "3 <- 2.1"]);
    let optional = |at: usize| &imported.plan["tasks"][at]["metadata"]["optional"];
    assert_eq!((optional(1), optional(3)), (&json!(true), &json!(true)), "{imported:?}");
    assert!(imported.repairs.iter().any(|r| r.contains("1.2 is marked as optional")));
}

#[test]
fn nodes_and_edges_are_found_in_any_dress() {
    for text in [
        "Node:\n1: go\n2: come\nEdge: (START,1) (1,2)",
        "**Nodes:**\n- 1: go\n- 2: come\n\n**Graph:**\n- **Edge:** (START, 1)\n- **Edge:** (1, 2)\n",
        "### Nodes:\n1. go\n2. come\nGraph:\nEdges: START -> 1 -> 2 -> END",
    ] {
        let (lines, imported) = outline(text);
        assert_eq!(lines, ["1 <- ", "2 <- 1"], "{text}\n{imported:?}");
        assert_eq!(imported.warnings, [""; 0], "{text}");
    }
}
