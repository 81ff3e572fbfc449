//! Every route of the site with what it takes to reach something of the first tenant's, and who may.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, header};
use model::printing::{Camera, Phase, PrinterCommand, PrinterState, Temperature};
use model::{AccountId, Secret};
use store::{AgentSeen, AppIdentity, LiveEnd, LiveLinkSummary, NewPairing, Role, TokenPurpose};

use crate::world::{Browser, PlayedAgent, World, address, now};

/// Who gets something else than a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// Everybody, on purpose.
    Everybody,
    /// Programs with a token of their own; no cookie helps.
    Programs,
    /// Whoever is signed in, and it is about themselves.
    SignedIn,
    /// Those with at least this role on the printer.
    Viewer,
    Operator,
    Owner,
    /// The account that the thing belongs to.
    Holder,
    /// Administrators.
    Administrator,
}

/// A method, a route, who may, and the body: a form's fields, or JSON.
pub(crate) type Case = (&'static str, &'static str, Who, &'static str);

use Who::{Administrator, Everybody, Holder, Operator, Owner, Programs, SignedIn, Viewer};

/// Braces are filled in from [`Tenant::fill`].
pub(crate) const CASES: &[Case] = &[
    ("GET", "/", Everybody, ""),
    ("GET", "/setup", Everybody, ""),
    ("POST", "/setup", Everybody, "token={setup}&email=eve@example.org&password=correct horse 1"),
    ("GET", "/sign-up", Everybody, ""),
    ("POST", "/sign-up", Everybody, "token={invitation}&email=eve@example.org&password=correct horse 1"),
    ("GET", "/sign-in", Everybody, ""),
    ("POST", "/sign-in", Everybody, "email=ann@example.org&password=wrong horse 1"),
    ("GET", "/sign-in/second-factor", Everybody, ""),
    ("POST", "/sign-in/second-factor", Everybody, "code=123456"),
    ("POST", "/sign-in/passkey/start", Everybody, "{}"),
    ("POST", "/sign-in/passkey/finish", Everybody, "{}"),
    ("GET", "/sign-in/provider", Everybody, ""),
    ("GET", "/sign-in/provider/back", Everybody, ""),
    ("POST", "/sign-out", SignedIn, ""),
    ("GET", "/reset-password", Everybody, ""),
    ("POST", "/reset-password", Everybody, "email=ann@example.org"),
    ("GET", "/reset-password/set?token=x", Everybody, ""),
    ("POST", "/reset-password/set", Everybody, "token=x&password=correct horse 1"),
    ("GET", "/verify-email?token=x", Everybody, ""),
    ("GET", "/printers", SignedIn, ""),
    ("GET", "/printers/events", SignedIn, ""),
    ("POST", "/printers/tour/hide", SignedIn, ""),
    ("GET", "/printers/join?token={join}", Holder, ""),
    ("POST", "/printers/join", Holder, "token={join}"),
    ("GET", "/printers/{id}/events", Viewer, ""),
    ("GET", "/printers/{id}/temperatures.json", Viewer, ""),
    ("GET", "/printers/{id}/camera/{index}/snapshot.jpg", Viewer, ""),
    ("GET", "/printers/{id}/camera/{index}/stream", Viewer, ""),
    ("POST", "/printers/{id}/command", Operator, "command=pause"),
    ("GET", "/printers/{id}/settings", Viewer, ""),
    ("POST", "/printers/{id}/rename", Owner, "name=Stolen"),
    ("POST", "/printers/{id}/unlink", Owner, "confirm={name}"),
    ("POST", "/printers/{id}/token", Owner, ""),
    ("POST", "/printers/{id}/invite", Owner, "email=eve@example.org&role=owner"),
    ("POST", "/printers/{id}/members/remove", Owner, "account={member}"),
    ("GET", "/view/{printer}", Viewer, ""),
    ("GET", "/link?code={code}", SignedIn, ""),
    ("POST", "/link", SignedIn, "code={code}&name=Mine&answer=link"),
    ("GET", "/open/{label}", Operator, ""),
    ("GET", "/shares", SignedIn, ""),
    ("POST", "/shares/live", Owner, "printer={id}&until=24"),
    ("POST", "/shares/shared", Owner, "printer={id}&password=&days="),
    ("POST", "/shares/apps", Owner, "printer={id}&name=Mine&days="),
    ("GET", "/shares/live/{live}", Holder, ""),
    ("POST", "/shares/live/{live}/revoke", Holder, ""),
    ("GET", "/shares/connections/{shared}", Holder, ""),
    ("POST", "/shares/connections/{connection}/revoke", Holder, ""),
    ("POST", "/shares/connections/{connection}/full-control", Holder, "allow=yes"),
    ("GET", "/live/{live}", Everybody, ""),
    ("GET", "/live/{live}/events", Everybody, ""),
    ("GET", "/live/{live}/camera/{index}", Everybody, ""),
    ("GET", "/live/{live}/picture.jpg", Everybody, ""),
    ("GET", "/l/{live}", Everybody, ""),
    ("GET", "/settings", SignedIn, ""),
    ("GET", "/settings/log", SignedIn, ""),
    ("POST", "/settings/password", SignedIn, "current=&new=correct horse 1"),
    ("POST", "/settings/verify-email", SignedIn, ""),
    ("POST", "/settings/sessions/end", Holder, "session={session}"),
    ("POST", "/settings/passkeys/start", SignedIn, "{}"),
    ("POST", "/settings/passkeys/finish", SignedIn, "{}"),
    ("POST", "/settings/passkeys/remove", Holder, "id={passkey}"),
    ("POST", "/settings/totp/start", SignedIn, ""),
    ("POST", "/settings/totp/confirm", SignedIn, "code=123456"),
    ("POST", "/settings/totp/off", SignedIn, ""),
    ("POST", "/settings/totp/recovery", SignedIn, ""),
    ("POST", "/settings/provider/link", SignedIn, ""),
    ("POST", "/settings/provider/unlink", Holder, "issuer=https://id.example&subject=annsubject"),
    ("POST", "/settings/export", SignedIn, ""),
    ("POST", "/settings/delete", SignedIn, "confirm=ann@example.org"),
    ("GET", "/admin", Administrator, ""),
    ("GET", "/admin/accounts", Administrator, ""),
    ("POST", "/admin/accounts/plan", Administrator, "email=ann@example.org&plan=unlimited"),
    ("POST", "/admin/accounts/administrator", Administrator, "email=bob@example.org&administrator=true"),
    ("POST", "/admin/accounts/delete", Administrator, "email=vera@example.org&confirm=vera@example.org"),
    ("GET", "/admin/invitations", Administrator, ""),
    ("POST", "/admin/invitations", Administrator, "email=eve@example.org"),
    ("POST", "/admin/invitations/withdraw", Administrator, "id={invitation_id}"),
    ("GET", "/admin/plans", Administrator, ""),
    ("POST", "/admin/plans", Administrator, "name=made&upload=1"),
    ("GET", "/admin/beta", Administrator, ""),
    ("POST", "/admin/beta", Administrator, "email=ann@example.org&feature=gadget-api&action=grant"),
    ("GET", "/errors", Everybody, ""),
    ("GET", "/errors/{code}", Everybody, ""),
    ("GET", "/healthz", Everybody, ""),
    ("GET", "/readyz", Everybody, ""),
    ("GET", "/api/agent/pairing", Programs, ""),
    ("POST", "/api/agent/pairing", Programs, "{}"),
    ("GET", "/api/appconnection/info", Programs, ""),
    ("POST", "/api/live/createfromappconnection", Programs, "{}"),
    ("POST", "/api/gadget/getstatusfromappconnection", Programs, "{}"),
    ("POST", "/api/appconnection/setnotificationwebhook", Programs, "{}"),
    ("POST", "/api/appconnection/deletenotificationwebhook", Programs, "{}"),
    ("GET", "/api/appconnection/testwebhook", Programs, ""),
    ("GET", "/api/openapi.json", Everybody, ""),
    ("POST", "/api/printernotifications/printerevent", Programs, "PrinterId={id}&OctoKey=x&Event=started"),
    ("POST", "/api/gadget/inspect", Programs, "PrinterId={id}&OctoKey=x&Event=inspect"),
    ("GET", "/api/plugin/ping", Everybody, ""),
    ("GET", "/api/nginx-direct/ping/", Everybody, ""),
    ("POST", "/api/printer/info", Everybody, "{\"Id\":\"x\"}"),
    ("POST", "/api/shortcode/create", Everybody, "{\"Type\":1,\"PrinterId\":\"x\"}"),
    ("POST", "/api/stats/v2/telemetryaccumulator", Everybody, "{\"Name\":\"x\",\"Value\":1}"),
    ("POST", "/api/plugin/sentryconfig", Everybody, "{}"),
    ("POST", "/api/plugin/checkin", Everybody, "{}"),
    ("OPTIONS", "/api/plugin/checkin", Everybody, ""),
    ("GET", "/api/util/date", Everybody, ""),
    ("GET", "/code", Everybody, ""),
    ("GET", "/getstarted?printerid={id}", Everybody, ""),
    ("GET", "/pluginupdate", Everybody, ""),
    ("GET", "/support", Everybody, ""),
    ("GET", "/s/{topic}", Everybody, ""),
    ("GET", "/plugin/connectioncheck", Everybody, ""),
    ("GET", "/developers", Everybody, ""),
    ("POST", "/developers/try", Everybody, "token=x"),
    ("GET", "/developers/api", Everybody, ""),
    ("GET", "/appportal/v1?appId=x&printerId={id}", Everybody, ""),
    ("GET", "/appportal/v1/", Everybody, ""),
    (
        "POST",
        "/appportal/v1/decision",
        Owner,
        "app_id=x&return_url=&printer_id={id}&logo_url=&key_name=&decision=allow&trust=yes",
    ),
    ("GET", "/appportal/v1/complete", Everybody, ""),
    ("GET", "/appportal/v1/nosupporterperks", Everybody, ""),
    ("GET", "/appportal/logo/x", SignedIn, ""),
];

/// The path of a case as its route has it: without the query, with every filled-in part of any name.
pub(crate) fn route_of(case: &Case) -> (String, String) {
    (case.0.to_owned(), nameless(case.1.split('?').next().unwrap_or_default()))
}

fn nameless(path: &str) -> String {
    // `/appportal/logo/x` has an id that belongs to nobody.
    let path = path.replace("/logo/x", "/logo/{id}");
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

/// All routes of the source, wherever in it they are, and how many have no path in the source.
pub(crate) fn routes_of_the_source() -> (BTreeSet<(String, String)>, usize) {
    let (mut routes, mut n_unnamed) = (BTreeSet::new(), 0);
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the source is there") {
            let path = entry.expect("the source can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("the source is text");
                for call in text.split(".route(").skip(1) {
                    match read_route(call) {
                        Some((path, methods)) => {
                            routes.extend(methods.into_iter().map(|method| (method, nameless(path))));
                        }
                        None => n_unnamed += 1,
                    }
                }
            }
        }
    }
    (routes, n_unnamed)
}

fn read_route(call: &str) -> Option<(&str, Vec<String>)> {
    let mut depth = 1;
    let end = call.find(|c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    let (path, handlers) = call.get(..end)?.trim_start().strip_prefix('"')?.split_once('"')?;
    let known = ["get", "post", "put", "patch", "delete", "any", "on", "head", "options"];
    let is_called = |method: &&str| {
        handlers.match_indices(&format!("{method}(")).any(|(at, _)| !handlers[..at].ends_with(char::is_alphanumeric))
    };
    Some((path, known.into_iter().filter(is_called).map(str::to_ascii_uppercase).collect()))
}

/// The first tenant and all that is hers.
pub(crate) struct Tenant {
    pub(crate) ann: AccountId,
    pub(crate) other: AccountId,
    pub(crate) viewer: AccountId,
    values: Vec<(&'static str, String)>,
    /// Nobody else sees these.
    pub(crate) secrets: Vec<String>,
    /// Her printer's viewers see these, and nobody else.
    pub(crate) shown_to_viewers: Vec<String>,
}

impl Tenant {
    pub(crate) async fn settle(world: &World) -> Self {
        let store = &world.store;
        // The setup link works as long as there is no administrator.
        let hour = Duration::from_secs(3600);
        let setup = store.issue_token(TokenPurpose::Setup, None, None, None, hour, now()).await.expect("a token");
        let ann = world.account("ann@example.org", None).await;
        store.set_admin(&address("ann@example.org"), true, now()).await.expect("an account");
        let other = world.account("bob@example.org", None).await;
        world.printer("bob@example.org", "Bobs printer").await;
        let viewer = world.account("vera@example.org", None).await;
        let printer = world.printer("ann@example.org", "Anns Voron").await;
        let seen = AgentSeen {
            agent_version: "9.8.7".to_owned(),
            software: "moonraker".to_owned(),
            software_version: "6.5.4".to_owned(),
            lan_ip: "192.168.77.20".to_owned(),
        };
        store.record_agent_connected(&printer, now(), &seen).await.expect("the printer exists");
        let vera = address("vera@example.org");
        let invited = store.invite_member(&ann, &printer, &vera, Role::Viewer, now()).await.expect("an invitation");
        store.accept_printer_invitation(&viewer, &invited, now()).await.expect("it is hers").expect("it is valid");
        let olga = world.account("olga@example.org", None).await;
        let email = address("olga@example.org");
        let invited = store.invite_member(&ann, &printer, &email, Role::Operator, now()).await.expect("an invitation");
        store.accept_printer_invitation(&olga, &invited, now()).await.expect("it is hers").expect("it is valid");
        let carol = address("carol@example.org");
        let join = store.invite_member(&ann, &printer, &carol, Role::Operator, now()).await.expect("an invitation");
        let none = LiveEnd::At(now() + hour);
        let live = store.create_live_link(&ann, &printer, none, None, now()).await.expect("a link");
        let app = AppIdentity { app_id: Some("annsapp".to_owned()), name: "Anns app".parse().expect("a name") };
        let app = store.create_app_connection_of(&ann, &printer, &app, None, now()).await.expect("a connection");
        let shared = store.create_shared_connection_of(&ann, &printer, None, None, now()).await.expect("a connection");
        let passkey = b"anns passkey".as_slice();
        let key_name = "Anns key".parse().expect("a name");
        store.add_passkey(&ann, passkey, &key_name, "{}".to_owned(), now()).await.expect("a passkey");
        store.link_identity(&ann, "https://id.example", "annsubject", now()).await.expect("an identity");
        let (session, _) = world.signed_in(&ann).await;
        let invitation = store.issue_token(TokenPurpose::Invitation, None, None, None, hour, now()).await;
        let invitation = invitation.expect("a token");
        let invitation_id = store.invitations(now()).await.expect("a list")[0].id.to_string();
        let key = Secret::generate();
        let pairing = NewPairing {
            printer: None,
            key: &key,
            host: "raspberry".to_owned(),
            software: String::new(),
            software_version: String::new(),
            agent_version: String::new(),
            lan_ip: String::new(),
            address: None,
        };
        let code = store.start_pairing(pairing, now()).await.expect("a code").as_str().to_owned();
        let own = store.printer_of(&ann, &printer).await.expect("it is hers");
        let agent = PlayedAgent::connect(world, &printer, printing());
        *agent.snapshot.lock() = Some(bytes::Bytes::from_static(b"\xff\xd8\xff anns picture"));
        let hex = passkey.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let label = own.owner_label.to_string();
        let secrets = vec![
            "ann@example.org".to_owned(),
            ann.to_string(),
            label.clone(),
            live.to_string(),
            app.id.to_string(),
            app.label.to_string(),
            shared.id.to_string(),
            shared.label.to_string(),
            "Anns app".to_owned(),
            "Anns key".to_owned(),
            "annsubject".to_owned(),
            hex.clone(),
            session.to_string(),
        ];
        let shown_to_viewers =
            ["Anns Voron", "anns_part.gcode", "192.168.77.20", "9.8.7", "6.5.4", "anns picture", printer.as_str()];
        let values = vec![
            ("setup", setup.expose().to_owned()),
            ("invitation_id", invitation_id),
            ("invitation", invitation.expose().to_owned()),
            ("join", join.expose().to_owned()),
            ("id", printer.to_string()),
            ("printer", printer.to_string()),
            ("index", "0".to_owned()),
            ("name", "Anns Voron".to_owned()),
            ("member", olga.to_string()),
            ("code", code),
            ("label", label),
            ("live", live.to_string()),
            ("connection", app.id.to_string()),
            ("shared", shared.id.to_string()),
            ("session", session.to_string()),
            ("passkey", hex),
        ];
        let shown_to_viewers = shown_to_viewers.map(str::to_owned).to_vec();
        Self { ann, other, viewer, values, secrets, shown_to_viewers }
    }

    pub(crate) fn fill(&self, text: &str) -> String {
        self.values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// A case's request from a browser, with that browser's token or another.
    pub(crate) fn request(&self, browser: &Browser<'_>, case: &Case, token: Option<&str>) -> Request<Body> {
        let (method, path, _, body) = *case;
        let path = if path.starts_with("/errors") { "/errors/601".to_owned() } else { self.fill(path) };
        if method == "GET" {
            return browser.request(Method::GET, &path).body(Body::empty()).expect("a request");
        }
        if body.starts_with('{') && !body.contains('=') {
            let request = browser.request(Method::POST, &path).header(header::CONTENT_TYPE, "application/json");
            let request = token.iter().fold(request, |request, token| request.header("x-form-token", *token));
            return request.body(Body::from(body)).expect("a request");
        }
        let fields: Vec<(&str, String)> =
            body.split('&').filter_map(|field| field.split_once('=')).map(|(k, v)| (k, self.fill(v))).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.form(&path, token, &fields)
    }

    /// Everything that a stranger must not change.
    pub(crate) async fn snapshot(&self, world: &World) -> String {
        let (store, at) = (&world.store, std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        // That a link was opened is what strangers do with it, and it is written down after the answer.
        let export = store.export_account(&self.ann, at).await.map(|mut export| {
            export.log.retain(|event| event.kind != "share-opened");
            export
        });
        let mut text = format!("{export:#?}");
        let _ = write!(text, "{:#?}", store.account(&self.ann).await);
        let _ = write!(text, "{:#?}", store.connections_of(&self.ann, None).await);
        let links = store.live_links_of(&self.ann, None).await.map(|links| {
            let unused = |link| LiveLinkSummary { last_used_at: None, bytes_down: 0, ..link };
            links.into_iter().map(unused).collect::<Vec<_>>()
        });
        let _ = write!(text, "{links:#?}");
        let _ = write!(text, "{:#?}", store.passkeys(&self.ann).await);
        let _ = write!(text, "{:#?}", store.identities(&self.ann).await);
        let _ = write!(text, "{:#?}", store.pending_totp(&self.ann).await);
        let _ = write!(text, "{:#?}", store.plans().await.map(|plans| plans.rows.len()));
        let _ = write!(text, "{:#?}", store.beta_grants().await.map(|grants| grants.rows.len()));
        let printer = store.printers_of(&self.ann).await.expect("a list").pop();
        if let Some(printer) = printer {
            let _ = write!(text, "{:#?}", store.members(&self.ann, &printer.summary.id).await);
        }
        text
    }

    /// What only an administrator changes.
    pub(crate) async fn service_snapshot(&self, world: &World) -> String {
        let (store, at) = (&world.store, now());
        let accounts = store.accounts().await.expect("a list");
        let invitations: Vec<_> = store.invitations(at).await.expect("a list").into_iter().map(|row| row.id).collect();
        format!("{accounts:#?} {invitations:?}")
    }
}

fn printing() -> PrinterState {
    PrinterState {
        phase: Phase::Printing,
        file: Some("anns_part.gcode".to_owned()),
        print_id: Some("print1".to_owned()),
        progress: Some(40.0),
        temperatures: vec![Temperature { name: "bed".to_owned(), actual: 60.0, target: 60.0 }],
        cameras: vec![Camera { name: "Nozzle".to_owned(), ..Camera::default() }],
        commands: vec![PrinterCommand::Pause, PrinterCommand::Cancel],
        ..PrinterState::default()
    }
}
