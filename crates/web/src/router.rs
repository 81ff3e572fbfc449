//! Every route of the site.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::accounts::{passkey_sign_in, provider_sign_in, reset, sign_in, sign_out, sign_up};
use crate::browser::recognise;
use crate::form::refuse_foreign_origins;
use crate::printers::{camera, command, events, link, list, manage, open, pairing, view};
use crate::security_headers::add_security_headers;
use crate::shares::{create, full_control, live, live_feed, revoke, show};
use crate::state::SiteState;
use crate::{
    admin, api, assets, email_proof, error_codes, health, not_found, plugin_api, portal, settings, shares, start,
};

/// The site. It answers every path, with a page that says so where there is nothing.
pub fn router(state: SiteState) -> Router {
    let pages = accounts()
        .merge(printers())
        .merge(shares())
        .merge(own_settings())
        .merge(administration())
        .merge(portal::routes())
        .merge(api::pages())
        .merge(plugin_api::pages())
        .route("/", get(start::page))
        .layer(from_fn_with_state(state.clone(), recognise))
        .layer(from_fn_with_state(state.clone(), refuse_foreign_origins));
    let site = Router::new()
        .merge(pages)
        .merge(api::routes())
        .merge(plugin_api::routes())
        .merge(same_for_everybody())
        .merge(files())
        .fallback(not_found::page)
        .layer(from_fn_with_state(state.clone(), add_security_headers))
        .with_state(state);
    api::ignoring_case(site)
}

fn accounts() -> Router<SiteState> {
    Router::new()
        .route("/setup", get(sign_up::setup_page).post(sign_up::setup))
        .route("/sign-up", get(sign_up::page).post(sign_up::submit))
        .route("/sign-in", get(sign_in::page).post(sign_in::submit))
        .route("/sign-in/second-factor", get(sign_in::second_factor_page).post(sign_in::second_factor))
        .route("/sign-in/passkey/start", post(passkey_sign_in::start))
        .route("/sign-in/passkey/finish", post(passkey_sign_in::finish))
        .route("/sign-in/provider", get(provider_sign_in::start))
        .route("/sign-in/provider/back", get(provider_sign_in::back))
        .route("/sign-out", post(sign_out::submit))
        .route("/reset-password", get(reset::page).post(reset::submit))
        .route("/reset-password/set", get(reset::set_page).post(reset::set))
        .route("/verify-email", get(email_proof::verify))
}

fn printers() -> Router<SiteState> {
    Router::new()
        .route("/printers", get(list::page))
        .route("/printers/events", get(events::of_list))
        .route("/printers/tour/hide", post(list::hide_tour))
        .route("/printers/join", get(manage::join_page).post(manage::join))
        .route("/printers/{id}/events", get(events::of_view))
        .route("/printers/{id}/temperatures.json", get(view::temperatures))
        .route("/printers/{id}/camera/{index}/snapshot.jpg", get(camera::snapshot))
        .route("/printers/{id}/camera/{index}/stream", get(camera::stream))
        .route("/printers/{id}/command", post(command::submit))
        .route("/printers/{id}/settings", get(manage::page))
        .route("/printers/{id}/rename", post(manage::rename))
        .route("/printers/{id}/unlink", post(manage::unlink))
        .route("/printers/{id}/token", post(manage::issue_token))
        .route("/printers/{id}/invite", post(manage::invite))
        .route("/printers/{id}/members/remove", post(manage::remove_member))
        .route("/view/{name}", get(view::page))
        .route("/link", get(link::page).post(link::submit))
        .route("/open/{label}", get(open::hand_over))
}

fn shares() -> Router<SiteState> {
    Router::new()
        .route("/shares", get(shares::list::page))
        .route("/shares/live", post(create::live))
        .route("/shares/shared", post(create::shared))
        .route("/shares/apps", post(create::app))
        .route("/shares/live/{id}", get(show::live))
        .route("/shares/live/{id}/revoke", post(revoke::live))
        .route("/shares/connections/{id}", get(show::connection))
        .route("/shares/connections/{id}/revoke", post(revoke::connection))
        .route("/shares/connections/{id}/full-control", post(full_control::set))
        .route("/live/{id}", get(live::page))
        .route("/live/{id}/events", get(live_feed::events))
        .route("/live/{id}/camera/{index}", get(live::camera))
        .route("/live/{id}/picture.jpg", get(live::picture))
        .route("/l/{id}", get(live::short))
}

fn own_settings() -> Router<SiteState> {
    Router::new()
        .route("/settings", get(settings::account::page))
        .route("/settings/log", get(settings::audit_log::page))
        .route("/settings/password", post(settings::password::submit))
        .route("/settings/verify-email", post(email_proof::resend))
        .route("/settings/sessions/end", post(settings::sessions::end))
        .route("/settings/passkeys/start", post(settings::passkeys::start))
        .route("/settings/passkeys/finish", post(settings::passkeys::finish))
        .route("/settings/passkeys/remove", post(settings::passkeys::remove))
        .route("/settings/totp/start", post(settings::totp::start))
        .route("/settings/totp/confirm", post(settings::totp::confirm))
        .route("/settings/totp/off", post(settings::totp::disable))
        .route("/settings/totp/recovery", post(settings::totp::renew_recovery))
        .route("/settings/provider/link", post(provider_sign_in::link))
        .route("/settings/provider/unlink", post(settings::provider::unlink))
        .route("/settings/export", post(settings::export::submit))
        .route("/settings/delete", post(settings::delete::submit))
}

fn administration() -> Router<SiteState> {
    Router::new()
        .route("/admin", get(admin::overview::page))
        .route("/admin/accounts", get(admin::accounts::page))
        .route("/admin/accounts/plan", post(admin::accounts::set_plan))
        .route("/admin/accounts/administrator", post(admin::accounts::set_administrator))
        .route("/admin/accounts/delete", post(admin::accounts::delete))
        .route("/admin/invitations", get(admin::invitations::page).post(admin::invitations::invite))
        .route("/admin/invitations/withdraw", post(admin::invitations::withdraw))
        .route("/admin/plans", get(admin::plans::page).post(admin::plans::set))
        .route("/admin/beta", get(admin::beta::page).post(admin::beta::change))
}

/// What needs to know nothing of who asks.
fn same_for_everybody() -> Router<SiteState> {
    Router::new()
        .route("/errors", get(error_codes::list))
        .route("/errors/{code}", get(error_codes::page))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/api/agent/pairing", get(pairing::poll).post(pairing::start))
}

fn files() -> Router<SiteState> {
    assets::all()
        .into_iter()
        .fold(Router::new(), |router, asset| router.route(&asset.path, get(move || async move { asset.response() })))
}
