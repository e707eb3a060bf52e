//! SQL's sums without rounding, and the order of numbers that are kept as texts.
//!
//! SQLite takes a text for the number it begins with (`1.234,50` is 1.234) and adds doubles. Here a text that is no
//! number ends the question, and decimals are added exactly.

use std::ops::{AddAssign, SubAssign};

use bigdecimal::{BigDecimal, ToPrimitive as _};
use rusqlite::functions::{Aggregate, Context, FunctionFlags, WindowAggregate};
use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, Error, Result};

use super::number::{NumberText, compare, shortest};

/// The collation of columns whose numbers are kept as texts.
pub(super) const DECIMAL_COLLATION: &str = "decimal";

/// Makes the collation known; tables cannot be read without.
pub(super) fn add_collation(connection: &Connection) -> Result<()> {
    connection.create_collation(DECIMAL_COLLATION, compare)
}

/// Replaces `sum`, `total` and `avg`, and adds `decimal_sum` (a text of any length, as in SQLite's decimal
/// extension) and `exact_or_text` (a number where that is exact, else such a text).
pub(super) fn add_sums(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    for sum in [Sum::Number, Sum::Total, Sum::Average, Sum::Text, Sum::NumberOrText] {
        connection.create_window_function(sum.name(), 1, flags, sum)?;
    }
    Ok(())
}

/// What is made of the values' sum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sum {
    Number,
    Total,
    Average,
    Text,
    NumberOrText,
}

impl Sum {
    fn name(self) -> &'static str {
        match self {
            Sum::Number => "sum",
            Sum::Total => "total",
            Sum::Average => "avg",
            Sum::Text => "decimal_sum",
            Sum::NumberOrText => "exact_or_text",
        }
    }
}

/// The values so far: whole numbers by themselves, because those are fast.
#[derive(Default)]
struct RunningSum {
    count: u64,
    doubles: u64,
    decimals: u64,
    whole: i128,
    fractions: BigDecimal,
}

/// A value to add or to take away.
enum Summand {
    Nothing,
    Integer(i64),
    Double(BigDecimal),
    Decimal(BigDecimal),
}

impl Sum {
    fn summand(self, context: &Context<'_>) -> Result<Summand> {
        let text = match context.get_raw(0) {
            ValueRef::Null => return Ok(Summand::Nothing),
            ValueRef::Integer(n) => return Ok(Summand::Integer(n)),
            ValueRef::Real(double) => {
                let decimal = shortest(double).ok_or_else(|| failed("a value is infinite"));
                return decimal.map(Summand::Double);
            }
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes),
        };
        match NumberText::new(&text) {
            Some(number) => Ok(Summand::Decimal(number.decimal())),
            None => {
                let shown: String = text.chars().take(40).collect();
                let name = self.name();
                Err(failed(&format!(
                    "{name}() of a text that is no number: `{shown}` (data.read takes a `locale` for numbers such as 1.234,50)"
                )))
            }
        }
    }

    fn result(self, sum: Option<&RunningSum>) -> Result<SqlValue> {
        let Some(sum) = sum.filter(|sum| sum.count > 0) else {
            return Ok(if self == Sum::Total { SqlValue::Real(0.0) } else { SqlValue::Null });
        };
        let exact = || BigDecimal::from(sum.whole) + &sum.fractions;
        let nearest = |decimal: &BigDecimal| decimal.to_string().parse().unwrap_or(f64::INFINITY);
        let is_whole = sum.doubles + sum.decimals == 0;
        Ok(match self {
            Sum::Total => SqlValue::Real(nearest(&exact())),
            Sum::Average => SqlValue::Real(nearest(&(exact() / BigDecimal::from(sum.count)))),
            Sum::Text => SqlValue::Text(exact().to_plain_string()),
            Sum::Number | Sum::NumberOrText if is_whole && i64::try_from(sum.whole).is_ok() => {
                SqlValue::Integer(sum.whole.to_i64().expect("that was asked"))
            }
            Sum::Number | Sum::NumberOrText => {
                let exact = exact();
                // Without a place behind the point in any of the values.
                if let Some(whole) = exact.to_i64().filter(|_| exact.fractional_digit_count() <= 0)
                {
                    return Ok(SqlValue::Integer(whole));
                }
                let double = nearest(&exact);
                // Doubles were rounded before; for decimals the nearest double must be the sum itself.
                if !is_whole && (sum.doubles > 0 || shortest(double) == Some(exact.clone())) {
                    SqlValue::Real(double)
                } else if self == Sum::NumberOrText {
                    SqlValue::Text(exact.to_plain_string())
                } else {
                    return Err(failed(
                        "the sum has more digits than a number keeps: decimal_sum() gives all as a text, total() the nearest number",
                    ));
                }
            }
        })
    }
}

impl RunningSum {
    fn add(&mut self, summand: Summand, forward: bool) {
        let step = |n: &mut u64| if forward { *n += 1 } else { *n -= 1 };
        match summand {
            Summand::Nothing => return,
            Summand::Integer(n) => turn(&mut self.whole, i128::from(n), forward),
            Summand::Double(n) => {
                step(&mut self.doubles);
                turn(&mut self.fractions, n, forward);
            }
            Summand::Decimal(n) => {
                step(&mut self.decimals);
                turn(&mut self.fractions, n, forward);
            }
        }
        step(&mut self.count);
    }
}

fn turn<N: AddAssign + SubAssign>(sum: &mut N, n: N, forward: bool) {
    if forward { *sum += n } else { *sum -= n }
}

impl Aggregate<RunningSum, SqlValue> for Sum {
    fn init(&self, _: &mut Context<'_>) -> Result<RunningSum> {
        Ok(RunningSum::default())
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut RunningSum) -> Result<()> {
        sum.add(self.summand(context)?, true);
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<RunningSum>) -> Result<SqlValue> {
        self.result(sum.as_ref())
    }
}

impl WindowAggregate<RunningSum, SqlValue> for Sum {
    fn value(&self, sum: Option<&mut RunningSum>) -> Result<SqlValue> {
        self.result(sum.as_deref())
    }

    fn inverse(&self, context: &mut Context<'_>, sum: &mut RunningSum) -> Result<()> {
        sum.add(self.summand(context)?, false);
        Ok(())
    }
}

fn failed(message: &str) -> Error {
    Error::UserFunctionError(message.into())
}
