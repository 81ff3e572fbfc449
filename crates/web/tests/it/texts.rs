//! Texts of strangers on the site's pages: whatever they are, a page has the elements and attributes that it has with
//! harmless ones.

use std::sync::Arc;
use std::time::Duration;

use model::printing::{Camera, Phase, PrinterState, Temperature};
use model::{AccountId, LiveId, PrinterId, Secret};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use roxmltree::Node;
use store::{AgentSeen, AppIdentity, EmailAddress, LiveEnd, Name, NewPairing, NewSession, RegisteredApp, Role};
use web::{SignUp, SiteSettings};

use crate::world::{Browser, PlayedAgent, World, address, now, with_document};

/// What has broken out of pages elsewhere.
const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><script>alert(1)</script>",
    "'><img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "' onfocus='alert(1)' autofocus='",
    "</title><svg onload=alert(1)>",
    "</textarea></pre></style><b>",
    "<!-- -->",
    "-->",
    "]]>",
    "<![CDATA[",
    "<!DOCTYPE html>",
    "<?xml version='1.0'?>",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "&amp;lt;b&amp;gt;",
    "&quot; onload=&quot;x",
    "&unknown;",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "//evil.example",
    "{{ layout.form_token }}",
    "{% include \"x\" %}",
    "${alert(1)}",
    "`alert(1)`",
    "a=b&c=d?e#f%22%3E",
    "\\\"><\\",
    "\u{202e}gpj.exe",
    "\u{2028}\u{2029}\u{85}",
    "＜script＞",
    "\u{fffd}\u{200d}\u{feff}",
    "<hx-partial hx-target=\"#live\">",
    "x\" hx-get=\"/settings\" hx-trigger=\"load",
    "<a\u{0}href=x>",
    "+ADw-script+AD4-",
];

#[test]
fn hostile_texts_stay_texts() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let harmless = runtime.block_on(pages_with("harmless"));
    assert!(harmless.len() > 20);
    for (path, page) in &harmless {
        assert!(page.shows, "{path} does not show the text, so that nothing is tested by it");
    }
    let check = |text: &str| {
        let pages = runtime.block_on(pages_with(text));
        for ((path, page), (_, expected)) in pages.iter().zip(&harmless) {
            assert_eq!(page.structure, expected.structure, "{path} with {text:?}");
        }
    };
    HOSTILE.iter().for_each(|text| check(text));
    let parts = prop_oneof![
        3 => proptest::sample::select(HOSTILE).prop_map(str::to_owned),
        2 => "[<>\"'&=/ a-z{}%;#!?-]{1,24}",
        1 => "\\PC{1,24}",
        1 => any::<String>().prop_map(|text| text.chars().take(24).collect()),
    ];
    let texts = proptest::collection::vec(parts, 1..3).prop_map(|parts| parts.concat());
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&texts, |text| {
        check(&text);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

struct Page {
    structure: Vec<String>,
    /// Whether the text is on it.
    shows: bool,
}

/// Everything of the site that shows texts of strangers, each with the same one.
async fn pages_with(text: &str) -> Vec<(String, Page)> {
    let settings = SiteSettings { sign_up: SignUp::Open, ..SiteSettings::default() };
    let stage = Stage::set(World::with(settings, "http").await, text).await;
    let mut pages = Vec::new();
    let (_, mut owner) = stage.world.signed_in(&stage.account).await;
    let (_, mut guest) = stage.world.signed_in(&stage.guest).await;
    let mut stranger = stage.world.browser();
    let (printer, live, ended) = (&stage.printer, &stage.live, &stage.ended);
    for path in [
        "/printers".to_owned(),
        "/printers/events".to_owned(),
        format!("/view/{printer}"),
        format!("/printers/{printer}/events"),
        format!("/printers/{printer}/settings"),
        format!("/link?code={}", stage.code),
        "/shares".to_owned(),
        format!("/shares?printer={printer}"),
        "/settings".to_owned(),
        "/settings/log".to_owned(),
        "/admin".to_owned(),
        "/admin/accounts".to_owned(),
        "/admin/invitations".to_owned(),
        "/appportal/v1?appId=registered".to_owned(),
        format!("/appportal/v1?appId=registered&printerId={printer}"),
        format!("/appportal/v1?appId={}&printerId={printer}", stage.encoded),
        format!("/appportal/v1?appId={}&printerId=unknown", stage.encoded),
        "/appportal/v1/nosupporterperks?appId=registered".to_owned(),
    ] {
        pages.push((path.clone(), look(&stage, &mut owner, &path).await));
    }
    let join = format!("/printers/join?token={}", stage.join.expose());
    pages.push(("/printers/join".to_owned(), look(&stage, &mut guest, &join).await));
    for path in [
        format!("/live/{live}"),
        format!("/live/{live}/events"),
        format!("/live/{ended}"),
        format!("/appportal/v1?appId={}", stage.encoded),
    ] {
        pages.push((path.clone(), look(&stage, &mut stranger, &path).await));
    }
    // Forms that repeat what was typed.
    let email = format!("{}@", stage.text);
    for (path, fields) in [
        ("/sign-in", [("email", stage.text.as_str()), ("password", "wrong horse")]),
        ("/sign-up", [("email", email.as_str()), ("password", "correct horse battery")]),
    ] {
        let answer = stage.world.browser().post(path, &fields).await;
        pages.push((format!("POST {path}"), page(&stage, &answer.text())));
    }
    let invited = format!("i{}@example.org", stage.local);
    let fields = [("email", invited.as_str()), ("role", "viewer")];
    let answer = owner.post(&format!("/printers/{printer}/invite"), &fields).await;
    pages.push(("POST invite".to_owned(), page(&stage, &answer.text())));
    let long = "x".repeat(101);
    let answer = owner.post("/link", &[("code", &stage.code), ("name", &long), ("answer", "link")]).await;
    pages.push(("POST /link".to_owned(), page(&stage, &answer.text())));
    let answer = owner.post("/shares/live", &[("printer", printer.as_str()), ("until", "24")]).await;
    pages.push(("POST /shares/live".to_owned(), page(&stage, &answer.text())));
    pages
}

async fn look(stage: &Stage, browser: &mut Browser<'_>, path: &str) -> Page {
    let answer = browser.get(path).await;
    assert!(answer.status.as_u16() == 200, "{path} is answered {}: {}", answer.status, answer.text());
    let text = answer.text();
    if answer.header("content-type").starts_with("text/event-stream") {
        // The lines of the first event, as a browser puts them together.
        let event = text.split("\n\n").next().unwrap_or_default();
        let lines: Vec<&str> = event.lines().map(|line| line.strip_prefix("data:").expect("data alone")).collect();
        return page(stage, &format!("<main>{}</main>", lines.join("\n")));
    }
    page(stage, &text)
}

fn page(stage: &Stage, text: &str) -> Page {
    let shown = [stage.text.as_str(), stage.local.as_str()];
    with_document(text, |document| Page {
        structure: document.descendants().filter(Node::is_element).map(|node| element(&node)).collect(),
        shows: document.descendants().any(|node| {
            let texts = node.attributes().map(|attribute| attribute.value()).chain(node.text());
            texts.into_iter().any(|text| shown.iter().any(|shown| text.contains(shown)))
        }),
    })
}

/// An element's name and attributes, with the values of those that a browser does something by.
fn element(node: &Node<'_, '_>) -> String {
    let mut attributes: Vec<String> = node
        .attributes()
        .map(|attribute| {
            let (name, value) = (attribute.name(), attribute.value());
            match name {
                "type" | "class" | "method" | "rel" | "for" | "name" | "hx-swap" | "hx-trigger" | "hx-config" => {
                    format!("{name}={value}")
                }
                "href" | "src" | "action" | "data-stream" | "data-refresh" | "hx-get" | "hx-target" => {
                    let kind = value.find(|c: char| !c.is_ascii_alphanumeric()).map_or(value, |end| &value[..=end]);
                    format!("{name}={kind}…")
                }
                _ => name.to_owned(),
            }
        })
        .collect();
    attributes.sort();
    format!("{} {}", node.tag_name().name(), attributes.join(" "))
}

/// A site on which the text is everywhere that a stranger can put it.
struct Stage {
    world: World,
    account: AccountId,
    guest: AccountId,
    printer: PrinterId,
    live: LiveId,
    ended: LiveId,
    join: Secret,
    code: String,
    text: String,
    local: String,
    encoded: String,
    _agent: Arc<PlayedAgent>,
}

impl Stage {
    async fn set(world: World, text: &str) -> Self {
        // What the service takes out of every text at its door.
        let text: String = format!("x{text}").chars().filter(|c| !c.is_control()).take(60).collect();
        let text = text.trim().to_owned();
        let name: Name = text.parse().expect("a name");
        // Cut to what a form may send, too.
        let local: String = text.to_lowercase().chars().filter(|c| !c.is_whitespace() && *c != '@').take(50).collect();
        let email: EmailAddress = format!("{local}@example.org").parse().expect("an address");
        let store = &world.store;
        // Lists are in the order of their rows' making, whatever the clock's steps.
        let earlier = now() - Duration::from_secs(10);
        let account = store.add_account(&email, None, None, earlier).await.expect("an account");
        store.set_admin(&email, true, now()).await.expect("an account");
        let guest = world.account("guest@example.org", None).await;
        let printer = store.add_printer(&email, &name, now()).await.expect("a printer").id;
        let seen = AgentSeen {
            agent_version: text.clone(),
            software: text.clone(),
            software_version: text.clone(),
            lan_ip: text.clone(),
        };
        store.record_agent_connected(&printer, now(), &seen).await.expect("it exists");
        let again = store.invite_member(&account, &printer, &address("guest@example.org"), Role::Owner, now()).await;
        let join = again.expect("an invitation");
        let key = Secret::generate();
        let pairing = NewPairing {
            printer: None,
            key: &key,
            host: text.clone(),
            software: text.clone(),
            software_version: text.clone(),
            agent_version: text.clone(),
            lan_ip: text.clone(),
            address: None,
        };
        let code = store.start_pairing(pairing, now()).await.expect("a code").as_str().to_owned();
        let lifetime = Duration::from_secs(3600);
        let session = NewSession { user_agent: text.clone(), address: None, lifetime };
        store.create_session(&account, session, earlier).await.expect("a session");
        let app = AppIdentity { app_id: Some(text.chars().take(16).collect()), name: name.clone() };
        store.create_app_connection_of(&account, &printer, &app, None, now()).await.expect("a connection");
        let registered = RegisteredApp {
            id: "registered".to_owned(),
            name: name.clone(),
            return_patterns: vec!["https://app.example/*".to_owned()],
            created_at: now(),
        };
        store.put_app(registered).await.expect("an app");
        store.add_passkey(&account, b"id", &name, "{}".to_owned(), now()).await.expect("a passkey");
        store.link_identity(&account, &text, &text, now()).await.expect("an identity");
        let event = store::AuditEvent {
            kind: store::AuditKind::SignIn,
            printer: Some(printer.clone()),
            subject: text.clone(),
            address: None,
        };
        store.audit(&account, event, now()).await.expect("it is noted");
        let invitation = Some(&email);
        let purpose = store::TokenPurpose::Invitation;
        store.issue_token(purpose, None, invitation, None, lifetime, now()).await.expect("an invitation");
        let end = LiveEnd::At(now() + lifetime);
        let live = store.create_live_link(&account, &printer, end, None, earlier).await.expect("a link");
        let end = LiveEnd::WithPrint { print_id: "print1".to_owned() };
        let ended = store.create_live_link(&account, &printer, end, None, now()).await.expect("a link");
        let result = serde_json::json!({"state": text, "file": text, "progress": 1, "duration": text}).to_string();
        store.end_live_link(&ended, Some(result), None, now()).await.expect("it exists");
        let agent = PlayedAgent::connect(&world, &printer, printing(&text));
        agent.status.lock().problem.clone_from(&text);
        let app_id: String = text.chars().take(16).collect();
        let encoded = url::form_urlencoded::byte_serialize(app_id.as_bytes()).collect();
        Self { account, guest, printer, live, ended, join, code, local, encoded, _agent: agent, world, text }
    }
}

fn printing(text: &str) -> PrinterState {
    let camera = |name: &str| Camera { name: name.to_owned(), ..Camera::default() };
    PrinterState {
        phase: Phase::Printing,
        file: Some(text.to_owned()),
        print_id: Some("print1".to_owned()),
        progress: Some(40.0),
        seconds_printing: Some(60),
        temperatures: vec![Temperature { name: text.to_owned(), actual: 1.0, target: 2.0 }],
        message: Some(text.to_owned()),
        cameras: vec![camera(text), camera("second")],
        problem: Some(text.to_owned()),
        ..PrinterState::default()
    }
}
