use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use http::{Method, StatusCode};
use model::RelayError;
use roxmltree::Node;
use web::Readiness;

use crate::site::{ask, get};

#[tokio::test]
async fn every_code_has_a_page_with_its_facts() {
    let list = get("/errors").await;
    for error in RelayError::ALL {
        let path = format!("/errors/{}", error.code());
        assert!(list.body.contains(&format!("href=\"{path}\"")), "{error} is not listed");
        let answer = get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{error}");
        let page = answer.document();
        let title = page.descendants().find(|node| node.has_tag_name("title")).and_then(|node| node.text());
        assert_eq!(title, Some(format!("{} {} · Spoolway", error.code(), error.reason_phrase()).as_str()));
        let facts = facts(&page.root_element());
        assert_eq!(facts["Name"], error.name());
        assert_eq!(facts["Kind"], if error.is_temporary() { "Temporary" } else { "Permanent" });
        assert!(facts["Plain status"].starts_with(&error.plain_status().to_string()), "{error}");
        let closes = facts["WebSocket close code"].contains(&error.close_code().to_string());
        assert_eq!(closes, facts["Occurs"].contains("open WebSockets"), "{error}");
    }
}

#[tokio::test]
async fn what_is_not_there_gets_a_page_that_leads_on() {
    for path in
        ["/errors/599", "/errors/614", "/errors/abc", "/errors/601/x", "/errors/%ff", "/errors/", "/wp-login.php"]
    {
        let answer = get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.body.contains("There is no such page") && answer.body.contains("href=\"/errors\""), "{path}");
        assert!(!answer.body.contains("wp-login"), "the page repeats what it was asked for");
    }
}

#[tokio::test]
async fn every_link_leads_somewhere_on_the_site() {
    for page in pages() {
        let answer = get(&page).await;
        for node in answer.document().descendants().filter(Node::is_element) {
            for reference in ["href", "src", "action"].iter().filter_map(|name| node.attribute(*name)) {
                let (path, fragment) = reference.split_once('#').unwrap_or((reference, ""));
                let path = if path.is_empty() { page.as_str() } else { path };
                assert!(path.starts_with('/') && !path.starts_with("//"), "{page} refers to {reference}");
                let target = get(path).await;
                // A page that asks for a sign-in first is there all the same.
                let is_there = [StatusCode::OK, StatusCode::SEE_OTHER].contains(&target.status);
                assert!(is_there, "{page} refers to {reference}");
                let anchored = fragment.is_empty() || target.body.contains(&format!("id=\"{fragment}\""));
                assert!(anchored, "{page} refers to {reference}");
            }
        }
    }
}

#[tokio::test]
async fn pages_have_the_marks_that_screen_readers_go_by() {
    for page in pages().into_iter().chain(["/nowhere".to_owned()]) {
        let answer = get(&page).await;
        let document = answer.document();
        assert_eq!(document.root_element().attribute("lang"), Some("en"), "{page}");
        let elements: Vec<Node<'_, '_>> = document.descendants().filter(Node::is_element).collect();
        for once in ["title", "main", "h1"] {
            assert_eq!(elements.iter().filter(|node| node.has_tag_name(once)).count(), 1, "{page}: {once}");
        }
        let ids: Vec<&str> = elements.iter().filter_map(|node| node.attribute("id")).collect();
        assert_eq!(ids.len(), ids.iter().collect::<HashSet<_>>().len(), "{page}: {ids:?}");
        let levels = elements.iter().filter_map(|node| node.tag_name().name().strip_prefix('h')?.parse::<u8>().ok());
        levels.fold(0, |above, level| {
            assert!(level <= above + 1, "{page}: a heading of level {level} stands under one of level {above}");
            level
        });
    }
}

#[tokio::test]
async fn every_answer_forbids_what_the_site_never_does() {
    for path in pages().into_iter().chain(["/healthz", "/readyz", "/nowhere"].map(str::to_owned)) {
        let answer = get(&path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(policy.contains("object-src 'none'") && policy.contains("base-uri 'none'"), "{path}");
        assert!(!policy.contains("unsafe") && !policy.contains("script-src 'self'"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(!answer.body.contains(" style=") && !answer.body.contains(" onclick="), "{path}");
        // Every script is a file of ours, and is marked for this answer alone.
        for script in answer.body.split("<script").skip(1) {
            let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or("none");
            assert!(script.starts_with(&format!(" nonce=\"{nonce}\" src=\"/assets/")), "{path}: {script:.80}");
        }
    }
    let refused = ask(Method::POST, "/errors", Arc::new(|| Box::pin(async { Readiness::Ready }))).await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn head_sends_the_headers_alone() {
    let answer = ask(Method::HEAD, "/errors/601", Arc::new(|| Box::pin(async { Readiness::Ready }))).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
}

fn pages() -> Vec<String> {
    let fixed = ["/", "/errors", "/sign-in", "/sign-up", "/reset-password"].map(str::to_owned);
    fixed.into_iter().chain(RelayError::ALL.map(|error| format!("/errors/{}", error.code()))).collect()
}

/// The page's table of facts.
fn facts(root: &Node<'_, '_>) -> std::collections::BTreeMap<String, String> {
    let text =
        |node: Node<'_, '_>| node.descendants().filter_map(|inner| inner.is_text().then(|| inner.text())?).collect();
    let terms: BTreeSet<_> = root.descendants().filter(|node| node.has_tag_name("dt")).collect();
    terms.into_iter().filter_map(|term| Some((text(term), text(term.next_sibling_element()?)))).collect()
}
