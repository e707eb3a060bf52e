//! The structure of a condition: what bounds its evaluation, before anything is evaluated.

use cel::common::ast::{Expr, IdedExpr};

use super::entry_parts;

/// The depth to which loops over lists may nest: one is linear in the data, two are not.
const LOOPS_NESTED_MAX: usize = 1;
/// The most loops over lists in a condition: each may double what the one before it made.
const LOOPS_MAX: usize = 5;
/// The most parts of a condition: names, literals, calls, and the steps of its loops.
const PARTS_MAX: usize = 500;
/// The most `+` of a condition that is evaluated where it stands: each may copy all that stands left of it.
const ADDITIONS_SMALL_MAX: usize = 8;

/// The counts of an expression's parts that its evaluation depends on.
#[derive(Default)]
pub(super) struct ExpressionShape<'e> {
    /// The names that loops bind.
    pub(super) bound: Vec<&'e str>,
    parts: usize,
    loops: usize,
    loops_nested: usize,
    additions: usize,
    has_pattern: bool,
}

impl<'e> ExpressionShape<'e> {
    pub(super) fn of(expression: &'e IdedExpr) -> ExpressionShape<'e> {
        let mut shape = ExpressionShape::default();
        shape.loops_nested = shape.count(expression);
        shape
    }

    /// The limit that the expression breaks.
    pub(super) fn problem(&self) -> Option<String> {
        if self.loops_nested > LOOPS_NESTED_MAX {
            let problem = "`all`, `exists`, `map` and `filter` may not stand inside each other";
            return Some(problem.to_owned());
        }
        if self.loops > LOOPS_MAX {
            let (loops, most) = (self.loops, LOOPS_MAX);
            return Some(format!(
                "it has {loops} loops (`all`, `exists`, `map`, `filter`); at most {most} are allowed"
            ));
        }
        (self.parts > PARTS_MAX)
            .then(|| format!("it has {} parts; at most {PARTS_MAX} are allowed", self.parts))
    }

    /// True if an evaluation copies little and loops over nothing.
    pub(super) fn is_small(&self) -> bool {
        self.loops == 0 && self.additions <= ADDITIONS_SMALL_MAX && !self.has_pattern
    }

    /// Counts an expression, and gives the depth to which its loops nest. The parser bounds the recursion here.
    fn count(&mut self, expression: &'e IdedExpr) -> usize {
        self.parts += 1;
        match &expression.expr {
            Expr::Comprehension(each) => {
                self.loops += 1;
                self.bound.extend([each.iter_var.as_str(), each.accu_var.as_str()]);
                self.bound.extend(each.iter_var2.as_deref());
                let body = [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result];
                let inside = self.deepest(body);
                self.count(&each.iter_range).max(1 + inside)
            }
            Expr::Call(call) => {
                self.additions += usize::from(call.func_name == "_+_");
                self.has_pattern |= call.func_name == "matches";
                self.deepest(call.target.as_deref().into_iter().chain(&call.args))
            }
            Expr::List(list) => self.deepest(&list.elements),
            Expr::Select(select) => self.count(&select.operand),
            Expr::Map(map) => self.deepest(map.entries.iter().flat_map(|e| entry_parts(&e.expr))),
            Expr::Struct(fields) => {
                self.deepest(fields.entries.iter().flat_map(|e| entry_parts(&e.expr)))
            }
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        }
    }

    fn deepest(&mut self, parts: impl IntoIterator<Item = &'e IdedExpr>) -> usize {
        parts.into_iter().map(|part| self.count(part)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use crate::condition::Condition;

    #[test]
    fn structure_is_limited_and_small_conditions_are_told_apart() {
        let doubling = |n: usize| format!("size([1]{}) == 2", ".map(x, [x, x])".repeat(n));
        let cases = [
            ("outputs.count > 3 && inputs.a == 'b'".to_owned(), Ok(true)),
            ("outputs.a + outputs.b > 3".to_owned(), Ok(true)),
            (format!("1{} > 0", " + 1".repeat(9)), Ok(false)),
            ("outputs.name.matches('^a+$')".to_owned(), Ok(false)),
            ("outputs.list.all(x, x > 1)".to_owned(), Ok(false)),
            (doubling(5), Ok(false)),
            (doubling(6), Err("6 loops")),
            (format!("1{} > 0", "+1".repeat(400)), Err("parts")),
        ];
        for (text, expected) in cases {
            let compiled = Condition::compile(&text);
            match expected {
                Ok(small) => assert_eq!(compiled.unwrap().is_small(), small, "{text}"),
                Err(told) => {
                    let error = compiled.unwrap_err().to_string();
                    assert!(error.contains(told), "{text}: {error}");
                }
            }
        }
    }
}
