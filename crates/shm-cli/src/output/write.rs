//! Writing to the standard streams: one message is one write(2), so that the messages of processes that share a stream,
//! such as those of `xargs -P`, do not interleave.

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice, adapter};
use std::io;
use std::os::fd::AsFd;

/// Writes the whole text, without its styles unless the stream shows them.
pub(super) fn whole(stream: &(impl RawStream + AsFd), text: &str) -> io::Result<()> {
    match AutoStream::choice(stream) {
        ColorChoice::Never => bytes(stream, adapter::strip_str(text).to_string().as_bytes()),
        _ => bytes(stream, text.as_bytes()),
    }
}

fn bytes(fd: &impl AsFd, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match nix::unistd::write(fd, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            // The kernel took a part: a full pipe whose reader left room, or a signal handler in between.
            Ok(written) => rest = &rest[written..],
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
