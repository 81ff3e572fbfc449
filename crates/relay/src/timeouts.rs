//! How long visitors, agents and printers may take.

use std::time::Duration;

/// Bounds on what may be held open by being slow. The defaults are for production; tests set shorter ones.
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
    /// For a response's head, from the last byte of the request.
    pub answer: AnswerTimeouts,
    /// A transfer in which no byte passes for this long has died.
    pub idle: Duration,
    /// The same for streams that may rightly be silent: events and cameras.
    pub quiet_idle: Duration,
}

impl Timeouts {
    /// Those for production.
    pub const DEFAULT: Self = Self {
        handshake: Duration::from_secs(10),
        head: Duration::from_secs(15),
        write_stall: Duration::from_secs(60),
        http2_idle: Duration::from_secs(180),
        http2_keep_alive: Duration::from_secs(20),
        first_answer: Duration::from_secs(15),
        body: Pace { grace: Duration::from_secs(30), bytes_per_second: 100 },
        answer: AnswerTimeouts {
            without_body: Duration::from_secs(25),
            after_body: Duration::from_secs(120),
            after_large_body: Duration::from_secs(600),
            command: Duration::from_secs(150),
            file_command: Duration::from_secs(600),
        },
        idle: Duration::from_secs(120),
        quiet_idle: Duration::from_secs(600),
    };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
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

/// How long a printer may take to answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerTimeouts {
    /// A request without a body. No app in the field waits longer than 30 s.
    pub without_body: Duration,
    /// A request with a body.
    pub after_body: Duration,
    /// A request with a body over [`LARGE_BODY`]: printers' software analyses an upload before it answers.
    pub after_large_body: Duration,
    /// A command: homing alone takes two minutes.
    pub command: Duration,
    /// A file that is sent or fetched by a command.
    pub file_command: Duration,
}

/// More than the body of any command.
pub const LARGE_BODY: u64 = 1024 * 1024;
