//! What callers read of each journal event: the form of every public event, kept as snapshots.

use super::*;
use crate::history::RunHistory;
use crate::public_event::{PublicEventKind, planned, project, schema};

/// A plan with a conditional dependency, a fan-out whose list is known, and a gate.
fn expanded() -> Bench {
    let tasks = json!([
        {"id": "a", "tool": "noop", "action": "begin"},
        {"id": "b", "tool": "noop",
            "depends_on": [{"task": "a", "type": "conditional", "condition": "true"}]},
        {"id": "map", "tool": "noop", "for_each": {"in": "$[inputs].items", "max_items": 2}},
        {"id": "gated", "tool": "noop", "gate": true},
    ]);
    let document = json!({"goal": "x", "agent_did": "did:key:asks", "inputs": {"items": [1, 2]}, "tasks": tasks});
    Bench::new(&document).run_to_end()
}

/// Every event that a journal can hold, with each of its branches that callers see apart.
fn every_event() -> Vec<Value> {
    let error = json!({"code": "E5710", "message": "no luck"});
    let placed = json!({"agent": "did:key:one", "score": 0.75, "others": [["did:key:two", 0.5]]});
    let notice = |notice: Value| json!({"noticed": {"notice": notice}});
    let cancel = |scope: Value, cause: &str| {
        json!({"cancel_requested": {
            "scope": scope, "cause": cause, "reason": "enough", "grace_until": 9_000}})
    };
    let output = |output: Value| {
        json!({"task_completed": {"task": 0, "attempt": 1, "output": output,
            "usage": {"tokens": 7, "cost_usd": 0.5}}})
    };
    let failed = |next: Value| json!({"attempt_failed": {"task": 0, "attempt": 1, "error": error, "next": next}});
    let finished = |status: &str, partial: bool| json!({"run_finished": {"status": status, "partial": partial}});
    let mut events = vec![
        json!({"run_started": {"run": 2, "keep": [0], "kept_maps": [2], "deadline": 9_000}}),
        json!({"run_started": {"run": 3, "keep": [], "account": {"spent": {"tokens": 9, "nanousd": 0}}}}),
        json!({"budget_breached": {"task": 0, "attempt": 1, "allowed": {"tokens": 10, "nanousd": 5},
            "used": {"tokens": 30, "nanousd": 5}, "stops": true}}),
        json!({"task_completed": {"task": 1, "attempt": 1, "output": {"inline": 1},
            "usage": {"tokens": 7, "cost_usd": 0.0, "is_counted": true}}}),
        json!({"run_adopted": {"epoch": 3}}),
        json!({"run_adopted": {"epoch": 4, "after_death": true}}),
        json!({"run_suspended": {"deaths": 3, "tasks": [0]}}),
        json!({"run_resumed": {"by": "eve"}}),
        json!({"edge_decided": {"edge": 0, "verdict": "satisfied"}}),
        json!({"edge_decided": {"edge": 0, "verdict": "unsatisfied"}}),
        json!({"map_expanded": {"task": 2, "first": 4, "count": 2, "items": {"inline": [1, 2]}}}),
        json!({"map_completed": {"task": 2}}),
        json!({"task_dispatched": {"task": 0, "attempt": 1, "not_after": 301_000}}),
        json!({"task_dispatched": {"task": 4, "attempt": 1, "not_after": 301_000,
            "reserved": {"tokens": 9, "nanousd": 1}, "placed": placed}}),
        json!({"attempt_returned": {"task": 0, "attempt": 1}}),
        json!({"task_deferred": {"task": 0, "error": error, "at": 2_000}}),
        json!({"task_redispatched": {"task": 0, "attempt": 1, "not_after": 301_000}}),
        json!({"task_redispatched": {"task": 0, "attempt": 1, "not_after": 301_000,
            "placed": placed}}),
        output(json!({"inline": {"n": 1}})),
        output(json!({"blob": {"sha256": "ab", "bytes": 70_000}})),
        output(json!({"list": [{"inline": 1}, null]})),
        failed(json!({"retry": {"at": 2_000}})),
        failed(json!({"final": {"status": "TIMED_OUT"}})),
        failed(json!({"final": {"status": "FAILED"}})),
        json!({"task_failed": {"task": 0, "error": error}}),
        json!({"tasks_blocked": {"cause": 0, "tasks": [1, 3]}}),
        json!({"tasks_skipped": {"cause": 0, "tasks": [1]}}),
        json!({"tasks_cancelled": {"tasks": [1, 3], "abandoned": true}}),
        json!({"report_ignored": {"task": 0, "attempt": 1, "why": "late"}}),
        json!({"report_ignored": {"task": 0, "attempt": 1, "why": "conflict"}}),
        notice(json!({"straggler": {"task": 0, "attempt": 1, "elapsed_millis": 2_500,
            "expected_millis": 1_000}})),
        notice(json!({"deadline_at_risk": {"forecast": 9_000, "deadline": 8_000}})),
        notice(json!({"stuck": {"idle_millis": 30_000, "waiting": [0], "lacks_agents": true}})),
        notice(json!({"stuck": {"idle_millis": 30_000, "waiting": [0], "lacks_agents": false}})),
        finished("COMPLETED", false),
        finished("FAILED", false),
        finished("FAILED", true),
        finished("CANCELLED", false),
    ];
    for (kind, used, limit) in
        [("tokens", 80, 100), ("cost_usd", 800_000_000, 1_000_000_000), ("seconds", 800, 1_000)]
    {
        events.push(json!({"budget_warned": {"kind": kind, "used": used, "limit": limit}}));
    }
    for cause in ["request", "fail_fast", "deadline", "budget"] {
        events.push(cancel(json!("plan"), cause));
    }
    events.push(cancel(json!({"task": 1}), "request"));
    for gate in [json!("plan"), json!({"task": 3}), json!("budget"), json!({"recovery": 0})] {
        events.push(json!({"gate_opened": {"gate": gate, "expires_at": 5_000}}));
        events.push(json!({"gate_opened": {"gate": gate}}));
        for approved in [true, false] {
            events.push(json!({"gate_decided": {
                "gate": gate, "approved": approved, "by": "eve", "reason": "because"}}));
        }
    }
    events
}

#[test]
fn every_public_event_keeps_its_form() {
    let bench = expanded();
    let mut history = RunHistory::new(bench.run.plan().clone());
    bench.journal.iter().for_each(|record| history.add(record).unwrap());
    let schema = jsonschema::validator_for(&schema()).unwrap();
    let mut told = vec![serde_json::to_value(planned(bench.run.plan())).unwrap()];
    for journaled in every_event() {
        let event: RunEvent =
            serde_json::from_value(journaled.clone()).expect("the journal's form");
        assert_eq!(serde_json::to_value(&event).unwrap(), journaled, "the journal's form is kept");
        let record = Record {
            plan: bench.run.plan().id(),
            first: Sequence(11),
            epoch: Epoch(1),
            at: Timestamp(1_500),
            actor: "test".into(),
            events: vec![event],
            blobs: Vec::new(),
        };
        told.push(serde_json::to_value(project(&history, &record)).unwrap());
    }
    let mut kinds = BTreeSet::new();
    for event in told.iter().flat_map(|events| events.as_array().unwrap()) {
        let problems: Vec<String> = schema.iter_errors(event).map(|e| e.to_string()).collect();
        assert_eq!(problems, Vec::<String>::new(), "{event}");
        kinds.insert(event["type"].as_str().unwrap().to_owned());
    }
    let missing: Vec<_> = PublicEventKind::NAMES.iter().filter(|n| !kinds.contains(**n)).collect();
    assert!(missing.is_empty(), "no event shows {missing:?}");
    insta::assert_json_snapshot!(told);
}
