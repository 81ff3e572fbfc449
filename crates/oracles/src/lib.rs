//! What must hold for everything that reads a stranger's bytes.
//!
//! Each module has one `check`: it makes an input of the bytes, gives it to the code under test, and panics if the
//! outcome is not what a second, simpler look at the input says. The fuzzers in `fuzz/` call them with bytes of their
//! own making, the test of this crate with the corpora that they left behind.
//!
//! For development only; nothing of the service or the agent uses it.

pub mod agent_messages;
pub mod authority;
pub mod configuration;
pub mod credentials;
pub mod head_guard;
pub mod http2_frames;
pub mod octo_decompress;
pub mod octo_frame;
pub mod octo_response;
pub mod octo_session;
pub mod password_page;
pub mod printer_address;
pub mod request_head;
pub mod response_head;
pub mod webcam_boundary;
pub mod websocket_frames;

mod input;

/// A check of one input.
pub type Check = fn(&[u8]);

/// All checks, by the name of their fuzz target and of their corpus.
pub const ALL: [(&str, Check); 16] = [
    ("agent_messages", agent_messages::check),
    ("authority", authority::check),
    ("configuration", configuration::check),
    ("credentials", credentials::check),
    ("head_guard", head_guard::check),
    ("http2_frames", http2_frames::check),
    ("octo_decompress", octo_decompress::check),
    ("octo_frame", octo_frame::check),
    ("octo_response", octo_response::check),
    ("octo_session", octo_session::check),
    ("password_page", password_page::check),
    ("printer_address", printer_address::check),
    ("request_head", request_head::check),
    ("response_head", response_head::check),
    ("webcam_boundary", webcam_boundary::check),
    ("websocket_frames", websocket_frames::check),
];
