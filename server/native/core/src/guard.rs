//! Ends a query early: its time is over, or whoever asked has gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::BlockError;

/// What a running query looks at between two files.
#[derive(Debug, Default)]
pub struct Guard {
    cancelled: AtomicBool,
    /// Monotonic clock.
    deadline: Option<Instant>,
}

impl Guard {
    /// A guard that ends the query after some time, None without end.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { cancelled: AtomicBool::new(false), deadline: limit.and_then(|limit| Instant::now().checked_add(limit)) }
    }

    /// Ends the query as soon as it looks.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Fails where the query shall end.
    pub fn check(&self) -> Result<(), BlockError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(BlockError::Stopped { timeout: false });
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(BlockError::Stopped { timeout: true });
        }
        Ok(())
    }
}

/// Checks a guard that may be absent.
pub(crate) fn check(guard: Option<&Guard>) -> Result<(), BlockError> {
    guard.map_or(Ok(()), Guard::check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_ends_a_query_when_it_is_cancelled_or_its_time_is_over() {
        let guard = Guard::new(None);
        assert!(guard.check().is_ok());
        guard.cancel();
        assert!(matches!(guard.check(), Err(BlockError::Stopped { timeout: false })));
        let late = Guard::new(Some(Duration::ZERO));
        assert!(matches!(late.check(), Err(BlockError::Stopped { timeout: true })));
    }
}
