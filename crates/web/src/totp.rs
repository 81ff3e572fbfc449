//! One-time codes of authenticator apps (RFC 6238): six digits, thirty seconds, SHA-1, as every such app expects.

use data_encoding::BASE32_NOPAD;
use totp_rs::{Algorithm, Builder, Totp};

/// Bytes of a secret: the length of the hash (RFC 4226 §4, R6).
pub(crate) const SECRET_LENGTH: usize = 20;
/// A code is good for one step more on either side, for clocks that are a little off (RFC 6238 §5.2).
const SKEW: u16 = 1;

/// The step that a code belongs to, if it is one of the secret's at a time in seconds since 1970.
pub(crate) fn matching_step(secret: &[u8], code: &str, seconds: u64) -> Option<u64> {
    let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    if !is_code {
        return None;
    }
    totp(secret)?.check(code, seconds)
}

/// What the QR code says (the key URI format that authenticator apps read).
pub(crate) fn key_uri(secret: &[u8], email: &str, host: &str) -> String {
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let issuer = format!("Spoolway {host}");
    format!(
        "otpauth://totp/{}:{}?secret={}&issuer={}",
        encode(&issuer),
        encode(email),
        BASE32_NOPAD.encode(secret),
        encode(&issuer)
    )
}

fn totp(secret: &[u8]) -> Option<Totp> {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(SKEW)
        .with_step_duration(30)
        .with_secret(secret.to_vec())
        .build()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B; the last six digits of its eight.
    #[test]
    fn the_codes_are_those_of_the_specification() {
        let secret = b"12345678901234567890";
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924")] {
            assert_eq!(matching_step(secret, code, seconds), Some(seconds / 30));
            assert_eq!(matching_step(secret, code, seconds + 30), Some(seconds / 30));
            assert_eq!(matching_step(secret, code, seconds + 61), None);
        }
        for bad in ["", "28708", "2870822", "28708a", "287 082", "٢٨٧٠٨٢"] {
            assert_eq!(matching_step(secret, bad, 59), None, "{bad:?}");
        }
    }
}
