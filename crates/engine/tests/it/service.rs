//! The service as a library, over scripted tools.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use l05_core::ErrorCode;
use l05_core::id::Epoch;
use l05_core::plan::{PlanDocument, PlanStatus};
use l05_core::validate::PlanLimits;
use l05_engine::PlanningService;
use l05_engine::memory::MemoryStore;
use l05_engine::report::PlanResult;
use l05_engine::rules::ServiceRules;
use serde_json::{Value, json};

use crate::faulty::FaultyStore;
use crate::workload::{Script, ScriptedTools, plan, task};

fn service() -> (PlanningService, Arc<Script>) {
    let script = Arc::new(Script::default());
    let builder = PlanningService::builder().executor(Arc::new(ScriptedTools(script.clone())));
    (builder.build().unwrap(), script)
}

async fn run(service: &PlanningService, document: PlanDocument) -> PlanResult {
    let planned = service.accept(document, false).await.unwrap();
    service.run(planned.plan.id()).await.unwrap()
}

#[tokio::test]
async fn a_task_that_fails_once_is_called_twice_and_completes() {
    let (service, script) = service();
    let result = run(&service, plan(&[task("a", "fail_once", &[]), task("b", "ok", &["a"])])).await;
    assert_eq!(
        (result.status, script.calls("a"), script.calls("b")),
        (PlanStatus::Completed, 2, 1)
    );
}

#[tokio::test]
async fn a_crashing_executor_fails_its_task_only() {
    let (service, _) = service();
    let result = run(&service, plan(&[task("a", "panic", &[]), task("b", "ok", &[])])).await;
    assert_eq!((result.status, result.partial), (PlanStatus::Failed, true));
    let error = result.tasks[0].error.as_ref().unwrap();
    assert_eq!((error.code, result.tasks[0].attempts.len()), (ErrorCode::AgentCrashed, 3));
}

/// INT-012: a 50-task graph, every dependency respected.
#[tokio::test]
async fn int_012_fifty_tasks_in_order() {
    let (service, script) = service();
    let ids: Vec<String> = (0..50).map(|i| format!("t{i}")).collect();
    let tasks: Vec<Value> = (0..50)
        .map(|i| {
            let needs: Vec<&str> =
                (0..i).filter(|j| (i * 7 + j * 3) % 11 == 0).map(|j| ids[j].as_str()).collect();
            task(&ids[i], "yield", &needs)
        })
        .collect();
    let planned = service.accept(plan(&tasks), false).await.unwrap();
    let id = planned.plan.id();
    let result = service.run(id).await.unwrap();
    assert_eq!((result.status, result.completed.len()), (PlanStatus::Completed, 50));
    assert!(ids.iter().all(|id| script.calls(id) == 1));
    let events = service.events(id).await.unwrap();
    let at = |kind: &str, task: &str| {
        events
            .iter()
            .position(|e| e.kind.name() == kind && e.task_id.as_deref() == Some(task))
            .unwrap()
    };
    for edge in planned.plan.graph().edges() {
        let (from, to) = (&ids[edge.from.at()], &ids[edge.to.at()]);
        assert!(at("task.completed", from) < at("task.started", to), "{from} before {to}");
    }
}

/// INT-015: ten at once, nothing of one in another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn int_015_ten_plans_at_once() {
    let (service, _) = service();
    let runs: Vec<_> = (0..10)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move {
                let document = json!({ "goal": format!("goal {n}"), "inputs": { "n": n }, "tasks": [
                    { "id": "a", "tool": "ok", "inputs": { "n": "$[inputs].n" } },
                    { "id": "b", "tool": "ok", "inputs": { "n": "$[a].output.inputs.n" } },
                ]});
                (n, run(&service, PlanDocument::read(&document).unwrap()).await)
            })
        })
        .collect();
    for one in runs {
        let (n, result) = one.await.unwrap();
        assert_eq!(result.outputs["b"]["inputs"]["n"], json!(n));
    }
}

#[tokio::test]
async fn parallelism_is_kept() {
    let (service, script) = service();
    let tasks: Vec<Value> = (0..40).map(|i| task(&format!("t{i}"), "yield", &[])).collect();
    let mut document = plan(&tasks);
    document.constraints.max_parallelism = 4;
    let result = run(&service, document).await;
    assert_eq!(result.completed.len(), 40);
    assert_eq!(script.most_at_once(), 4);
}

#[tokio::test]
async fn cancel_leaves_nothing_running() {
    let (service, script) = service();
    let planned = service.accept(plan(&[task("a", "hang", &[])]), false).await.unwrap();
    let id = planned.plan.id();
    service.execute(id).await.unwrap();
    while script.calls("a") == 0 {
        tokio::task::yield_now().await;
    }
    let twice = service.execute(id).await.unwrap_err();
    assert_eq!(twice.code, ErrorCode::PlanNotExecutable, "{twice}");
    service.cancel(id, "enough").await.unwrap();
    tokio::time::timeout(Duration::from_secs(15), service.wait(id)).await.unwrap().unwrap();
    assert_eq!(service.status(id).await.unwrap().status, PlanStatus::Cancelled);
}

/// Whoever comes second is told so and takes nothing from the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_of_one_plan_run_it_once() {
    for _ in 0..20 {
        let (service, script) = service();
        let document = plan(&[task("a", "yield", &[]), task("b", "yield", &["a"])]);
        let id = service.accept(document, false).await.unwrap().plan.id();
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let service = service.clone();
                tokio::spawn(async move { service.execute(id).await })
            })
            .collect();
        let mut begun = 0;
        for caller in callers {
            begun += usize::from(caller.await.unwrap().is_ok());
        }
        assert_eq!(begun, 1);
        let status = tokio::time::timeout(Duration::from_secs(10), service.wait(id)).await.unwrap();
        assert_eq!(status.unwrap(), PlanStatus::Completed);
        assert_eq!((script.calls("a"), script.calls("b")), (1, 1));
    }
}

#[tokio::test]
async fn an_output_too_deep_to_be_read_again_is_refused() {
    let (service, _) = service();
    let result = run(&service, plan(&[task("a", "deep", &[])])).await;
    assert_eq!(result.tasks[0].error.as_ref().unwrap().code, ErrorCode::ContextTooLarge);
}

#[tokio::test]
async fn a_plan_of_another_key_or_a_draft_is_not_executed() {
    let store = Arc::new(MemoryStore::new());
    let build = || {
        let tools = Arc::new(ScriptedTools(Arc::new(Script::default())));
        PlanningService::builder().store(store.clone()).executor(tools).build().unwrap()
    };
    let planned = build().accept(plan(&[task("a", "ok", &[])]), false).await.unwrap();
    let other = build();
    let error = other.execute(planned.plan.id()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::SigningKeyUnavailable);
    let draft = plan(&[task("a", "nowhere", &[])]);
    let error = other.accept(draft, false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ToolUnknown);
}

/// INT-004: the store refuses writes; a passing fault goes unnoticed, a lasting one is E5801.
#[tokio::test(start_paused = true)]
async fn int_004_the_store_refuses_writes() {
    for durable in [false, true] {
        let store = Arc::new(FaultyStore { durable, ..FaultyStore::default() });
        let script = Arc::new(Script::default());
        let tools = Arc::new(ScriptedTools(script.clone()));
        let service =
            PlanningService::builder().store(store.clone()).executor(tools).build().unwrap();
        let document = || plan(&[task("a", "ok", &[]), task("b", "ok", &["a"])]);
        store.failures.store(3, Ordering::SeqCst);
        let result = run(&service, document()).await;
        assert_eq!(result.status, PlanStatus::Completed, "durable: {durable}");
        assert_eq!((script.calls("a"), script.calls("b")), (1, 1), "durable: {durable}");

        let planned = service.accept(document(), false).await.unwrap();
        let id = planned.plan.id();
        store.failures.store(1_000, Ordering::SeqCst);
        let begun = service.execute(id).await;
        let error = match begun {
            Ok(()) => service.wait(id).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(
            [ErrorCode::StorageFailed, ErrorCode::VersionConflict].contains(&error.code),
            "{error}"
        );
        // With room again it goes on, or starts, and nothing is half done.
        store.failures.store(0, Ordering::SeqCst);
        service.run(id).await.unwrap();
        assert_eq!(service.status(id).await.unwrap().status, PlanStatus::Completed);
    }
}

/// A condition, a fan-out's list and inputs: each crash fails its task, and the run comes to its end.
#[tokio::test]
async fn what_crashes_in_evaluating_fails_its_task_only() {
    let store = Arc::new(FaultyStore { crashes: true, ..FaultyStore::default() });
    let tools = Arc::new(ScriptedTools(Arc::default()));
    let service = PlanningService::builder().store(store).executor(tools).build().unwrap();
    let document = plan(&[
        task("large", "large", &[]),
        json!({ "id": "condition", "tool": "ok", "depends_on": [{ "task": "large", "condition": "size(outputs.text) > 1" }] }),
        json!({ "id": "list", "tool": "ok", "for_each": { "in": "$[large].output.list" }, "inputs": { "n": "$[item]" } }),
        json!({ "id": "values", "tool": "ok", "inputs": { "text": "$[large].output.text" }, "retry": { "max_retries": 0 } }),
        task("other", "ok", &["large"]),
    ]);
    let id = service.accept(document, false).await.unwrap().plan.id();
    service.execute(id).await.unwrap();
    assert_eq!(service.wait(id).await.unwrap(), PlanStatus::Failed);
    let status = service.status(id).await.unwrap();
    let ends: Vec<(String, String)> = status
        .tasks
        .iter()
        .map(|task| {
            let error = task.error.as_ref();
            (task.task_id.clone(), error.map_or("-".to_owned(), |e| e.code.to_string()))
        })
        .collect();
    let expected = [
        ("large", "-"),
        ("condition", "E5310"),
        ("list", "E5310"),
        ("values", "E5740"),
        ("other", "-"),
    ];
    assert_eq!(ends, expected.map(|(id, code)| (id.to_owned(), code.to_owned())));
}

/// What can be known only when the values are there: each misfit fails its task with a code and says
/// where.
#[tokio::test]
async fn values_that_do_not_fit_are_told_at_run_time() {
    let store = Arc::new(FaultyStore { garbled: true, ..FaultyStore::default() });
    let tools = Arc::new(ScriptedTools(Arc::default()));
    let service = PlanningService::builder().store(store).executor(tools).build().unwrap();
    let number = json!({ "type": "object", "properties": { "v": { "type": "integer" } } });
    let with_v = |id: &str, v: &str, more: Value| {
        let mut task =
            json!({ "id": id, "tool": "ok", "inputs": { "v": v }, "retry": { "max_retries": 0 } });
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        task
    };
    let over = |list: &str| json!({ "for_each": { "in": list, "max_items": 3 } });
    let tasks = [
        task("a", "ok", &[]),
        json!({ "id": "large", "tool": "large" }),
        with_v("kind", "$[a].output.task", json!({ "input_schema": number })),
        with_v("absent", "$[a].output.nothing", json!({})),
        with_v("no-list", "$[item]", over("$[a].output.task")),
        with_v("damaged", "$[large].output.text", json!({})),
        with_v("items", "${[index]}: $[item]", over("$[a].output.inputs.none")),
    ];
    let id = service.accept(plan(&tasks), false).await.unwrap().plan.id();
    service.execute(id).await.unwrap();
    assert_eq!(service.wait(id).await.unwrap(), PlanStatus::Failed);
    let status = service.status(id).await.unwrap();
    let said: Vec<String> = status
        .tasks
        .iter()
        .filter_map(|task| task.error.as_ref().map(|e| format!("{} {}", e.code, e.message)))
        .collect();
    let expected = [
        "E5602 the task's input_schema refuses the input at `/v`: \"a\" is not of type \"integer\"",
        "E5404 `$[a].output.nothing` finds nothing at `.nothing`; there is task, inputs",
        "E5602 `$[a].output.task` is not a list",
        "E5401 an input cannot be read: output",
        "E5404 `$[a].output.inputs.none` finds nothing at `.none`",
    ];
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}");
    }
}

#[tokio::test]
async fn a_store_that_contradicts_itself_pauses_the_plan() {
    let store = Arc::new(FaultyStore { contradicts: true, ..FaultyStore::default() });
    let tools = Arc::new(ScriptedTools(Arc::default()));
    let service = PlanningService::builder().store(store).executor(tools).build().unwrap();
    let id = service.accept(plan(&[task("a", "ok", &[])]), false).await.unwrap().plan.id();
    let begun = tokio::time::timeout(Duration::from_secs(10), service.execute(id)).await;
    let error = begun.expect("an answer comes").unwrap_err();
    assert_eq!(error.code, ErrorCode::JournalCorrupt, "{error}");
}

/// An answer that breaks its schema has been paid for all the same, each time.
#[tokio::test]
async fn what_a_failed_attempt_used_counts() {
    let (service, script) = service();
    let mut wrong = task("wrong", "costly", &[]);
    wrong["output_schema"] = json!({ "type": "object", "required": ["right"] });
    let result = run(&service, plan(&[wrong])).await;
    assert_eq!(result.status, PlanStatus::Failed);
    let calls = script.calls("wrong") as u64;
    assert!(calls >= 1);
    assert_eq!(result.usage.tokens, 100 * calls, "{result:?}");
    assert!((result.usage.cost_usd - 0.5 * calls as f64).abs() < 1e-9, "{result:?}");
}

/// A caller that gives up takes nothing along that is half done.
#[tokio::test]
async fn a_caller_that_gives_up_leaves_no_run_that_nobody_drives() {
    for polls in 1..12 {
        let store = Arc::new(FaultyStore { slow: true, ..FaultyStore::default() });
        let tools = Arc::new(ScriptedTools(Arc::default()));
        let service = PlanningService::builder().store(store).executor(tools).build().unwrap();
        let id = service.accept(plan(&[task("a", "ok", &[])]), false).await.unwrap().plan.id();
        let mut execute = Box::pin(service.execute(id));
        for _ in 0..polls {
            let _ = futures_util::poll!(&mut execute);
            tokio::task::yield_now().await;
        }
        drop(execute);
        let limit = Instant::now() + Duration::from_secs(10);
        while service.status(id).await.unwrap().status != PlanStatus::Completed {
            assert!(Instant::now() < limit, "given up after {polls} polls");
            tokio::task::yield_now().await;
        }
    }
}

/// What a large run has to say is decided over many turns; a small one's next step waits for one or
/// two of them.
#[tokio::test]
async fn a_flood_of_reports_holds_nobody_up() {
    let store = Arc::new(FaultyStore { slow: true, ..FaultyStore::default() });
    let tools = Arc::new(ScriptedTools(Arc::default()));
    let limits = PlanLimits { tasks_max: 1_000, complexity_max: 1e9, ..PlanLimits::default() };
    let builder = PlanningService::builder().store(store.clone()).executor(tools);
    let builder = builder.rules(ServiceRules { limits, ..ServiceRules::default() });
    let service = builder.build().unwrap();
    let names: Vec<String> = (0..400).map(|n| format!("t{n}")).collect();
    let wide: Vec<Value> = names.iter().map(|name| task(name, "yield", &[])).collect();
    let large =
        json!({ "goal": "large", "tasks": wide, "constraints": { "max_parallelism": 400 } });
    let large = PlanDocument::read(&large).unwrap();
    let chain = [("a", vec![]), ("b", vec!["a"]), ("c", vec!["b"]), ("d", vec!["c"])];
    let small = plan(&chain.map(|(id, needs)| task(id, "yield", &needs)));
    let large = service.accept(large, false).await.unwrap().plan.id();
    let small = service.accept(small, false).await.unwrap().plan.id();
    service.execute(large).await.unwrap();
    service.execute(small).await.unwrap();
    service.wait(small).await.unwrap();
    service.wait(large).await.unwrap();
    let batches = store.batches.lock().unwrap();
    let has = |plan| batches.iter().enumerate().filter(move |(_, b)| b.contains(&plan));
    let own: Vec<usize> = has(small).map(|(at, _)| at).collect();
    assert!(has(large).count() > 8, "the large one's reports take turns: {batches:?}");
    assert!(own.windows(2).all(|pair| pair[1] - pair[0] <= 2), "{own:?}");
}

#[tokio::test]
async fn recovery_goes_on_with_what_has_no_owner() {
    let store = Arc::new(MemoryStore::new());
    let script = Arc::new(Script::default());
    let key = || l05_engine::keys::MasterKey::new([7; 32]);
    let build = || {
        let tools = Arc::new(ScriptedTools(script.clone()));
        PlanningService::builder()
            .store(store.clone())
            .master_key(key())
            .executor(tools)
            .build()
            .unwrap()
    };
    let first = build();
    let planned = first
        .accept(plan(&[task("a", "ok", &[]), task("b", "hang", &["a"])]), false)
        .await
        .unwrap();
    let id = planned.plan.id();
    first.execute(id).await.unwrap();
    while script.calls("b") == 0 {
        tokio::task::yield_now().await;
    }
    let second = build();
    let adopt = async || second.adopt(10, &HashSet::new()).await.unwrap().plans;
    assert_eq!(adopt().await, [], "it has a living owner");
    // The first process dies: its ownership goes with it, as an OS lock would.
    l05_engine::port::Journal::release(&*store, id, first.worker(), Epoch(1)).await.unwrap();
    assert!(second.status(id).await.unwrap().interrupted);
    assert_eq!(adopt().await, [id]);
    while script.calls("b") < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(script.calls("a"), 1, "what completed does not run again");
    let status = second.status(id).await.unwrap();
    assert_eq!((status.adoptions, status.tasks[1].attempts.len()), (1, 1), "the same attempt");
}

#[tokio::test]
async fn shutdown_with_nothing_running_is_quick() {
    let (service, _) = service();
    let start = Instant::now();
    service.shutdown().await;
    // A limit of the specification, not a measurement.
    assert!(start.elapsed() < Duration::from_secs(2));
    let planned = service.accept(plan(&[task("a", "ok", &[])]), false).await.unwrap();
    assert!(service.execute(planned.plan.id()).await.is_err());
}

#[tokio::test]
async fn watchers_see_every_event_once_and_in_order() {
    let (service, _) = service();
    let planned = service
        .accept(
            plan(&[task("a", "ok", &[]), task("b", "fail", &["a"]), task("c", "ok", &["b"])]),
            false,
        )
        .await
        .unwrap();
    let id = planned.plan.id();
    service.execute(id).await.unwrap();
    let mut watcher = service.watch(id).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = watcher.next().await.unwrap() {
        seen.push(event);
    }
    assert_eq!(seen, service.events(id).await.unwrap());
    let kinds: Vec<&str> = seen.iter().map(|event| event.kind.name()).collect();
    assert_eq!(
        kinds,
        [
            "plan.created",
            "plan.validated",
            "plan.dispatched",
            "task.assigned",
            "task.started",
            "task.completed",
            "task.assigned",
            "task.started",
            "task.failed",
            "cascade.failed",
            "task.blocked",
            "plan.failed",
        ]
    );
}

/// Spec 04, 4.5: changing any byte of what is covered is refused.
#[tokio::test]
async fn every_byte_of_a_signed_plan_counts() {
    let (service, _) = service();
    let mut first = task("a", "ok", &[]);
    first["inputs"] = json!({ "path": "x", "n": 1.5, "list": [true, null] });
    let planned = service.accept(plan(&[first, task("b", "ok", &["a"])]), false).await.unwrap();
    let text = serde_json::to_vec(planned.plan.document()).unwrap();
    let covered = |document: &PlanDocument| {
        let mut value = serde_json::to_value(document).unwrap();
        for field in ["status", "validated_at", "signature"] {
            value.as_object_mut().unwrap().shift_remove(field);
        }
        value
    };
    let original = covered(planned.plan.document());
    let (mut refused, mut harmless) = (0, 0);
    for at in 0..text.len() {
        for flip in [1u8, 0x20] {
            let mut changed = text.clone();
            changed[at] ^= flip;
            let Ok(value) = serde_json::from_slice::<Value>(&changed) else { continue };
            let Ok(document) = PlanDocument::read(&value) else { continue };
            if document.signature.is_none() {
                continue;
            }
            match service.accept(document, false).await {
                Err(_) => refused += 1,
                Ok(accepted) => {
                    // A time or a status, which the signature does not cover.
                    assert_eq!(covered(accepted.plan.document()), original, "byte {at}");
                    harmless += 1;
                }
            }
        }
    }
    // Words of other case mean the same and read the same; the rest of the harmless are times.
    assert!(refused > 200 && harmless < refused, "{refused} refused, {harmless} without meaning");
}
