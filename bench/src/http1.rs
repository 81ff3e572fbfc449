//! A client for HTTP/1.1 that does as little as possible.
//!
//! It shares two cores with what it measures, so it writes requests that were put together beforehand and reads
//! bodies into one buffer without keeping them. It knows bodies with a length only, which is what the files have.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::target::Endpoint;

/// Large enough that reading costs a fraction of what is measured, small enough to stay in the cache.
const BUFFER_SIZE: usize = 256 * 1024;

/// A kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of `buffer` holds bytes that were read and not yet used.
    filled: usize,
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self> {
        let stream = connect(endpoint).await?;
        Ok(Self { stream, buffer: vec![0; BUFFER_SIZE], filled: 0 })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("send a request")
    }

    /// Reads the head of a response, which must be a success, and gives the length of its body.
    pub(crate) async fn read_head(&mut self) -> Result<u64> {
        loop {
            if let Some((head_length, body_length)) = parse_head(self.buffer.get(..self.filled).unwrap_or_default())? {
                self.buffer.copy_within(head_length..self.filled, 0);
                self.filled -= head_length;
                return Ok(body_length);
            }
            let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let n_read = self.stream.read(free).await.context("read a response")?;
            ensure!(n_read > 0, "the connection ended before a whole response head");
            self.filled += n_read;
        }
    }

    /// Reads a body of `length` bytes and forgets it.
    pub(crate) async fn read_body(&mut self, length: u64) -> Result<()> {
        let mut missing = length.checked_sub(self.filled as u64).context("more bytes than the response has")?;
        self.filled = 0;
        while missing > 0 {
            let n_read = self.stream.read(&mut self.buffer).await.context("read a body")?;
            ensure!(n_read > 0, "the connection ended {missing} bytes before the end of the body");
            missing = missing.checked_sub(n_read as u64).context("more bytes than the response has")?;
        }
        Ok(())
    }
}

/// Opens a connection with Nagle's algorithm off, as every sensible client does.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.address).await.with_context(|| format!("reach {}", endpoint.address))?;
    stream.set_nodelay(true).context("turn Nagle's algorithm off")?;
    Ok(stream)
}

/// The lengths of the head and of the body, once the head is whole.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, u64)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_length) = response.parse(bytes).context("read a response head")? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    if !(200..300).contains(&status) {
        bail!("status {status}: {}", String::from_utf8_lossy(bytes));
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("a response without Content-Length")?.value;
    let length = std::str::from_utf8(length).context("read Content-Length")?.trim();
    Ok(Some((head_length, length.parse().context("read Content-Length")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nHello";
        assert!(matches!(parse_head(&bytes[..20]), Ok(None)));
        assert!(matches!(parse_head(bytes), Ok(Some((39, 12)))));
    }

    #[test]
    fn anything_but_a_success_with_a_length_is_an_error() {
        assert!(parse_head(b"HTTP/1.1 601 Printer Offline\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }
}
