//! The page of settings.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use store::Role;

use crate::failure::PageFailure;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::SignedIn;
use crate::state::SiteState;
use crate::text::iso;

#[derive(Template)]
#[template(path = "settings/account.html")]
struct SettingsPage {
    layout: Layout,
    said: Option<&'static str>,
    email: String,
    is_verified: bool,
    can_mail: bool,
    has_password: bool,
    has_totp: bool,
    n_recovery_codes: u64,
    passkeys: Vec<PasskeyRow>,
    can_passkeys: bool,
    provider: Option<String>,
    identities: Vec<Identity>,
    sessions: Vec<SessionRow>,
    plan: String,
    n_printers: usize,
    passkey_script: &'static str,
}

struct PasskeyRow {
    id: String,
    name: String,
    created: String,
    last_used: Option<String>,
}

struct Identity {
    issuer: String,
    subject: String,
}

struct SessionRow {
    id: String,
    user_agent: String,
    address: String,
    created: String,
    last_seen: String,
    is_this: bool,
}

#[derive(Deserialize)]
pub(crate) struct Said {
    said: Option<String>,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Query(query): Query<Said>,
) -> Result<Response, PageFailure> {
    let account = &signed_in.session.account;
    let printers = state.store.printers_of(&account.id).await?;
    let passkeys = state.store.passkeys(&account.id).await?;
    let sessions = state.store.sessions(&account.id, std::time::SystemTime::now()).await?;
    let layout = Layout::of(&signed_in.browser);
    let page = SettingsPage {
        layout: layout.clone(),
        said: said(query.said.as_deref()),
        email: account.email.to_string(),
        is_verified: account.email_verified,
        can_mail: state.mailer.is_some(),
        has_password: account.has_password,
        has_totp: account.has_totp,
        n_recovery_codes: state.store.recovery_codes_left(&account.id).await?,
        passkeys: passkeys
            .into_iter()
            .map(|passkey| PasskeyRow {
                id: data_encoding::HEXLOWER.encode(&passkey.credential_id),
                name: passkey.name,
                created: iso(passkey.created_at),
                last_used: passkey.last_used_at.map(iso),
            })
            .collect(),
        can_passkeys: state.passkeys.is_some(),
        provider: state.oidc.as_ref().map(|provider| provider.name().to_owned()),
        identities: state
            .store
            .identities(&account.id)
            .await?
            .into_iter()
            .map(|identity| Identity { issuer: identity.issuer, subject: identity.subject })
            .collect(),
        sessions: sessions
            .into_iter()
            .map(|session| SessionRow {
                id: session.id.to_string(),
                user_agent: session.user_agent,
                address: session.address.map(|address| address.to_string()).unwrap_or_default(),
                created: iso(session.created_at),
                last_seen: iso(session.last_seen_at),
                is_this: session.id == signed_in.session.id,
            })
            .collect(),
        plan: account.plan.name.clone(),
        n_printers: printers.iter().filter(|printer| printer.role == Role::Owner).count(),
        passkey_script: &crate::assets::PASSKEY_SCRIPT.path,
    };
    let page = AppPage::new(&layout, page);
    // The form that links the other service leads there.
    Ok(match &state.oidc {
        Some(provider) => page.with_form_target(provider.origin()).into_response(),
        None => page.into_response(),
    })
}

/// What a form that led back here has done. The words are ours, never the address's.
fn said(key: Option<&str>) -> Option<&'static str> {
    Some(match key? {
        "password" => "The password is changed, and all other browsers are signed out.",
        "mail-sent" => "A mail is on its way, unless several were sent within the last minutes.",
        "email-verified" => "Your address is confirmed.",
        "sessions" => "The other browsers are signed out.",
        "totp-off" => "One-time codes are no longer asked for.",
        "passkey" => "The passkey is removed.",
        "identity" => "The other sign-in is linked.",
        "identity-off" => "The other sign-in is no longer linked.",
        _ => return None,
    })
}
