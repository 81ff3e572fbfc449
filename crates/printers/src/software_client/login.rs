//! Signing in with HTTP digest (RFC 7616; its grandparent RFC 2069 too, which Prusa's firmware speaks).

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_auth::PasswordParams;
use http_auth::digest::{Algorithm, DigestClient};
use parking_lot::Mutex;

use crate::observe::Login;

/// A user of the software's, and the challenge that its software last gave.
pub(super) struct DigestLogin {
    login: Login,
    challenge: Mutex<Option<DigestClient>>,
}

/// What a request was signed with.
pub(super) struct Signature {
    pub(super) header: HeaderValue,
    nonce: String,
    /// How many requests the same challenge has signed, this one among them.
    count: u32,
}

impl DigestLogin {
    pub(super) fn new(login: Login) -> Self {
        Self { login, challenge: Mutex::default() }
    }

    /// Signs a request with the challenge that is known, which spares the question for another one.
    pub(super) fn sign(&self, method: &Method, path: &str) -> Option<Signature> {
        let mut challenge = self.challenge.lock();
        let client = challenge.as_mut()?;
        let question = PasswordParams {
            username: &self.login.username,
            password: self.login.password.expose(),
            uri: path,
            method: method.as_str(),
            // Only needed where the body is signed too, which no printer asks for.
            body: None,
        };
        // The count goes up with each signature, so two requests at once never share one.
        let signed = client.respond(&question).ok().and_then(|text| HeaderValue::from_str(&text).ok());
        let Some(mut header) = signed else {
            *challenge = None;
            return None;
        };
        header.set_sensitive(true);
        Some(Signature { header, nonce: client.nonce().to_owned(), count: client.nonce_count() })
    }

    /// Takes note of an answer, and signs its request anew if that may help: where it was not signed, with a challenge
    /// that has become too old, or behind a later request on another connection, which some software takes for a
    /// replay. Where the first use of a challenge is refused, the password is wrong.
    pub(super) fn sign_again(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        last: Option<&Signature>,
        method: &Method,
        path: &str,
    ) -> Option<Signature> {
        if status != StatusCode::UNAUTHORIZED {
            return None;
        }
        let fresh = challenge(headers)?;
        let may_help = last.is_none_or(|last| fresh.stale() || fresh.nonce() != last.nonce || last.count > 1);
        {
            let mut known = self.challenge.lock();
            // The count of a challenge goes on, also where it is shown once more.
            let is_known = known.as_ref().is_some_and(|known| !fresh.stale() && known.nonce() == fresh.nonce());
            if !is_known {
                *known = Some(fresh);
            }
        }
        if may_help { self.sign(method, path) } else { None }
    }
}

/// The strongest digest challenge that can be answered.
fn challenge(headers: &HeaderMap) -> Option<DigestClient> {
    let mut found: Option<DigestClient> = None;
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        // One that cannot be read says nothing against the others.
        let Ok(challenges) = value.to_str().map(http_auth::parse_challenges) else { continue };
        for challenge in challenges.unwrap_or_default() {
            let Ok(client) = DigestClient::try_from(&challenge) else { continue };
            let is_better = found.as_ref().is_none_or(|found| strength(found) < strength(&client));
            if is_better {
                found = Some(client);
            }
        }
    }
    found
}

fn strength(client: &DigestClient) -> u8 {
    match client.algorithm() {
        Algorithm::Md5 => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use model::Secret;

    use super::*;

    fn login() -> DigestLogin {
        DigestLogin::new(Login { username: "Mufasa".to_owned(), password: Secret::new("Circle of Life") })
    }

    fn headers(challenges: &[&str]) -> HeaderMap {
        let value = |text: &&str| (header::WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        challenges.iter().map(value).collect()
    }

    fn answer(login: &DigestLogin, challenges: &[&str], last: Option<&Signature>) -> Option<Signature> {
        login.sign_again(StatusCode::UNAUTHORIZED, &headers(challenges), last, &Method::GET, "/dir/index.html")
    }

    fn text(signature: &Signature) -> &str {
        signature.header.to_str().unwrap()
    }

    #[test]
    fn a_challenge_is_used_until_it_is_stale() {
        let login = login();
        assert!(login.sign(&Method::GET, "/").is_none());
        let qop = r#"Digest realm="r", nonce="n1", qop="auth", algorithm=MD5"#;
        let first = answer(&login, &[qop], None).unwrap();
        assert!(first.header.is_sensitive() && !text(&first).contains("Circle"));
        assert!(text(&first).contains("nc=00000001") && text(&first).contains(r#"nonce="n1""#), "{}", text(&first));
        // Refused at its first use: the password is wrong.
        assert!(answer(&login, &[qop], Some(&first)).is_none());
        let second = login.sign(&Method::GET, "/").unwrap();
        assert!(text(&second).contains("nc=00000002"), "{}", text(&second));
        // Later, it may have been overtaken by another request.
        let third = answer(&login, &[qop], Some(&second)).unwrap();
        assert!(text(&third).contains("nc=00000003"), "{}", text(&third));
        let stale = r#"Digest realm="r", nonce="n1", qop="auth", stale=true"#;
        assert!(answer(&login, &[stale], Some(&second)).is_some());
        let renewed = answer(&login, &[r#"Digest realm="r", nonce="n2", qop="auth""#], Some(&second)).unwrap();
        assert!(text(&renewed).contains("nc=00000001") && text(&renewed).contains(r#"nonce="n2""#));
        let ok = headers(&[qop]);
        assert!(login.sign_again(StatusCode::OK, &ok, None, &Method::GET, "/").is_none());
    }

    #[test]
    fn the_strongest_challenge_is_answered_and_garbage_none() {
        let md5 = r#"Digest realm="r", nonce="weak", qop="auth""#;
        let sha = r#"Digest realm="r", nonce="strong", qop="auth", algorithm=SHA-256"#;
        for order in [[md5, sha], [sha, md5]] {
            let signed = answer(&login(), &order, None).unwrap();
            assert!(text(&signed).contains(r#"nonce="strong""#) && text(&signed).contains("algorithm=SHA-256"));
        }
        let beside = answer(&login(), &["???", "Basic realm=\"x\"", md5], None).unwrap();
        assert!(text(&beside).contains("weak"));
        for garbage in [
            "",
            "Digest",
            "Digest realm=",
            r#"Digest nonce="n""#,
            r#"Digest realm="r", nonce="n", algorithm=SHA-1"#,
            r#"Digest realm="r", nonce="n", qop="auth-conf""#,
            "ApiKey realm=\"Printer API\"",
            "Digest realm=\"\u{e4}\", nonce=\"n\"",
        ] {
            let value = HeaderValue::from_bytes(garbage.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value)]);
            let signed = login().sign_again(StatusCode::UNAUTHORIZED, &headers, None, &Method::GET, "/");
            assert!(signed.is_none(), "{garbage}");
        }
    }

    #[test]
    fn the_firmwares_challenge_without_qop_is_answered_as_it_expects() {
        let login = DigestLogin::new(Login { username: "user".to_owned(), password: Secret::new("password") });
        let headers = headers(&[r#"Digest realm="Printer API", nonce="dcd98b7102dd2f0e", stale=false"#]);
        let signed = login.sign_again(StatusCode::UNAUTHORIZED, &headers, None, &Method::GET, "/api/version").unwrap();
        // MD5 of `HA1:nonce:HA2`, computed with another program.
        assert!(text(&signed).contains(r#"response="f6ac8e1edede5c181159cc6eef780bfb""#), "{}", text(&signed));
        assert!(!text(&signed).contains("nc=") && !text(&signed).contains("qop"));
    }
}
