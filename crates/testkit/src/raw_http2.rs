//! HTTP/2 as frames: what no library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::client::connect_raw;
use crate::wait::LIMIT;

/// Types of frames (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs, reason = "the RFC's names")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs, reason = "the RFC's names")]
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
}

/// How a client begins (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// A frame with `payload`.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// A HEADERS frame that holds all of its fields.
    pub fn headers(flags: u8, stream: u32, fields: &[(&[u8], &[u8])]) -> Self {
        Self::new(kind::HEADERS, flags | flag::END_HEADERS, stream, field_block(fields))
    }

    /// A SETTINGS frame.
    pub fn settings(settings: &[(u16, u32)]) -> Self {
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        Self::new(kind::SETTINGS, 0, 0, payload)
    }

    /// A WINDOW_UPDATE frame.
    pub fn window_update(stream: u32, increment: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
    }

    /// A RST_STREAM frame.
    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = (self.payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The error code of a GOAWAY or RST_STREAM frame.
    pub fn error_code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::GOAWAY => 4,
            kind::RST_STREAM => 0,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().unwrap()))
    }

    /// The status in a HEADERS frame, if it is the first of its connection: no table is kept.
    pub fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS {
            return None;
        }
        let mut block = &self.payload[..];
        while block.first().is_some_and(|byte| byte >> 5 == 1) {
            // An update of the table's size. Small ones are one byte, others say so by five ones.
            let length =
                if block[0] & 0x1f == 0x1f { 1 + block[1..].iter().take_while(|b| **b >= 128).count() + 1 } else { 1 };
            block = &block[length..];
        }
        let indexed = [200, 204, 206, 304, 400, 404, 500];
        match *block.first()? {
            index @ 0x88..=0x8e => Some(indexed[usize::from(index - 0x88)]),
            0x48 | 0x08 | 0x18 => {
                let length = usize::from(block.get(1)? & 0x7f);
                let text = block.get(2..2 + length)?;
                if block[1] < 128 { std::str::from_utf8(text).ok()?.parse().ok() } else { huffman_digits(text) }
            }
            _ => None,
        }
    }
}

/// Fields as HPACK literals, neither indexed nor compressed (RFC 7541 §6.2.2).
pub fn field_block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, 0, 127, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An HPACK integer behind a prefix (RFC 7541 §5.1).
pub fn push_length(block: &mut Vec<u8>, flags: u8, prefix: usize, mut value: usize) {
    if value < prefix {
        block.push(flags | value as u8);
        return;
    }
    block.push(flags | prefix as u8);
    value -= prefix;
    while value >= 128 {
        block.push((value % 128) as u8 | 128);
        value /= 128;
    }
    block.push(value as u8);
}

/// Digits have codes of five bits, `00000` to `00010`, or six, `011001` to `011111` (RFC 7541, appendix B).
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = bytes.len() * 8;
    let mut number = 0u16;
    for _ in 0..3 {
        let five = (bits >> left.checked_sub(5)?) & 0x1f;
        let digit = if five <= 2 {
            left -= 5;
            five
        } else {
            left = left.checked_sub(6)?;
            ((bits >> left) & 0x3f).checked_sub(0x19)? + 3
        };
        number = number * 10 + u16::try_from(digit).ok()?;
    }
    Some(number)
}

/// One end of an HTTP/2 connection, without any opinion on what may be sent.
pub struct RawHttp2 {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
}

impl RawHttp2 {
    /// Connects as a client, by prior knowledge, and sends `settings`.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut connection = Self::over(connect_raw(address).await);
        connection.send_bytes(PREFACE).await.unwrap();
        connection.send(&RawFrame::settings(settings)).await.unwrap();
        connection
    }

    /// On a connection that stands already.
    pub fn over(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &RawFrame) -> std::io::Result<()> {
        self.send_bytes(&frame.to_bytes()).await
    }

    /// Sends bytes.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.writer.write_all(bytes).await
    }

    /// Fills `bytes`, which are no frame.
    pub async fn read_bytes(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read_exact(bytes).await
    }

    /// The next frame; `None` at the end, by whatever it came.
    pub async fn read(&mut self) -> Option<RawFrame> {
        tokio::time::timeout(LIMIT, read_frame(&mut self.reader)).await.expect("a frame, or the end")
    }

    /// The next frame, however long it takes.
    pub async fn read_for_ever(&mut self) -> Option<RawFrame> {
        read_frame(&mut self.reader).await
    }

    /// The next frame that is `wanted`.
    pub async fn read_until(&mut self, wanted: impl Fn(&RawFrame) -> bool) -> Option<RawFrame> {
        loop {
            let frame = self.read().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Sends `bytes` again and again while it reads, until the other side ends the connection or `count` times are
    /// done. Returns how often they went out whole, and the last GOAWAY.
    pub async fn flood(self, bytes: &[u8], count: usize) -> (usize, Option<RawFrame>) {
        let Self { mut reader, mut writer } = self;
        let reading = tokio::spawn(async move {
            let mut last = None;
            while let Some(frame) = read_frame(&mut reader).await {
                if frame.kind == kind::GOAWAY {
                    last = Some(frame);
                }
            }
            last
        });
        let mut sent = 0;
        while sent < count && writer.write_all(bytes).await.is_ok() {
            sent += 1;
        }
        if sent == count {
            // Dropping the writer ends the connection in order, if the other side has not.
            let _ = writer.shutdown().await;
        }
        let goaway = tokio::time::timeout(LIMIT, reading).await.expect("the connection ends").unwrap();
        (sent, goaway)
    }

    /// Its two halves.
    pub fn into_parts(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        (self.reader, self.writer)
    }
}

async fn read_frame(reader: &mut OwnedReadHalf) -> Option<RawFrame> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Some(RawFrame { kind: head[3], flags: head[4], stream, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        for (block, status) in [
            (&[0x88][..], 200),
            (&[0x3f, 0xe1, 0x1f, 0x8c], 400),
            (&[0x48, 3, b'6', b'0', b'1'], 601),
            // RFC 7541 C.6.1 and C.6.2.
            (&[0x48, 0x82, 0x64, 0x02], 302),
            (&[0x48, 0x83, 0x64, 0x0e, 0xff], 307),
        ] {
            assert_eq!(RawFrame::new(kind::HEADERS, 4, 1, block).status(), Some(status));
        }
    }
}
