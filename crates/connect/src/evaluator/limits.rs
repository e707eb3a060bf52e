//! Limits that an evaluator process sets itself: memory, stack, processor time.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The memory that a piece of work may take beside what it was given, in MB.
pub const MEMORY_MB: u64 = 128;
/// The stack of a piece of work, in MB.
pub const STACK_MB: u64 = 16;
/// The largest file that a piece of work may write, temporary ones included, in MB: that of a run's table.
pub const FILE_MB: u64 = 2_048;
/// Bytes of memory for each byte of the work itself: a JSON text of small values is about so much larger when it is read.
const MEMORY_PER_BYTE: u64 = 16;
/// A process that holds more than this after its work, in MB, is not used again.
const RESIDENT_REUSED_MAX_MB: u64 = 64;

/// The limits of this process.
pub(super) struct ProcessLimits {
    /// The address space before any work, in bytes; none where the system does not tell.
    at_rest: Option<u64>,
}

impl ProcessLimits {
    /// To be called once all threads are there.
    pub(super) fn measure() -> ProcessLimits {
        lower(Resource::Fsize, (FILE_MB << 20) + 1);
        lower(Resource::Core, 0);
        ProcessLimits { at_rest: memory_pages().map(|pages| pages.address_space * page_bytes()) }
    }

    /// Limits what comes next to some memory beside `bytes` of work, and to `seconds` of processor time. Where the
    /// system refuses, the parent's clock is all there is.
    pub(super) fn set(&self, bytes: usize, seconds: u32) {
        if let Some(at_rest) = self.at_rest {
            let memory = (MEMORY_MB << 20) + MEMORY_PER_BYTE * bytes as u64;
            lower(Resource::As, at_rest + memory);
        }
        let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
        lower(Resource::Cpu, used + u64::from(seconds) + 1);
    }

    /// True if the process holds so much that a new one is better.
    pub(super) fn is_grown(&self) -> bool {
        memory_pages()
            .is_some_and(|pages| pages.resident * page_bytes() > RESIDENT_REUSED_MAX_MB << 20)
    }
}

/// Sets the limit that can be raised again.
fn lower(resource: Resource, to: u64) {
    let hard = getrlimit(resource).maximum;
    let current = Some(hard.map_or(to, |hard| to.min(hard)));
    let _ = setrlimit(resource, Rlimit { current, maximum: hard });
}

struct MemoryPages {
    address_space: u64,
    resident: u64,
}

fn memory_pages() -> Option<MemoryPages> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut numbers = text.split(' ').map(str::parse);
    let (address_space, resident) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(MemoryPages { address_space, resident })
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}
