//! The configuration that an acceptor or a connector makes of a snapshot, made once as long as that snapshot is the one
//! asked for.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;

use crate::snapshot::Snapshot;

/// Shared by the clones of its owner.
#[derive(Debug)]
pub(crate) struct ConfigCache<C>(Arc<ArcSwapOption<Made<C>>>);

#[derive(Debug)]
struct Made<C> {
    /// Compared by its address, which the reference keeps from being reused.
    of: Weak<Snapshot>,
    config: Arc<C>,
}

impl<C> ConfigCache<C> {
    /// The configuration of `snapshot`, by `make` if the last one was of another.
    pub(crate) fn get(
        &self,
        snapshot: &Arc<Snapshot>,
        make: impl FnOnce() -> Option<Arc<C>>,
    ) -> Option<Arc<C>> {
        if let Some(made) = self.0.load().as_ref().filter(|made| made.of.as_ptr() == Arc::as_ptr(snapshot)) {
            return Some(Arc::clone(&made.config));
        }
        let config = make()?;
        let made = Made { of: Arc::downgrade(snapshot), config: Arc::clone(&config) };
        self.0.store(Some(Arc::new(made)));
        Some(config)
    }
}

impl<C> Default for ConfigCache<C> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<C> Clone for ConfigCache<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
