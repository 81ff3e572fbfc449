//! Entry points to what reads a printer's bytes, for the fuzzers and for the replay of their corpora.

use http::HeaderMap;

use super::headers;
use crate::printer_url::PrinterUrl;

/// Changes the headers of a printer's response on its way into the tunnel.
pub fn prepare_response(headers: &mut HeaderMap, target: &PrinterUrl) {
    headers::prepare_response(headers, target);
}
