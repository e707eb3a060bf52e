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

/// Work of less is measured now and then only.
const BYTES_SMALL: usize = 64 << 10;
/// The pieces of small work between two looks at what the process holds.
const SMALL_BETWEEN_LOOKS: u32 = 100;

/// The limits of this process.
pub(super) struct ProcessLimits {
    /// The address space before any work, in bytes; none where the system does not tell.
    at_rest: Option<u64>,
    /// The limits that are set, in bytes and seconds.
    memory: u64,
    cpu: u64,
    small_done: u32,
}

impl ProcessLimits {
    /// To be called once all threads are there.
    pub(super) fn measure() -> ProcessLimits {
        lower(Resource::Fsize, (FILE_MB << 20) + 1);
        lower(Resource::Core, 0);
        let at_rest = memory_pages().map(|pages| pages.address_space * page_bytes());
        ProcessLimits { at_rest, memory: 0, cpu: 0, small_done: 0 }
    }

    /// Limits what comes next to some memory beside `bytes` of work, and to `seconds` of processor time, or up to twice
    /// as much: limits that will do are left as they are. Where the system refuses, the parent's clock is all there is.
    pub(super) fn set(&mut self, bytes: usize, seconds: u32) {
        if let Some(at_rest) = self.at_rest {
            let given = bytes.next_multiple_of(BYTES_SMALL) as u64;
            let memory = at_rest + (MEMORY_MB << 20) + MEMORY_PER_BYTE * given;
            if memory != self.memory {
                lower(Resource::As, memory);
                self.memory = memory;
            }
        }
        let seconds = u64::from(seconds);
        let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
        let left = self.cpu.saturating_sub(used);
        if !(seconds + 1..=2 * seconds + 2).contains(&left) {
            self.cpu = used + 2 * seconds + 2;
            lower(Resource::Cpu, self.cpu);
        }
    }

    /// True if the process holds so much after work of `bytes` that a new one is better.
    pub(super) fn is_grown(&mut self, bytes: usize) -> bool {
        self.small_done += 1;
        if bytes < BYTES_SMALL && self.small_done < SMALL_BETWEEN_LOOKS {
            return false;
        }
        self.small_done = 0;
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
