//! How much memory a request asks for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

/// What `gate` and `edge` may ask for, over one request that is let through: without and with open streams that end.
const DECISION_MAX: usize = 13;
const WATCHED_MAX: usize = 14;

/// The system's allocator, which counts what each thread asks for.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often memory was asked for while this ran.
fn allocations(run: impl FnOnce()) -> usize {
    let before = COUNT.get();
    run();
    COUNT.get() - before
}

#[test]
fn a_request_that_is_let_through() {
    asks_for("allocations", "keep", DECISION_MAX);
}

#[test]
fn a_request_that_is_let_through_and_can_be_ended() {
    asks_for("allocations-ended", "end", WATCHED_MAX);
}

fn asks_for(name: &str, open_streams: &str, decision_max: usize) {
    let _turn = turn();
    let mut configuration = configuration();
    configuration["limits"][0]["max_tokens"] = json!(100);
    configuration["blocks"] = json!({"open_streams": open_streams});
    let gate = Gate::new(name, &configuration);
    config_scheduled();
    gate.answer(&following::blocking("bob", "fraud"));
    let mut request = Exchange::get("/", "alice");
    (0..20).for_each(|_| assert_eq!(gate.ask(&mut request), 200));
    let (pointer, mut stream) = (request.pointer(), std::ptr::null_mut());
    let begin = allocations(|| stream = filter_new(gate.module, pointer));
    let headers = allocations(|| assert_eq!(request_headers(pointer, stream, true), 0));
    let response = allocations(|| assert_eq!(response_headers(pointer, stream), 0));
    let end = allocations(|| filter_destroy(stream));
    assert_eq!((begin, response, end), (0, 0, 0));
    // Of these none is the adapter's: all are the decision's.
    assert!(headers <= decision_max, "{headers}");
}
