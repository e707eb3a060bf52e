//! Journal records as bytes: versioned, checked, readable for ever.
//!
//! A record's events are JSON (self-describing, so old readers meet new fields and new readers old
//! records), guarded by a CRC32C over everything that identifies the record, so that a row in the
//! wrong place is as visible as a flipped bit.

use crate::event::RunEvent;
use crate::record::Record;
use l05_core::id::{Epoch, PlanId, Sequence};
use l05_core::time::Timestamp;

/// The format of a record's body. Raised when readers must tell old and new apart.
///
/// 1: JSON list of `crate::event::RunEvent`.
pub const FORMAT: u32 = 1;

/// A record as stores keep it: numbers beside the bytes of its events.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedRecord {
    /// The number of the first event.
    pub first: u64,
    /// The number of events.
    pub count: u64,
    /// The owner's epoch.
    pub epoch: u64,
    /// The time of the decision, in milliseconds since 1970.
    pub at: i64,
    /// The format of the body.
    pub format: u32,
    /// CRC32C over plan, numbers, actor and body.
    pub crc: u32,
    /// Whoever caused it.
    pub actor: String,
    /// The events, in the body's format.
    pub body: Vec<u8>,
}

/// The reason for which bytes are no record.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// A newer version wrote it.
    #[error("it was written by a newer version (format {0})")]
    NewerFormat(u32),
    /// Bytes were changed, or it lies in another's place.
    #[error("its checksum does not match")]
    Checksum,
    /// The body is not what its format says.
    #[error("its events cannot be read: {0}")]
    Events(String),
}

/// Encodes a record in the present format.
pub fn encode(record: &Record) -> EncodedRecord {
    let body = serde_json::to_vec(&record.events).expect("events are plain data");
    let mut row = EncodedRecord {
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

/// Decodes what any version up to this one wrote.
pub fn decode(plan: PlanId, row: &EncodedRecord) -> Result<Record, DecodeError> {
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

fn checksum(plan: PlanId, row: &EncodedRecord) -> u32 {
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
                reserved: crate::amounts::Amounts::NONE,
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
            decode(plan, &EncodedRecord { first: 4, ..row.clone() }).is_err(),
            "a row in another place"
        );
        let newer = EncodedRecord { format: FORMAT + 1, ..row };
        assert_eq!(decode(plan, &newer), Err(DecodeError::NewerFormat(FORMAT + 1)));
    }
}
