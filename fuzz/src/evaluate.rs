//! Templates, conditions, JSONPaths, SQL and patterns, executed: whatever the text is, it ends. The first byte chooses
//! the kind.
//!
//! What is provably small is executed here, where a crash, a hang or much memory is a finding. Everything else goes to
//! an evaluator process (this program again), of which a finding is that it panics, or that no answer comes in time.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use l05_connect::BuiltinTools;
use l05_connect::evaluation_work::{self, PooledEvaluator};
use l05_connect::evaluator::{CHILD_ARGUMENT, EvaluatorPool};
use l05_core::ErrorCode;
use l05_core::condition::Condition;
use l05_core::evaluation::{Evaluation, EvaluationFailure};
use l05_core::id::{Attempt, Epoch, PlanId};
use l05_core::json_path::{is_small, parse_json_path};
use l05_core::task::TaskStatus;
use l05_core::time::Timestamp;
use l05_engine::port::{CancelSignal, Evaluator as _, Executor as _, Launch, ToolCall, WorkspaceFolder};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// The time of one evaluation in a process.
const WITHIN: Duration = Duration::from_millis(500);
/// The time beyond it in which its end has to be told, on a busy machine.
const GRACE: Duration = Duration::from_secs(3);

struct Bench {
    runtime: tokio::runtime::Runtime,
    pool: Arc<EvaluatorPool>,
    tools: BuiltinTools,
    folder: Arc<WorkspaceFolder>,
    /// A table of the run.
    table: Value,
}

impl Bench {
    fn new() -> Bench {
        let folder = std::env::temp_dir().join(format!("l05-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        std::fs::write(folder.join("t.csv"), "a,b\n1,2.50\nx,\n1,4\n").expect("a file can be written");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let pool = Arc::new(EvaluatorPool::new("/proc/self/exe"));
        let tools = BuiltinTools::new(folder.join("runs"), &[]).with_evaluators(Some(pool.clone()));
        let folder = Arc::new(WorkspaceFolder::new(folder));
        let mut bench = Bench { runtime, pool, tools, folder, table: Value::Null };
        bench.table = bench.tool("data.read", json!({ "path": "t.csv" })).expect("it is a table")["table"].clone();
        bench
    }

    /// Calls a tool as a run would, and sees that it ends.
    fn tool(&self, tool: &str, inputs: Value) -> Option<Value> {
        let call = ToolCall {
            tool: tool.into(),
            inputs,
            instructions: None,
            output_schema: None,
            plan: PlanId(uuid::Uuid::nil()),
            task_id: "t".into(),
            attempt: Attempt(1),
            launch: Launch { epoch: Epoch(1), number: 1 },
            not_after: Timestamp(i64::MAX),
            model: None,
            allowance: l05_core::plan::AttemptAllowance::UNLIMITED,
            answer: None,
            workspace: Some(self.folder.clone()),
            cancel: CancelSignal::never(),
        };
        let begun = Instant::now();
        let done = self.runtime.block_on(async { tokio::time::timeout(WITHIN, self.tools.execute(call)).await });
        assert!(begun.elapsed() < WITHIN + GRACE, "{tool} ended after {:?}", begun.elapsed());
        match done {
            Ok(Ok(output)) => Some(output.output),
            Ok(Err(failure)) => {
                assert_ne!(failure.error.code, ErrorCode::AgentCrashed, "{}", failure.error.message);
                None
            }
            Err(_) => None,
        }
    }

    /// Asks an evaluator process, and sees that it ends.
    fn evaluate(&self, evaluation: Evaluation) {
        let begun = Instant::now();
        let asked = PooledEvaluator(self.pool.clone()).evaluate(evaluation, WITHIN);
        let answer = self.runtime.block_on(asked);
        assert!(begun.elapsed() < WITHIN + GRACE, "told after {:?}", begun.elapsed());
        assert_ne!(answer, Err(EvaluationFailure::Panicked));
    }

    fn condition(&self, text: String) {
        let Ok(condition) = Condition::compile(&text) else { return };
        let (outputs, inputs, status) = (data(), json!({}), TaskStatus::Completed);
        if condition.is_small() {
            let _ = condition.evaluate(&outputs, &inputs, status);
        } else {
            self.evaluate(Evaluation::Condition { condition: text, outputs, inputs, status });
        }
    }

    fn path(&self, text: String) {
        let Ok(path) = parse_json_path(&text) else { return };
        if is_small(&text) {
            let _ = path.query(&data()).len();
        } else {
            self.evaluate(Evaluation::Query { path: text, value: data() });
        }
    }
}

fn data() -> Value {
    json!({
        "count": 3, "name": "a,b", "list": [1, 2.5, "x", null, {"a": [true]}],
        "deep": {"a": {"b": [[1], [2, 3]]}}, "text": "one\ntwo", "none": null,
    })
}

thread_local! {
    static BENCH: Bench = Bench::new();
}

fuzz_target!(
    init: {
        if std::env::args().nth(1).is_some_and(|first| first == CHILD_ARGUMENT) {
            evaluation_work::serve();
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| {
        let Some((kind, text)) = bytes.split_first() else { return };
        let text = String::from_utf8_lossy(text).into_owned();
        BENCH.with(|bench| match kind.wrapping_sub(b'0') % 5 {
            0 => drop(bench.tool("text.render", json!({ "template": text, "data": data(), "format": "markdown" }))),
            1 => bench.condition(text),
            2 => bench.path(text),
            3 => drop(bench.tool("data.query", json!({ "table": bench.table, "sql": text, "max_rows": 10 }))),
            _ => drop(bench.tool("fs.search", json!({ "pattern": text }))),
        });
    }
);
