//! How long visitors and agents may take.

use std::time::Duration;

/// Bounds on what strangers may hold open by being slow. The defaults are for production; tests set shorter ones.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a TLS handshake, or the first bytes of a plain connection.
    pub handshake: Duration,
    /// For a request's head, and for the wait between two requests.
    pub head: Duration,
    /// A visitor who takes no byte for this long has gone, or holds a connection open on purpose.
    pub write_stall: Duration,
    /// An HTTP/2 connection on which no request begins for this long is closed once its streams have ended. Browsers
    /// keep idle ones for minutes and open another without anybody noticing.
    pub http2_idle: Duration,
    /// An HTTP/2 connection is asked after this long whether its other end is there, and closed after as long again
    /// without an answer.
    pub http2_keep_alive: Duration,
    /// For an agent, from the 101 to its first answer over the tunnel.
    pub first_answer: Duration,
    /// For a request's body.
    pub body: Pace,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            write_stall: Duration::from_secs(60),
            http2_idle: Duration::from_secs(180),
            http2_keep_alive: Duration::from_secs(20),
            first_answer: Duration::from_secs(15),
            body: Pace::default(),
        }
    }
}

/// How fast a body must come.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Waiting that is forgiven, so that a slow start costs nobody an upload.
    pub grace: Duration,
    /// Bytes a second over all the waiting. Any network that can load a page at all is faster.
    pub bytes_per_second: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { grace: Duration::from_secs(30), bytes_per_second: 100 }
    }
}
