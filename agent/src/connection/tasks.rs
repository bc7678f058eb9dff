//! The tasks of one side: its accept loops, and what carries each connection from the accepted socket to its end. A
//! drain stops the former and waits for the latter.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionTasks {
    stop: CancellationToken,
    accepting: TaskTracker,
    serving: TaskTracker,
    /// Notified when a connection begins.
    begun: Arc<Notify>,
}

impl ConnectionTasks {
    pub fn new() -> Self {
        let (accepting, serving) = (TaskTracker::new(), TaskTracker::new());
        // A closed tracker takes tasks as an open one does, and can be waited for whenever it is empty.
        accepting.close();
        serving.close();
        Self { stop: CancellationToken::new(), accepting, serving, begun: Arc::default() }
    }

    /// Runs an accept loop on `runtime`. It ends with `stopped`, after it has spawned what it has accepted.
    pub fn spawn_accepting(&self, runtime: &Handle, accepting: impl Future<Output = ()> + Send + 'static) {
        self.accepting.spawn_on(accepting, runtime);
    }

    /// Runs on this runtime what serves a connection, or what goes on after its first task, such as a tunnel after an
    /// upgrade: a drain waits for it.
    pub fn spawn(&self, serving: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let handle = self.serving.spawn(serving);
        self.begun.notify_one();
        handle
    }

    pub fn count(&self) -> usize {
        self.serving.len()
    }

    /// Tells the accept loops to end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// After `stop`: waits until nothing is accepted any more, and what was accepted has ended.
    pub async fn finished(&self) {
        self.accepting.wait().await;
        self.serving.wait().await;
    }

    /// Waits until there is no connection, and then none begins for the time of `linger`.
    pub async fn idle_for(&self, linger: Duration) {
        loop {
            self.serving.wait().await;
            tokio::select! {
                biased;
                () = self.begun.notified() => {}
                () = tokio::time::sleep(linger) => return,
            }
        }
    }
}

impl Default for ConnectionTasks {
    fn default() -> Self {
        Self::new()
    }
}
