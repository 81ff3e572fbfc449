//! What is open when somebody may look no longer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use model::PrinterId;
use model::printing::{Camera, Phase, PrinterState};
use store::{LiveEnd, Role};

use crate::world::{PlayedAgent, World, address, now};

const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0xff, 0xd9];
/// Looked at every second, on a machine that may be busy.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_picture_breaks_off_when_its_viewer_is_signed_out() {
    let world = World::new().await;
    let (ann, printer) = ann_with_camera(&world).await;
    let (session, browser) = world.signed_in(&ann).await;
    let path = format!("/printers/{printer}/camera/0/stream");
    let mut picture = world.open(browser.request(Method::GET, &path).body(Body::empty()).expect("a request")).await;
    assert_runs(&mut picture).await;
    world.store.end_session(&ann, &session, now()).await.expect("the session is hers");
    assert_breaks_off(picture).await;
}

#[tokio::test]
async fn a_picture_breaks_off_when_its_viewer_loses_the_role() {
    let world = World::new().await;
    let (ann, printer) = ann_with_camera(&world).await;
    let bob = world.account("bob@example.org", None).await;
    let invited = world.store.invite_member(&ann, &printer, &address("bob@example.org"), Role::Viewer, now()).await;
    let token = invited.expect("she is the owner");
    world.store.accept_printer_invitation(&bob, &token, now()).await.expect("it works").expect("it is his");
    let (_, browser) = world.signed_in(&bob).await;
    let path = format!("/printers/{printer}/camera/0/stream");
    let mut picture = world.open(browser.request(Method::GET, &path).body(Body::empty()).expect("a request")).await;
    assert_runs(&mut picture).await;
    world.store.remove_member(&ann, &printer, &bob, now()).await.expect("he is a member");
    assert_breaks_off(picture).await;
}

#[tokio::test]
async fn a_live_link_ends_what_it_shows_however_much_happens_elsewhere() {
    let world = World::new().await;
    let (ann, printer) = ann_with_camera(&world).await;
    let end = LiveEnd::At(now() + Duration::from_secs(3600));
    let link = world.store.create_live_link(&ann, &printer, end, None, now()).await.expect("a new link");
    let stranger = world.browser();
    let open = async |path: &str| {
        world.open(stranger.request(Method::GET, path).body(Body::empty()).expect("a request")).await
    };
    let mut picture = open(&format!("/live/{link}/camera/0")).await;
    assert_runs(&mut picture).await;
    let mut events = open(&format!("/live/{link}/events")).await;
    assert_runs(&mut events).await;
    // Other printers never stop changing.
    let live = world.live.clone();
    let busy = tokio::spawn(async move {
        let other = PrinterId::generate();
        loop {
            live.handle_change(&other);
            tokio::task::yield_now().await;
        }
    });
    world.store.revoke_live_link(&ann, &link, now()).await.expect("it is hers");
    let told = async {
        while let Some(frame) = events.body_mut().frame().await {
            let data = frame.expect("events end in order").into_data().unwrap_or_default();
            if data.starts_with(b"event: ended") {
                return;
            }
        }
        panic!("the page was not told that the link has ended");
    };
    tokio::time::timeout(LONG, told).await.expect("the page learns of it");
    busy.abort();
    assert_breaks_off(picture).await;
}

/// Else it would wait for pages that somebody leaves open.
#[tokio::test]
async fn a_service_that_ends_ends_what_would_go_on_for_ever() {
    let world = World::new().await;
    let (ann, printer) = ann_with_camera(&world).await;
    let end = LiveEnd::At(now() + Duration::from_secs(3600));
    let link = world.store.create_live_link(&ann, &printer, end, None, now()).await.expect("a new link");
    let (_, owner) = world.signed_in(&ann).await;
    let mut open = Vec::new();
    for path in [
        "/printers/events".to_owned(),
        format!("/printers/{printer}/events"),
        format!("/live/{link}/events"),
        format!("/printers/{printer}/camera/0/stream"),
        format!("/live/{link}/camera/0"),
    ] {
        let request = owner.request(Method::GET, &path).body(Body::empty()).expect("a request");
        let mut response = world.open(request).await;
        assert_runs(&mut response).await;
        open.push((path, response));
    }
    world.state.stopping.cancel();
    for (path, mut response) in open {
        let over = async { while let Some(Ok(_)) = response.body_mut().frame().await {} };
        assert!(tokio::time::timeout(LONG, over).await.is_ok(), "{path} goes on");
    }
}

async fn ann_with_camera(world: &World) -> (model::AccountId, PrinterId) {
    let ann = world.account("ann@example.org", None).await;
    let printer = world.printer("ann@example.org", "Ender").await;
    let cameras = vec![Camera::default()];
    let state = PrinterState { phase: Phase::Printing, cameras, ..PrinterState::default() };
    let agent = PlayedAgent::connect(world, &printer, state);
    *agent.snapshot.lock() = Some(JPEG.into());
    agent.is_endless.store(true, Ordering::Relaxed);
    (ann, printer)
}

async fn assert_runs(response: &mut Response<Body>) {
    assert_eq!(response.status(), StatusCode::OK);
    let first = response.body_mut().frame().await.expect("something comes").expect("it is whole");
    assert!(first.is_data());
}

async fn assert_breaks_off(mut response: Response<Body>) {
    let broke_off = async {
        loop {
            match response.body_mut().frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return true,
                None => return false,
            }
        }
    };
    assert!(tokio::time::timeout(LONG, broke_off).await.expect("it ends"), "it ended as if it were whole");
}
