//! Live Links from their making to their end, as whoever has the address sees them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use image::{DynamicImage, ImageFormat, RgbImage};
use model::printing::{Camera, Phase, PrinterState};
use model::{AccountId, LiveId, PrinterId};
use store::LiveEnd;

use crate::api::fixture::Answer;
use crate::world::{PlayedAgent, World, address, now};

const HOUR: Duration = Duration::from_secs(3600);

struct Stage {
    world: World,
    account: AccountId,
    printer: PrinterId,
    agent: Arc<PlayedAgent>,
}

impl Stage {
    async fn set() -> Self {
        let world = World::new().await;
        let account = world.account("ann@example.org", None).await;
        let printer = world.printer("ann@example.org", "Anns Voron").await;
        let agent = PlayedAgent::connect(&world, &printer, printing());
        Self { world, account, printer, agent }
    }

    async fn link(&self, end: LiveEnd) -> LiveId {
        let made = self.world.store.create_live_link(&self.account, &self.printer, end, None, now()).await;
        made.expect("the printer is hers")
    }

    async fn get(&self, id: &LiveId, what: &str) -> Answer {
        self.world.browser().get(&format!("/live/{id}{what}")).await
    }
}

fn printing() -> PrinterState {
    PrinterState {
        phase: Phase::Printing,
        file: Some("anns_part.gcode".to_owned()),
        print_id: Some("print1".to_owned()),
        progress: Some(40.0),
        seconds_printing: Some(600),
        problem: Some("http://192.168.77.20 answers 403".to_owned()),
        cameras: vec![Camera { name: "Nozzle".to_owned(), ..Camera::default() }],
        ..PrinterState::default()
    }
}

/// A picture with something in it that is no picture.
fn picture() -> Bytes {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = DynamicImage::ImageRgb8(RgbImage::new(64, 48));
    picture.write_to(&mut bytes, ImageFormat::Jpeg).expect("it can be written");
    let mut bytes = bytes.into_inner();
    bytes.extend_from_slice(b"<script>alert('home address')</script>");
    bytes.into()
}

#[tokio::test]
async fn a_link_shows_the_printer_and_nothing_else() {
    let stage = Stage::set().await;
    *stage.agent.snapshot.lock() = Some(picture());
    let id = stage.link(LiveEnd::At(now() + HOUR)).await;
    let page = stage.get(&id, "").await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    assert!(text.contains("Anns Voron") && text.contains("anns_part.gcode"));
    for hidden in ["ann@example.org", "192.168", stage.printer.as_str(), "/open/", "action=\"/printers", "Pause"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-robots-tag"), "noindex, nofollow");
    let events = stage.get(&id, "/events").await.text();
    assert!(events.starts_with("data: ") && events.contains(&format!("/live/{id}/camera/0")), "{events}");
    assert!(!events.contains("192.168") && !events.contains(stage.printer.as_str()), "{events}");
    let camera = stage.get(&id, "/camera/0").await;
    assert_eq!(camera.status, StatusCode::OK);
    assert_eq!(camera.header("referrer-policy"), "no-referrer");
    assert_eq!(stage.get(&id, "/picture.jpg").await.status, StatusCode::NOT_FOUND);
    let short = stage.world.browser().get(&format!("/l/{id}")).await;
    assert_eq!(short.header("location"), format!("/live/{id}"));
}

#[tokio::test]
async fn links_end_by_time_and_by_their_owner() {
    let stage = Stage::set().await;
    *stage.agent.snapshot.lock() = Some(picture());
    // Made a while ago, so that its time is over by now.
    let (store, earlier) = (&stage.world.store, now() - 3 * HOUR);
    let timed = LiveEnd::At(now() - HOUR);
    let timed = store.create_live_link(&stage.account, &stage.printer, timed, None, earlier).await.expect("a link");
    let (_, mut owner) = stage.world.signed_in(&stage.account).await;
    let revoked = stage.link(LiveEnd::At(now() + HOUR)).await;
    assert_eq!(stage.get(&revoked, "").await.status, StatusCode::OK);
    let answer = owner.post(&format!("/shares/live/{revoked}/revoke"), &[]).await;
    assert_eq!(answer.header("location"), "/shares");
    for id in [&timed, &revoked] {
        let page = stage.get(id, "").await;
        assert_eq!(page.status, StatusCode::NOT_FOUND);
        assert!(!page.text().contains("Anns Voron") && !page.text().contains("anns_part"), "{}", page.text());
        for what in ["/events", "/camera/0", "/picture.jpg"] {
            assert_eq!(stage.get(id, what).await.status, StatusCode::NOT_FOUND, "{what}");
        }
    }
    assert!(stage.agent.asked.lock().is_empty(), "the camera was never asked");
}

#[tokio::test]
async fn an_ended_link_looks_like_one_that_never_was() {
    let stage = Stage::set().await;
    let ended = stage.link(LiveEnd::At(now() + HOUR)).await;
    stage.world.store.revoke_live_link(&stage.account, &ended, now()).await.expect("it is hers");
    let unlinked = stage.link(LiveEnd::WithPrint { print_id: "print1".to_owned() }).await;
    stage.world.store.revoke_live_link(&stage.account, &unlinked, now()).await.expect("it is hers");
    let never = LiveId::generate();
    for what in ["", "/events", "/camera/0", "/picture.jpg"] {
        let mut answers = Vec::new();
        for id in [&ended, &unlinked, &never] {
            let answer = stage.get(id, what).await;
            let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            answers.push((answer.status, names, without_the_unique(&answer, id)));
        }
        assert_eq!(answers[0], answers[2], "{what}");
        assert_eq!(answers[1], answers[2], "{what}");
    }
}

/// The text without nonce, form token and id.
fn without_the_unique(answer: &Answer, id: &LiveId) -> String {
    let text = answer.text().replace(&id.to_string(), "ID");
    ["nonce=\"", "name=\"form_token\" value=\""].iter().fold(text, |text, mark| {
        let mut parts = text.split(mark);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + mark + part.split_once('"').map_or(part, |(_, rest)| rest))
    })
}

#[tokio::test]
async fn a_link_ends_with_its_print_and_keeps_the_result() {
    let stage = Stage::set().await;
    *stage.agent.snapshot.lock() = Some(picture());
    let watch = tokio::spawn(web::watch_prints(stage.world.state.clone()));
    let (_, mut owner) = stage.world.signed_in(&stage.account).await;
    let fields = [("printer", stage.printer.as_str()), ("until", "print")];
    let made = owner.post("/shares/live", &fields).await.text();
    let id: LiveId = made
        .split("/live/")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next())
        .and_then(|id| id.parse().ok())
        .expect("a link");
    let timed = stage.link(LiveEnd::At(now() + HOUR)).await;

    // A pause is no end.
    for phase in [Phase::Paused, Phase::Resuming, Phase::Printing, Phase::Unknown] {
        say(&stage, PrinterState { phase, ..printing() }).await;
        assert_eq!(stage.world.store.live_link(&id).await.expect("an answer").expect("it exists").ended_at, None);
    }
    say(&stage, PrinterState { phase: Phase::Complete, progress: Some(100.0), ..printing() }).await;
    until_ended(&stage, &id).await;
    watch.abort();

    // The next print is nobody's business.
    let next =
        PrinterState { file: Some("secret.gcode".to_owned()), print_id: Some("print2".to_owned()), ..printing() };
    *stage.agent.state.lock() = Some(next);
    let page = stage.get(&id, "").await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    for shown in ["Anns Voron", "Print complete", "anns_part.gcode", "100 %", "10 min"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("secret") && !text.contains("192.168"), "{text}");
    assert_eq!(stage.get(&id, "/camera/0").await.status, StatusCode::NOT_FOUND);
    assert_eq!(stage.get(&id, "/events").await.status, StatusCode::NOT_FOUND);

    let kept = stage.get(&id, "/picture.jpg").await;
    assert_eq!((kept.status, kept.header("content-type")), (StatusCode::OK, "image/jpeg"));
    assert_eq!(kept.header("content-security-policy"), "default-src 'none'; sandbox");
    assert!(!kept.text().contains("script"), "only pixels are kept");
    let decoded = image::load_from_memory_with_format(&kept.body, ImageFormat::Jpeg).expect("a JPEG");
    assert_eq!((decoded.width(), decoded.height()), (64, 48));
    assert_eq!(stage.get(&timed, "").await.status, StatusCode::OK, "a link with a time goes on");
}

#[tokio::test]
async fn what_the_camera_calls_a_picture_is_not_kept_unread() {
    let stage = Stage::set().await;
    *stage.agent.snapshot.lock() = Some(Bytes::from_static(b"\xff\xd8\xff<script>alert(1)</script>"));
    let watch = tokio::spawn(web::watch_prints(stage.world.state.clone()));
    let id = stage.link(LiveEnd::WithPrint { print_id: "print1".to_owned() }).await;
    // Another print has begun before anybody saw the end of the first.
    let next =
        PrinterState { file: Some("secret.gcode".to_owned()), print_id: Some("print2".to_owned()), ..printing() };
    say(&stage, next).await;
    until_ended(&stage, &id).await;
    watch.abort();
    assert_eq!(stage.get(&id, "/picture.jpg").await.status, StatusCode::NOT_FOUND);
    let text = stage.get(&id, "").await.text();
    assert!(
        text.contains("The print has ended") && !text.contains("secret") && !text.contains("picture.jpg"),
        "{text}"
    );
}

#[tokio::test]
async fn links_are_made_within_limits_and_for_what_prints() {
    let stage = Stage::set().await;
    let (_, mut owner) = stage.world.signed_in(&stage.account).await;
    let printer = stage.printer.to_string();
    for until in ["0", "-1", "17521", "1.5", "", "forever", "99999999999999999999"] {
        let answer = owner.post("/shares/live", &[("printer", &printer), ("until", until)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{until:?}");
    }
    for days in ["0", "-1", "3651", "x"] {
        let answer = owner.post("/shares/shared", &[("printer", &printer), ("days", days)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{days:?}");
    }
    let short = owner.post("/shares/shared", &[("printer", &printer), ("password", "short")]).await;
    assert_eq!(short.status, StatusCode::BAD_REQUEST);
    *stage.agent.state.lock() = Some(PrinterState { phase: Phase::Idle, ..PrinterState::default() });
    let answer = owner.post("/shares/live", &[("printer", &printer), ("until", "print")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(stage.world.store.live_links_of(&stage.account, None).await.expect("a list").is_empty());
    assert!(stage.world.store.connections_of(&stage.account, None).await.expect("a list").is_empty());
    // A made link's page has a code to photograph.
    let made = owner.post("/shares/shared", &[("printer", &printer), ("password", "a good one"), ("days", "7")]).await;
    assert!(made.text().contains("<svg") && made.text().contains("http://shared-"), "{}", made.text());
    assert!(!made.text().contains("a good one"));
}

#[tokio::test]
async fn a_link_can_be_shown_again_with_its_code_to_photograph() {
    let stage = Stage::set().await;
    let (_, mut owner) = stage.world.signed_in(&stage.account).await;
    let live = stage.link(LiveEnd::At(now() + HOUR)).await;
    let page = owner.get(&format!("/shares/live/{live}")).await;
    assert!(page.text().contains("<svg") && page.text().contains(&format!("/l/{live}")), "{}", page.text());
    owner.post("/shares/shared", &[("printer", stage.printer.as_str()), ("password", ""), ("days", "")]).await;
    owner.post("/shares/apps", &[("printer", stage.printer.as_str()), ("name", "Script"), ("days", "")]).await;
    let connections = stage.world.store.connections_of(&stage.account, None).await.expect("a list");
    for connection in connections {
        let page = owner.get(&format!("/shares/connections/{}", connection.id)).await;
        // An app's secrets are shown once, and its address is nothing to photograph.
        let is_shared = connection.app_name.is_none();
        assert_eq!(page.status, if is_shared { StatusCode::OK } else { StatusCode::NOT_FOUND });
        assert_eq!(page.text().contains("class=\"qr\""), is_shared);
    }
}

#[tokio::test]
async fn an_app_is_connected_by_hand_within_the_plan() {
    let stage = Stage::set().await;
    let (_, mut owner) = stage.world.signed_in(&stage.account).await;
    let printer = stage.printer.to_string();
    for (name, days) in [("", "1"), ("x", "0"), ("x", "3651"), ("x", "-1")] {
        let refused = owner.post("/shares/apps", &[("printer", &printer), ("name", name), ("days", days)]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{name:?} {days:?}");
    }
    let made = owner.post("/shares/apps", &[("printer", &printer), ("name", "<b>Script"), ("days", "30")]).await;
    let text = made.text();
    assert!(text.contains("http://app-") && text.contains("curl -u ") && !text.contains("<b>Script"), "{text}");
    assert_eq!(made.header("cache-control"), "no-store");
    let list = owner.get("/shares").await.text();
    let password =
        text.split("id=\"app-password\">").nth(1).and_then(|rest| rest.split('<').next()).expect("a password");
    assert!(password.len() >= 32 && !list.contains(password), "shown once");

    let store = &stage.world.store;
    store.set_plan("small", now(), |plan| plan.supporter = false).await.expect("a plan");
    store.set_account_plan(&address("ann@example.org"), "small", now()).await.expect("it is set");
    let refused = owner.post("/shares/apps", &[("printer", &printer), ("name", "Script"), ("days", "")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_bytes_of_those_who_watch_are_counted() {
    let stage = Stage::set().await;
    let id = stage.link(LiveEnd::At(now() + HOUR)).await;
    let sent = stage.get(&id, "/camera/0").await.body.len() as u64;
    assert!(sent > 0);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let links = stage.world.store.live_links_of(&stage.account, None).await.expect("a list");
        if links[0].bytes_down == sent && links[0].last_used_at.is_some() {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{links:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets the agent say something, and whoever listens hear it.
async fn say(stage: &Stage, state: PrinterState) {
    *stage.agent.state.lock() = Some(state.bounded());
    stage.world.live.handle_change(&stage.printer);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn until_ended(stage: &Stage, id: &LiveId) {
    let ended = async {
        loop {
            let link = stage.world.store.live_link(id).await.expect("an answer").expect("it exists");
            if link.ended_at.is_some() {
                return;
            }
            stage.world.live.handle_change(&stage.printer);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the link ends");
}
