//! The present address of a part that may be made anew.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use actix::{Actor, Addr};

/// A way to a part.
pub(crate) trait Reach: Clone {
    /// Whether the part is up.
    fn is_up(&self) -> bool;
}

impl<A: Actor> Reach for Addr<A> {
    fn is_up(&self) -> bool {
        self.connected()
    }
}

/// See the [module](self).
pub(crate) struct Slot<R>(Mutex<Option<R>>);

impl<R: Reach> fmt::Debug for Slot<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.get().is_some()).finish()
    }
}

impl<R> Default for Slot<R> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<R: Reach> Slot<R> {
    pub(crate) fn set(&self, way: R) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
    }

    /// The way to the part, if it is up.
    pub(crate) fn get(&self) -> Option<R> {
        let way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        way.clone().filter(Reach::is_up)
    }
}
