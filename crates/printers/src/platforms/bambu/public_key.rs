//! The public key in a certificate.
//!
//! What reads certificates for TLS reads version 3 only, and printers' self-made ones may be of version 1.

use rustls::pki_types::SubjectPublicKeyInfoDer;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// The version, which is left out where it is 1.
const VERSION: u8 = 0xA0;
/// Longer lengths than in four bytes are no certificate's.
const MAX_LENGTH_BYTES: usize = 4;

/// The key, with its algorithm, as it stands in a certificate (RFC 5280 §4.1); `None` if there is none.
pub(super) fn of_certificate(certificate: &[u8]) -> Option<SubjectPublicKeyInfoDer<'_>> {
    let (certificate, _) = contents(certificate, SEQUENCE)?;
    let (mut rest, _) = contents(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = contents(rest, VERSION)?.1;
    }
    // Serial number; signature's algorithm, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = contents(rest, tag)?.1;
    }
    let (_, after) = contents(rest, SEQUENCE)?;
    let key = rest.get(..rest.len() - after.len())?;
    Some(SubjectPublicKeyInfoDer::from(key))
}

/// What is in a value of this tag at the beginning of `bytes`, and what stands behind it.
fn contents(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, first, rest @ ..] = bytes else { return None };
    if *found != tag {
        return None;
    }
    let (length, rest) = match usize::from(*first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let count = long - 0x80;
            if !(1..=MAX_LENGTH_BYTES).contains(&count) {
                return None;
            }
            let (digits, rest) = rest.split_at_checked(count)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    use super::*;

    fn certificate() -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["printer".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.der().to_vec(), key.subject_public_key_info())
    }

    #[test]
    fn the_key_is_found_in_both_versions() {
        let (certificate, key) = certificate();
        assert_eq!(of_certificate(&certificate).unwrap().as_ref(), key);
        // The same without the version.
        let (inner, _) = contents(&certificate, SEQUENCE).unwrap();
        let (to_be_signed, _) = contents(inner, SEQUENCE).unwrap();
        let (_, rest) = contents(to_be_signed, VERSION).unwrap();
        let wrap = |inside: &[u8]| {
            let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
            [&[SEQUENCE, 0x82, length[0], length[1]], inside].concat()
        };
        let first_version = wrap(&wrap(rest));
        assert_eq!(of_certificate(&first_version).unwrap().as_ref(), key);
        for end in 0..certificate.len() - 200 {
            assert!(of_certificate(&certificate[..end]).is_none());
        }
    }

    proptest! {
        #[test]
        fn damaged_certificates_are_refused_or_read(at in 0_usize..300, byte in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut damaged = certificate().0;
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = of_certificate(&damaged);
            let _ = of_certificate(&bytes);
        }
    }
}
