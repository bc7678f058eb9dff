//! What the signatures that do not verify may cost in one verification of a chain. Those that do are the work of an
//! issuer that is trusted, and there are only as many as it has signed; those that do not are what anybody can make.

use std::cell::Cell;
use std::marker::PhantomData;

/// A message of so many bytes costs as much to hash as a signature to verify.
const BYTES_PER_UNIT: usize = 32 * 1024;
/// Public keys of more bytes are slower: of RSA from 8192 bits on, or on P-521.
const LARGE_RSA: usize = 800;
const P521: usize = 133;
const P384: usize = 97;

thread_local! {
    /// `None` outside of a verification with a budget.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static EXCEEDED: Cell<bool> = const { Cell::new(false) };
}

/// While it is held, the signatures that this thread verifies are within a budget. For one verification at a time.
pub(crate) struct FailureBudget(PhantomData<*const ()>);

impl FailureBudget {
    /// A budget of so many failed signatures under keys that are verified fast.
    pub fn begin(failures: u32) -> Self {
        LEFT.set(Some(failures));
        EXCEEDED.set(false);
        Self(PhantomData)
    }

    /// Whether a signature was not verified because the budget was used up.
    pub fn is_exceeded(&self) -> bool {
        EXCEEDED.get()
    }
}

impl Drop for FailureBudget {
    fn drop(&mut self) {
        LEFT.set(None);
    }
}

/// Whether another signature may be computed.
pub(super) fn has_room() -> bool {
    let room = LEFT.get() != Some(0);
    if !room {
        EXCEEDED.set(true);
    }
    room
}

/// Charges a signature that did not verify.
pub(super) fn charge(public_key: &[u8], message: &[u8]) {
    LEFT.set(LEFT.get().map(|left| left.saturating_sub(cost(public_key, message))));
}

fn cost(public_key: &[u8], message: &[u8]) -> u32 {
    let key = match public_key.len() {
        LARGE_RSA.. | P521 => 2,
        P384 => 2,
        _ => 1,
    };
    key + (message.len() / BYTES_PER_UNIT) as u32
}
