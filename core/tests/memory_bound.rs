//! What the memory backend says it holds, against what it has allocated. On its own in a process, because the allocator
//! counts for all threads.

use mizan_cache_core::{canonical::Canonical, key::Signer, memory::Memory};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// What an allocator needs for itself besides the bytes that were asked for, a little on the high side.
const ALLOCATION_OVERHEAD: usize = 16;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() + ALLOCATION_OVERHEAD, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() + ALLOCATION_OVERHEAD, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn allocations_stay_within_a_fifth_above_the_bound() {
    const MAX_BYTES: u64 = 2 << 20;
    let signer = Signer::new(b"secret").unwrap();
    for lengths in [
        vec![0],
        vec![100],
        vec![1_000],
        vec![20_000],
        vec![10, 5_000, 300],
        vec![0, 100_000],
    ] {
        let before = ALLOCATED.load(Relaxed);
        let memory = Memory::new(MAX_BYTES);
        // Small ones first, in one context after the other, each read: then the tables have the most room to give back.
        for (index, length) in lengths.iter().enumerate() {
            for rev in 0..12_000 {
                let context = format!("context{}-{}", index, rev / 4_000);
                let key = signer.key(&Canonical::new(&context, &[], None, rev).unwrap());
                assert!(memory.set(&key, &vec![0; *length], Duration::from_secs(3_600), None));
                assert!(memory.get(&key).is_some());
                drop((key, context));
                let allocated = ALLOCATED.load(Relaxed) - before;
                assert!(
                    allocated as u64 <= MAX_BYTES / 5 * 6,
                    "{allocated} bytes allocated for {} of {lengths:?}",
                    memory.bytes()
                );
            }
        }
        assert!(memory.bytes() > MAX_BYTES / 10 * 8, "the memory was to be full");
        memory.clear();
        assert!(ALLOCATED.load(Relaxed) - before < 10_000, "clear gives everything back");
    }
}
