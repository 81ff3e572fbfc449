//! Names of streams.

use std::num::NonZeroU32;

/// The name of a stream within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU32);

impl StreamId {
    /// `None` for 0, which no stream has.
    pub(crate) fn new(id: u32) -> Option<Self> {
        NonZeroU32::new(id).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// Gives out ids in order, and begins anew after the last. By then, late messages of the first streams are long gone.
#[derive(Debug)]
pub(super) struct StreamIds {
    next: NonZeroU32,
}

impl StreamIds {
    pub(super) fn starting_at(first: u32) -> Self {
        Self { next: NonZeroU32::new(first).unwrap_or(NonZeroU32::MIN) }
    }

    /// The next id that is not in use. There are never as many streams as ids.
    pub(super) fn next(&mut self, is_in_use: impl Fn(StreamId) -> bool) -> StreamId {
        loop {
            let id = StreamId(self.next);
            self.next = self.next.checked_add(1).unwrap_or(NonZeroU32::MIN);
            if !is_in_use(id) {
                return id;
            }
        }
    }
}
