//! A module that wants nothing of the core library: statics, closures, a trait
//! object's table, atomics, and the kernel's printf.
#![no_std]
#![allow(improper_ctypes)]

use core::sync::atomic::{AtomicI64, Ordering};

extern "C" {
    fn printf(format: *const u8, ...);
}

trait Shape: Sync {
    fn area(&self, scale: i64) -> i64;
}

struct Square(i64);
struct Rectangle(i64, i64);

impl Shape for Square {
    #[inline(never)]
    fn area(&self, scale: i64) -> i64 {
        self.0.wrapping_mul(self.0).wrapping_mul(scale)
    }
}

impl Shape for Rectangle {
    #[inline(never)]
    fn area(&self, scale: i64) -> i64 {
        self.0.wrapping_mul(self.1).wrapping_mul(scale)
    }
}

static SHAPES: [&dyn Shape; 3] = [&Square(3), &Rectangle(2, 5), &Square(4)];
static TOTAL: AtomicI64 = AtomicI64::new(0);

/// The areas of the shapes, 9, 10 and 16, times scale.
#[no_mangle]
pub extern "C" fn rust_areas(scale: i64) -> i64 {
    SHAPES.iter().fold(0i64, |sum, s| sum.wrapping_add(s.area(scale)))
}

/// Adds n to what all calls have added.
#[no_mangle]
pub extern "C" fn rust_total(n: i64) -> i64 {
    TOTAL.fetch_add(n, Ordering::SeqCst).wrapping_add(n)
}

/// Prints n in the log.
#[no_mangle]
pub unsafe extern "C" fn rust_print(n: i32) -> i32 {
    printf(b"rust: %d\n\0".as_ptr(), n);
    n
}
