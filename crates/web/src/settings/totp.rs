//! One-time codes of an authenticator app, switched on and off.

use std::time::{SystemTime, UNIX_EPOCH};

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use data_encoding::BASE32_NOPAD;
use model::Secret;
use serde::Deserialize;
use store::AuditKind;

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::qr::Qr;
use crate::settings::prove_again;
use crate::signed_in::SignedIn;
use crate::state::SiteState;
use crate::totp::{SECRET_LENGTH, key_uri, matching_step};

/// How many codes get somebody in who has lost the phone.
const N_RECOVERY_CODES: usize = 10;
/// 10 characters of 32 are 50 bits, tried a few times an hour.
const RECOVERY_LENGTH: usize = 10;

#[derive(Template)]
#[template(path = "settings/totp.html")]
struct SetUpPage {
    layout: Layout,
    secret: String,
    qr: Option<Qr>,
    problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "settings/recovery_codes.html")]
struct RecoveryPage {
    layout: Layout,
    title: &'static str,
    codes: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct Proof {
    #[serde(default)]
    password: String,
}

/// Draws a secret and shows it. Nothing is asked for until a code of it was typed.
pub(crate) async fn start(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Proof>,
) -> Result<Response, PageFailure> {
    if signed_in.session.account.has_totp {
        return Err(PageFailure::BadRequest("one-time codes are on already; switch them off first".to_owned()));
    }
    prove_again(&state, &signed_in, form.password).await?;
    let secret = random_bytes();
    state.store.start_totp(signed_in.account(), &secret).await?;
    Ok(show(&state, &signed_in, &secret, None))
}

#[derive(Deserialize)]
pub(crate) struct Code {
    code: String,
}

/// Switches them on, if the app shows the right code.
pub(crate) async fn confirm(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Code>,
) -> Result<Response, PageFailure> {
    let email = &signed_in.session.account.email;
    state.attempts.sign_in(email, signed_in.browser.address())?;
    let now = SystemTime::now();
    let secret = state.store.pending_totp(signed_in.account()).await?;
    let secret = secret.ok_or(PageFailure::BadRequest("start over: there is no secret to confirm".to_owned()))?;
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let Some(step) = matching_step(&secret, form.code.trim(), seconds) else {
        let problem = "That is not the code which the app shows at this moment. Check the clock of your phone.";
        return Ok(show(&state, &signed_in, &secret, Some(problem)));
    };
    let codes = new_recovery_codes();
    state.store.confirm_totp(signed_in.account(), step, &codes, now).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), AuditKind::TotpEnabled, None, "", address).await;
    Ok(show_recovery(&signed_in, "One-time codes are on", &codes))
}

/// Gives new recovery codes; the old ones are worthless from here on.
pub(crate) async fn renew_recovery(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Proof>,
) -> Result<Response, PageFailure> {
    prove_again(&state, &signed_in, form.password).await?;
    let codes = new_recovery_codes();
    state.store.replace_recovery_codes(signed_in.account(), &codes).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), AuditKind::RecoveryCodesRenewed, None, "", address).await;
    Ok(show_recovery(&signed_in, "New recovery codes", &codes))
}

fn new_recovery_codes() -> Vec<Secret> {
    (0..N_RECOVERY_CODES).map(|_| recovery_code()).collect()
}

fn show_recovery(signed_in: &SignedIn, title: &'static str, codes: &[Secret]) -> Response {
    let layout = Layout::of(&signed_in.browser);
    let codes = codes.iter().map(|code| format!("{}-{}", &code.expose()[..5], &code.expose()[5..])).collect();
    AppPage::new(&layout.clone(), RecoveryPage { layout, title, codes }).into_response()
}

pub(crate) async fn disable(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Proof>,
) -> Result<Response, PageFailure> {
    prove_again(&state, &signed_in, form.password).await?;
    state.store.disable_totp(signed_in.account()).await?;
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), AuditKind::TotpDisabled, None, "", address).await;
    Ok(Redirect::to("/settings?said=totp-off").into_response())
}

fn show(state: &SiteState, signed_in: &SignedIn, secret: &[u8], problem: Option<&'static str>) -> Response {
    let layout = Layout::of(&signed_in.browser);
    let uri = key_uri(secret, signed_in.session.account.email.as_str(), &state.names.domain.to_string());
    let page = SetUpPage { layout: layout.clone(), secret: BASE32_NOPAD.encode(secret), qr: Qr::of(&uri), problem };
    AppPage::new(&layout, page).into_response()
}

fn random_bytes() -> Vec<u8> {
    // The generator of secrets draws 190 bits; the hash spreads them over the bytes.
    use sha2::{Digest, Sha256};
    Sha256::digest(Secret::generate().expose())[..SECRET_LENGTH].to_vec()
}

/// Letters and digits without look-alikes, in upper case.
fn recovery_code() -> Secret {
    let code = BASE32_NOPAD.encode(&random_bytes());
    Secret::new(&code[..RECOVERY_LENGTH])
}
