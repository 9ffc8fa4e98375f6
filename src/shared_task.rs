//! A task whose result any number of callers wait for: one fetch or mint for all who ask for the same.
//!
//! It goes on when every caller has hung up, and the next caller never waits for a task that has died.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// The result of a task, for each of its callers.
pub type SharedTask<T> = Shared<BoxFuture<'static, Result<T, Aborted>>>;

/// The task ended without a result: it panicked, or the runtime is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the task was aborted")]
pub struct Aborted;

/// Starts `work`. `finish` turns its outcome into the result, before anybody gets that: the place to store a value and
/// to forget the task. It is called even when `work` panics.
pub fn start<R, T>(
    work: impl Future<Output = R> + Send + 'static,
    finish: impl FnOnce(Result<R, Aborted>) -> T + Send + 'static,
) -> SharedTask<T>
where
    R: Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    // What a panic cuts short is dropped with its future; what is shared is behind locks and caches.
    let work = AssertUnwindSafe(work).catch_unwind();
    let task = tokio::spawn(async move { finish(work.await.map_err(|_| Aborted)) });
    task.map(|joined| joined.map_err(|_| Aborted))
        .boxed()
        .shared()
}
