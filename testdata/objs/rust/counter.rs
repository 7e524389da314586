//! A module without the standard library: it calls the kernel, keeps state, and
//! brings the panic handler that every such object has.
#![no_std]
#![allow(improper_ctypes)]

use core::sync::atomic::{AtomicU32, Ordering};

extern "C" {
    fn callee(x: i32) -> i32;
    static variable: i32;
}

static COUNT: AtomicU32 = AtomicU32::new(0);
static TABLE: [unsafe extern "C" fn(i32) -> i32; 2] = [callee, rust_double];

#[no_mangle]
pub unsafe extern "C" fn rust_double(x: i32) -> i32 {
    x.wrapping_mul(2)
}

#[no_mangle]
pub extern "C" fn rust_counter(i: usize) -> i32 {
    COUNT.fetch_add(1, Ordering::Relaxed);
    unsafe { TABLE[i & 1](callee(variable)) }
}

#[no_mangle]
pub extern "C" fn rust_checked(v: &[i32; 4], i: usize) -> i32 {
    v[i]
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
