//! Streams that change what is read from another stream, and write to it as it is.

/// The functions of `AsyncWrite`, passed on to the stream in this field.
macro_rules! pass_on_writes {
    ($stream:ident) => {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.get_mut().$stream).poll_write(cx, bytes)
        }

        fn poll_write_vectored(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            bytes: &[std::io::IoSlice<'_>],
        ) -> std::task::Poll<std::io::Result<usize>> {
            let stream = std::pin::Pin::new(&mut self.get_mut().$stream);
            match bytes {
                // Of one piece, as most are, which costs the kernel less.
                [one] => stream.poll_write(cx, one),
                several => stream.poll_write_vectored(cx, several),
            }
        }

        fn is_write_vectored(&self) -> bool {
            self.$stream.is_write_vectored()
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.get_mut().$stream).poll_flush(cx)
        }

        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.get_mut().$stream).poll_shutdown(cx)
        }
    };
}

pub(crate) use pass_on_writes;
