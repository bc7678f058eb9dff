//! What relayed bytes hold of the budget: TCP, tunnels and upgraded connections. One that moves on holds nothing; one
//! whose receiver does not take what was read holds it until it does. Where there is no room, less is read at once.

use std::sync::Arc;

use super::Share;

/// What one direction holds at most while its receiver does not take it: a buffer of the relay, and one of TLS on either
/// side of it.
const BLOCKED_BYTES: usize = 128 * 1024;
/// The same without room: what is read at once, and the same encrypted.
const TIGHT_BLOCKED_BYTES: usize = 2 * TIGHT_READ_BYTES;
const TIGHT_READ_BYTES: usize = 4 * 1024;

impl Share {
    /// How much of what is relayed may be read at once. Without room, little, and no more before that has gone.
    pub fn relay_room(&self) -> RelayRoom {
        match self.has_room(BLOCKED_BYTES) {
            true => RelayRoom::Ample,
            false => RelayRoom::Tight { read: TIGHT_READ_BYTES },
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayRoom {
    #[default]
    Ample,
    /// So much may be read at once.
    Tight { read: usize },
}

/// What one direction of a relay holds.
#[derive(Default)]
pub struct RelayMemory(Option<(Arc<Share>, usize)>);

impl RelayMemory {
    /// Its receiver does not take what was read, as there was `room`.
    pub fn block(&mut self, share: &Arc<Share>, room: RelayRoom) {
        if self.0.is_none() {
            let bytes = if room == RelayRoom::Ample { BLOCKED_BYTES } else { TIGHT_BLOCKED_BYTES };
            share.charge(bytes);
            self.0 = Some((Arc::clone(share), bytes));
        }
    }

    /// It was taken.
    pub fn unblock(&mut self) {
        if let Some((share, bytes)) = self.0.take() {
            share.release(bytes);
        }
    }
}

impl Drop for RelayMemory {
    fn drop(&mut self) {
        self.unblock();
    }
}
