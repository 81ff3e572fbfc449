//! What people change about their own account.

pub(crate) mod account;
pub(crate) mod audit_log;
pub(crate) mod delete;
pub(crate) mod export;
pub(crate) mod passkeys;
pub(crate) mod password;
pub(crate) mod provider;
pub(crate) mod sessions;
pub(crate) mod totp;

use store::PasswordHash;

use crate::accounts::verify_password;
use crate::failure::PageFailure;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

/// Before something that could lock the owner out or give the account away, the password is asked for again. Accounts
/// without a password, such as those of another sign-in service, have to have signed in within the last minutes.
pub(crate) async fn prove_again(state: &SiteState, signed_in: &SignedIn, password: String) -> Result<(), PageFailure> {
    const FRESH: std::time::Duration = std::time::Duration::from_secs(600);
    let email = &signed_in.session.account.email;
    let hash: Option<PasswordHash> = state.store.account_for_login(email).await?.and_then(|login| login.password);
    let Some(hash) = hash else {
        let is_fresh = signed_in.session.authenticated_at.elapsed().is_ok_and(|age| age < FRESH);
        return if is_fresh {
            Ok(())
        } else {
            Err(PageFailure::Forbidden("Sign out and in again first: this needs a sign-in of the last ten minutes."))
        };
    };
    let delay = state.attempts.sign_in(email, signed_in.browser.address())?;
    tokio::time::sleep(delay).await;
    if verify_password(state, Some(hash), password).await? {
        state.attempts.signed_in(email, signed_in.browser.address());
        Ok(())
    } else {
        Err(PageFailure::Forbidden("That password is not right. Nothing was changed."))
    }
}
