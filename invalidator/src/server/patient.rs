//! A stream whose writes do not wait for ever: who does not read its answers must not keep them, and
//! its connection, in memory.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Longest time in which the other side takes nothing of what is written.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module's description.
pub(super) struct Patient<Io> {
    io: Io,
    patience: Duration,
    /// Running while something could not be written.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<Io> Patient<Io> {
    pub(super) fn new(io: Io, patience: Duration) -> Self {
        Self { io, patience, waiting: None }
    }

    /// What the stream says to an attempt to write; an error if it has said `Pending` for too long.
    fn judge(
        &mut self,
        done: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if done.is_ready() {
            self.waiting = None;
            return done;
        }
        let patience = self.patience;
        let end = || Instant::now().checked_add(patience).unwrap_or_else(Instant::now);
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(end())));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Patient<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Patient<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write(context, bytes);
        self.judge(done, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.judge(done, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    fn block_on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn who_reads_nothing_is_given_up() {
        block_on(async {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let mut patient = Patient::new(ours, SHORT);
            let written = patient.write_all(&vec![0; 8 * 1024 * 1024]).await;
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn who_reads_slowly_is_waited_for() {
        block_on(async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let reader = tokio::spawn(async move {
                let (mut all, mut some) = (0, vec![0; 256 * 1024]);
                while all < 4 * 1024 * 1024 {
                    tokio::time::sleep(SHORT / 10).await;
                    all += theirs.read(&mut some).await.unwrap();
                }
            });
            let mut patient = Patient::new(ours, SHORT);
            patient.write_all(&vec![0; 4 * 1024 * 1024]).await.unwrap();
            reader.await.unwrap();
        });
    }
}
