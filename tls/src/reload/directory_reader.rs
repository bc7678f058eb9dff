//! The identity directory, read when something may have changed, and the watch on it. A volume may hang, such as NFS whose
//! server is gone: it is read on a thread of its own, which nothing waits for beyond a deadline.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use super::reporter::Reporter;
use crate::credential::Credential;
use crate::reload_error::ReloadError;
use crate::source::directory::watch::DirectoryWatch;
use crate::source::directory::{Device, Volume, device};

/// A directory that takes longer counts as hanging.
const DEADLINE: Duration = Duration::from_secs(1);
/// It is logged again when it hangs for so many times as long.
const LOG_AGAIN: u32 = 10;

pub(super) struct DirectoryReader {
    reporter: Reporter,
    directory: PathBuf,
    /// Locked while it is read.
    files: Arc<Mutex<Files>>,
    /// The file system that was found to be in memory.
    in_memory: Option<Device>,
    under_way: Option<UnderWay>,
    /// Something may have changed while a read was hanging, which it need not have seen.
    again: bool,
    warned_not_atomic: bool,
    warned_unwatched: bool,
    warned_no_thread: bool,
    /// Files beside `..data` that were logged.
    warned_beside: Vec<String>,
}

struct Files {
    volume: Volume,
    watch: DirectoryWatch,
}

/// A read that has not ended.
struct UnderWay {
    since: Instant,
    result: oneshot::Receiver<DirectoryRead>,
    answer: Option<DirectoryRead>,
    /// `None` until it has hung for longer than the deadline.
    log_after: Option<Duration>,
}

/// The result of one read.
pub(super) struct DirectoryRead {
    pub credential: Credential,
    in_memory: Option<Device>,
    watching: Result<bool, notify::Error>,
    /// The directory exists and has no `..data`.
    not_atomic: bool,
    beside_data: Vec<String>,
}

impl DirectoryReader {
    pub(super) fn new(volume: Volume, changed: Arc<Notify>, reporter: Reporter) -> Self {
        let directory = volume.directory().to_owned();
        let watch = DirectoryWatch::new(volume.directory(), changed);
        Self {
            reporter,
            directory,
            files: Arc::new(Mutex::new(Files { volume, watch })),
            in_memory: None,
            under_way: None,
            again: false,
            warned_not_atomic: false,
            warned_unwatched: false,
            warned_no_thread: false,
            warned_beside: Vec::new(),
        }
    }

    /// Reads the directory; `None` while it hangs. One that is known to be in memory is read on this thread, unless
    /// something else was mounted over it.
    pub(super) async fn read(&mut self) -> Result<Option<DirectoryRead>, ReloadError> {
        let is_in_memory = self.in_memory.is_some() && self.in_memory == device(&self.directory);
        if is_in_memory && self.under_way.is_none() {
            return Ok(Some(self.finish(read_now(&self.files))));
        }
        let started = self.under_way.take().map_or_else(|| self.start(), Ok);
        let mut read = match started {
            Ok(read) => read,
            Err(error) => {
                if !std::mem::replace(&mut self.warned_no_thread, true) {
                    warn!(%error, "no thread to read the identity directory: raise the limit on tasks");
                }
                return Ok(None);
            }
        };
        let wait = DEADLINE.saturating_sub(read.since.elapsed());
        let answer = match read.answer.take() {
            Some(answer) => answer,
            None => match tokio::time::timeout(wait, &mut read.result).await {
                Ok(answer) => answer.map_err(|_| ReloadError::ReadPanicked)?,
                Err(_) => {
                    self.report_hanging(&mut read);
                    self.under_way = Some(read);
                    return Ok(None);
                }
            },
        };
        if read.log_after.is_some() {
            self.again = true;
            self.reporter.update(|report| report.source.hanging_since = None);
            info!(directory = %self.directory.display(), after = %seconds(read.since.elapsed()), "the identity directory answers again");
        }
        Ok(Some(self.finish(answer)))
    }

    /// Waits until there is a reason to read that no event tells of: the read that was hanging has ended.
    pub(super) async fn answered(&mut self) {
        if std::mem::take(&mut self.again) {
            return;
        }
        match &mut self.under_way {
            Some(read) if read.answer.is_none() => read.answer = (&mut read.result).await.ok(),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Somebody has asked for the directory to be read: if it hangs, it is said again.
    pub(super) fn requested(&mut self) {
        if let Some(read) = &mut self.under_way {
            read.log_after = read.log_after.map(|_| Duration::ZERO);
        }
    }

    /// Whether events are expected. Until there is something to read, nothing is missed by waiting.
    pub(super) fn is_watching(&self) -> bool {
        self.under_way.is_some() || self.reporter.status().source.watching
    }

    /// On a thread that is not the runtime's, which may wait for the end of its own.
    fn start(&self) -> io::Result<UnderWay> {
        let (sender, result) = oneshot::channel();
        let files = Arc::clone(&self.files);
        let read = move || drop(sender.send(read_now(&files)));
        std::thread::Builder::new().name("identity".into()).spawn(read)?;
        Ok(UnderWay { since: Instant::now(), result, answer: None, log_after: None })
    }

    fn report_hanging(&self, read: &mut UnderWay) {
        let since = read.since;
        let elapsed = since.elapsed();
        self.reporter.update(|report| report.source.hanging_since = Some(since));
        if read.log_after.is_none_or(|after| elapsed >= after) {
            read.log_after = Some(elapsed * LOG_AGAIN);
            warn!(
                directory = %self.directory.display(),
                after = %seconds(elapsed),
                "the identity directory does not answer: what is served stays, and the Kubernetes API, if it is a source, \
                 is followed; look at the volume's file system"
            );
        }
    }

    /// Reports the state of the directory itself.
    fn finish(&mut self, read: DirectoryRead) -> DirectoryRead {
        self.in_memory = read.in_memory;
        let watching = read.watching.as_ref().copied().unwrap_or_else(|error| {
            if !self.warned_unwatched {
                self.warned_unwatched = true;
                warn!(%error, "no events from the identity directory: changes are noticed by polling only");
            }
            false
        });
        if read.not_atomic && !self.warned_not_atomic {
            self.warned_not_atomic = true;
            warn!(
                directory = %self.directory.display(),
                "no ..data in the identity directory: if this is a subPath mount of a Secret, Kubernetes never \
                 updates it and a rotated certificate will not arrive; mount the whole Secret as a directory"
            );
        }
        let beside = read.beside_data.join(", ");
        let beside = format!(
            "{beside} beside ..data is not read: the files of a Secret volume are those in ..data; change the Secret, and \
             remove it"
        );
        if self.warned_beside != read.beside_data {
            self.warned_beside.clone_from(&read.beside_data);
            if !read.beside_data.is_empty() {
                warn!(directory = %self.directory.display(), "{beside}");
            }
        }
        let mut notices = Vec::new();
        if read.not_atomic {
            notices.push("no ..data: a subPath mount is never updated by Kubernetes".into());
        }
        if !read.beside_data.is_empty() {
            notices.push(beside);
        }
        self.reporter.update(|report| {
            report.source.watching = watching;
            report.source.atomic = read.credential.atomic;
            report.source.notices = notices;
        });
        read
    }
}

/// Blocks on the file system.
fn read_now(files: &Mutex<Files>) -> DirectoryRead {
    let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
    // Armed before reading, so that no change falls between the two.
    let watching = files.watch.arm();
    let volume = &files.volume;
    let in_memory = volume.in_memory();
    let credential = volume.read();
    let not_atomic = !credential.atomic && volume.directory().exists();
    let beside_data = match credential.atomic {
        true => volume.files_beside_data().into_iter().map(str::to_owned).collect(),
        false => Vec::new(),
    };
    DirectoryRead { credential, in_memory, watching, not_atomic, beside_data }
}

fn seconds(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) / 100 * 100,
    ))
}
