//! Passwords that people choose.

use model::Secret;
use store::{PasswordHash, PasswordRefused};

use crate::failure::PageFailure;
use crate::state::SiteState;

/// Passwords that everybody tries first. No rules about which characters a password has (NIST SP 800-63B §3.1.1.2).
const KNOWN_BAD: &str = include_str!("../../assets/known-bad-passwords.txt");

/// Hashes a new password, or says what is wrong with it.
pub(crate) async fn hash_password(
    state: &SiteState,
    password: String,
    email: &str,
) -> Result<Result<PasswordHash, &'static str>, PageFailure> {
    if is_known_bad(&password, email) {
        return Ok(Err("That password is one of the first that anybody would try. Choose another."));
    }
    let password = Secret::new(password);
    let _turn = state.attempts.hashing_turn().await?;
    let hashed = tokio::task::spawn_blocking(move || PasswordHash::create(&password))
        .await
        .map_err(|_| PageFailure::Internal("hashing a password broke off"))?;
    Ok(hashed.map_err(|refused| match refused {
        PasswordRefused::TooShort => "The password is too short: it needs at least 8 characters.",
        PasswordRefused::TooLong => "The password is too long.",
    }))
}

/// Whether a password is an account's. Takes as long where there is no account, or none with a password.
pub(crate) async fn verify_password(
    state: &SiteState,
    hash: Option<PasswordHash>,
    password: String,
) -> Result<bool, PageFailure> {
    let (exists, hash) = (hash.is_some(), hash.unwrap_or_else(PasswordHash::dummy));
    let password = Secret::new(password);
    let _turn = state.attempts.hashing_turn().await?;
    let is_right = tokio::task::spawn_blocking(move || hash.verify(&password))
        .await
        .map_err(|_| PageFailure::Internal("verifying a password broke off"))?;
    Ok(is_right && exists)
}

fn is_known_bad(password: &str, email: &str) -> bool {
    let password = password.to_lowercase();
    let local_part = email.split('@').next().unwrap_or_default();
    let is_own_name = password == email || (!local_part.is_empty() && password == local_part);
    let is_one_character = password.chars().next().is_some_and(|first| password.chars().all(|c| c == first));
    is_own_name || is_one_character || KNOWN_BAD.lines().any(|known| known == password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_guesses_are_no_passwords() {
        for bad in ["password", "PASSWORD1", "12345678", "qwertyuiop", "aaaaaaaaaaaa", "ada@example.org", "octoprint1"]
        {
            assert!(is_known_bad(bad, "ada@example.org"), "{bad}");
        }
        assert!(is_known_bad("ada.lovelace", "ada.lovelace@example.org"));
        for good in ["correct horse battery", "ein langer Satz", "ö-ö-ö-ö-1"] {
            assert!(!is_known_bad(good, "ada@example.org"), "{good}");
        }
    }
}
