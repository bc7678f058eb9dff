//! A piece of a response on its way through the queues of the libraries, which counts until they have dropped it.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::RequestMemory;

pub struct Chunk {
    bytes: Bytes,
    /// The request that it is counted for, and as how much.
    counted: Option<(RequestMemory, usize)>,
}

impl Chunk {
    pub(super) fn counted(bytes: Bytes, memory: RequestMemory, count: usize) -> Self {
        Self { bytes, counted: Some((memory, count)) }
    }
}

impl From<Bytes> for Chunk {
    /// Counted for no request.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, counted: None }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some((memory, count)) = &self.counted {
            memory.give_back(*count);
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
