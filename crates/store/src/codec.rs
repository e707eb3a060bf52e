//! Journal records as bytes: versioned, checked, readable for ever.
//!
//! A record's events are JSON (self-describing, so old readers meet new fields and new readers old
//! records), guarded by a CRC32C over everything that identifies the record, so that a row in the
//! wrong place is as visible as a flipped bit.

use l05_core::id::{Epoch, PlanId, Sequence};
use l05_core::time::Timestamp;
use l05_run::event::RunEvent;
use l05_run::record::Record;

/// The format of a record's body. Raised when readers must tell old and new apart.
///
/// 1: JSON list of `l05_run::event::RunEvent`.
pub(crate) const FORMAT: u32 = 1;

/// A record as a row holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JournalRow {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) epoch: u64,
    pub(crate) at: i64,
    pub(crate) format: u32,
    pub(crate) crc: u32,
    pub(crate) actor: String,
    pub(crate) body: Vec<u8>,
}

/// Why a row is no record.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("it was written by a newer version (format {0})")]
    NewerFormat(u32),
    #[error("its checksum does not match")]
    Checksum,
    #[error("its events cannot be read: {0}")]
    Events(String),
}

pub(crate) fn encode(record: &Record) -> JournalRow {
    let body = serde_json::to_vec(&record.events).expect("events are plain data");
    let mut row = JournalRow {
        first: record.first.0,
        count: record.events.len() as u64,
        epoch: record.epoch.0,
        at: record.at.0,
        format: FORMAT,
        crc: 0,
        actor: record.actor.to_string(),
        body,
    };
    row.crc = checksum(record.plan, &row);
    row
}

pub(crate) fn decode(plan: PlanId, row: &JournalRow) -> Result<Record, DecodeError> {
    if row.format > FORMAT {
        return Err(DecodeError::NewerFormat(row.format));
    }
    if row.crc != checksum(plan, row) {
        return Err(DecodeError::Checksum);
    }
    let events: Vec<RunEvent> =
        serde_json::from_slice(&row.body).map_err(|e| DecodeError::Events(e.to_string()))?;
    if events.len() as u64 != row.count {
        return Err(DecodeError::Events(format!("{} of {} events", events.len(), row.count)));
    }
    Ok(Record {
        plan,
        first: Sequence(row.first),
        epoch: Epoch(row.epoch),
        at: Timestamp(row.at),
        actor: row.actor.as_str().into(),
        events,
        blobs: Vec::new(),
    })
}

fn checksum(plan: PlanId, row: &JournalRow) -> u32 {
    let mut crc = crc32c::crc32c(plan.0.as_bytes());
    for number in [row.first, row.count, row.epoch, row.at.cast_unsigned()] {
        crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    }
    crc = crc32c::crc32c_append(crc, &row.format.to_le_bytes());
    crc = crc32c::crc32c_append(crc, row.actor.as_bytes());
    crc32c::crc32c_append(crc, &row.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use l05_core::id::{Attempt, TaskIndex};
    use uuid::Uuid;

    #[test]
    fn any_flipped_byte_is_seen() {
        let plan = PlanId(Uuid::from_u128(7));
        let record = Record {
            plan,
            first: Sequence(3),
            epoch: Epoch(2),
            at: Timestamp(1_700_000_000_000),
            actor: "local".into(),
            events: vec![RunEvent::TaskDispatched {
                task: TaskIndex(4),
                attempt: Attempt(1),
                not_after: Timestamp(5),
                reserved: l05_run::amounts::Amounts::NONE,
                placed: None,
            }],
            blobs: vec![],
        };
        let row = encode(&record);
        assert_eq!(decode(plan, &row), Ok(record));
        for at in 0..row.body.len() {
            let mut flipped = row.clone();
            flipped.body[at] ^= 1;
            assert_eq!(decode(plan, &flipped), Err(DecodeError::Checksum), "byte {at}");
        }
        assert!(decode(PlanId(Uuid::from_u128(8)), &row).is_err(), "another plan's row");
        assert!(
            decode(plan, &JournalRow { first: 4, ..row.clone() }).is_err(),
            "a row in another place"
        );
        let newer = JournalRow { format: FORMAT + 1, ..row };
        assert_eq!(decode(plan, &newer), Err(DecodeError::NewerFormat(FORMAT + 1)));
    }
}
