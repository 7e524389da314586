//! A second object of that kind: its panic handler has the same strong name.
#![no_std]

#[no_mangle]
pub extern "C" fn rust_second(x: u32, y: u32) -> u32 {
    x / y
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
