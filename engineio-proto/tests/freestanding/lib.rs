//! The core on nothing: no operating system, no C library, no standard library. `no_io.rs` builds this and looks at
//! what it would have to be given.
//!
//! What a program on nothing must bring is here, and it is all: memory, a place for panics, and (where the compiler
//! does not bring them itself, as it does for WebAssembly) the six functions on which the compiler's own
//! libraries rely on every platform: they copy, fill, compare and measure memory.
#![no_std]

extern crate alloc;

mod sessions;

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A server's session from the handshake to its end.
#[unsafe(no_mangle)]
pub extern "C" fn engineio_server() -> u64 {
    sessions::server()
}

/// A client's session from the handshake to its end.
#[unsafe(no_mangle)]
pub extern "C" fn engineio_client() -> u64 {
    sessions::client()
}

/// What the core never does; `no_io.rs` sees that it would not go unnoticed.
#[cfg(asks_for_the_time)]
#[unsafe(no_mangle)]
pub extern "C" fn engineio_clock() -> i32 {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    // SAFETY: it fills what it is given.
    unsafe { clock_gettime(1, &mut [0; 2]) }
}

const SIZE: usize = 1 << 20;

/// One piece after the other of a fixed block, and nothing back: two sessions need little.
struct Bump {
    block: UnsafeCell<[u8; SIZE]>,
    used: AtomicUsize,
}

#[global_allocator]
static MEMORY: Bump = Bump { block: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0) };

// SAFETY: the block is only handed out, by `alloc`, and never looked at.
unsafe impl Sync for Bump {}

// SAFETY: pieces are aligned, lie within the block, and do not overlap, because `used` only grows.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.block.get().cast::<u8>();
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let gap = base.wrapping_add(used).align_offset(layout.align());
            let start = used.saturating_add(gap);
            let end = start.saturating_add(layout.size());
            if end > SIZE {
                return null_mut();
            }
            match self.used.compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return base.wrapping_add(start),
                Err(now) => used = now,
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// What `core` expects of every platform, see its front page. The accesses are volatile, so that none of these is turned into a call
/// of itself.
#[cfg(not(target_family = "wasm"))]
mod expected {
    // SAFETY, of all: whoever calls these promises what their namesakes in C ask for.

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        for at in 0..len {
            unsafe { to.add(at).write_volatile(from.add(at).read()) };
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        if to.addr() <= from.addr() {
            return unsafe { memcpy(to, from, len) };
        }
        for at in (0..len).rev() {
            unsafe { to.add(at).write_volatile(from.add(at).read()) };
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
        for at in 0..len {
            unsafe { to.add(at).write_volatile(byte as u8) };
        }
        to
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
        for at in 0..len {
            let (left, right) = unsafe { (left.add(at).read_volatile(), right.add(at).read_volatile()) };
            if left != right {
                return i32::from(left) - i32::from(right);
            }
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
        unsafe { memcmp(left, right, len) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        let mut len = 0;
        while unsafe { text.add(len).read_volatile() } != 0 {
            len += 1;
        }
        len
    }

    /// The libraries of the compiler were built for programs that unwind. Nothing here does, and nobody calls these.
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {}

    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() -> ! {
        loop {
            core::hint::spin_loop();
        }
    }
}
