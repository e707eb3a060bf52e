//! The four-task analysis, its totals recounted here.

use std::collections::BTreeMap;

use crate::sandbox::Sandbox;

#[test]
fn totals_agree_with_a_recount() {
    let sandbox = Sandbox::new();
    let mut csv = "date;Region;category;amount;units\n".to_owned();
    let (mut by_region, mut by_category) =
        (BTreeMap::<&str, (i64, i64)>::new(), BTreeMap::<&str, (i64, i64)>::new());
    let (regions, categories) = (["North", "South", "\"East; far\""], ["A", "B"]);
    for i in 0..997usize {
        let (region, category) = (regions[i * 7 % 3], categories[i * i % 2]);
        let (cents, units) = ((i * 31 % 10_000) as i64, (i % 9) as i64);
        csv.push_str(&format!(
            "2026-01-{:02};{region};{category};{}.{:02};{units}\n",
            i % 28 + 1,
            cents / 100,
            cents % 100
        ));
        for (sums, key) in [(&mut by_region, region), (&mut by_category, category)] {
            let sum = sums.entry(key.trim_matches('"')).or_default();
            *sum = (sum.0 + cents, sum.1 + units);
        }
    }
    sandbox.write("sales.csv", &csv);
    let (code, result) =
        sandbox.json(&["run", "Analyze sales by region and category", "--input", "file=sales.csv"]);
    assert_eq!((code, result["tasks"].as_array().unwrap().len()), (0, 4));
    for (task, column, expected) in [(1, "Region", by_region), (2, "category", by_category)] {
        let rows = result["tasks"][task]["outputs"]["rows"].as_array().unwrap().clone();
        let got: BTreeMap<String, (i64, i64)> = rows
            .iter()
            .map(|row| {
                let cents = (row["total_amount"].as_f64().unwrap() * 100.0).round() as i64;
                (
                    row[column].as_str().unwrap().to_owned(),
                    (cents, row["total_units"].as_i64().unwrap()),
                )
            })
            .collect();
        let expected: BTreeMap<String, (i64, i64)> =
            expected.into_iter().map(|(key, sums)| (key.to_owned(), sums)).collect();
        assert_eq!(got, expected);
    }
    // Both breakdowns were dispatched by the same event that completed the fetch: in parallel.
    let id = result["plan_id"].as_str().unwrap();
    let (_, events) = sandbox.json(&["events", id]);
    let order: Vec<&str> =
        events["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    let fetched = order.iter().position(|kind| *kind == "task.completed").unwrap();
    assert_eq!(
        order[fetched + 1..fetched + 5],
        ["task.assigned", "task.started", "task.assigned", "task.started"]
    );
    let report = sandbox.read(result["files"][0].as_str().unwrap());
    assert!(report.contains("| East; far |"), "{report}");
}

#[test]
fn a_missing_column_names_those_there_are() {
    let sandbox = Sandbox::new();
    sandbox.write("sales.csv", "region,amount\nN,1\n");
    let (code, result) =
        sandbox.json(&["run", "Analyze sales by region and colour", "--input", "file=sales.csv"]);
    assert_eq!((code, &result["status"]), (1, &"FAILED".into()));
    assert_eq!(result["error"]["code"], "E5602");
    let message = result["error"]["message"].as_str().unwrap();
    assert!(message.contains("no column `colour`; its columns are: region, amount"), "{message}");
    assert_eq!(result["blocked"].as_array().unwrap().len(), 3);
    let (code, result) =
        sandbox.json(&["run", "Analyze sales by region and amount", "--input", "file=none.csv"]);
    assert_eq!(code, 1);
    assert!(result["error"]["message"].as_str().unwrap().contains("none.csv"));
}
