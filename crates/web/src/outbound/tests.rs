use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn outbound(allowed: &[&str]) -> Outbound {
    let allowed_networks = allowed.iter().map(|network| network.parse().expect("a network")).collect();
    Outbound::new(OutboundOptions { allowed_networks, extra_roots: Vec::new() }).expect("a client can be made")
}

/// A host that gives one answer to everybody, and counts those who came.
async fn host(answer: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port();
    let visits = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&visits);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, visits)
}

#[test]
fn urls_that_lead_inside_are_refused_before_anything_is_sent() {
    let outbound = outbound(&[]);
    for url in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://192.168.0.1/",
        "http://①②⑦.0.0.1/",
        "https://[fe80::1]/",
    ] {
        assert!(matches!(outbound.check(url), Err(OutboundError::Forbidden)), "{url}");
    }
    for url in [
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//example.org/",
        "example.org",
        "https://",
        "https://u@example.org/",
        "https://u:p@example.org/",
        "http://example.org:22/",
        "http://example.org:25/",
        "https://example.org:1023/",
        &format!("https://example.org/{}", "a".repeat(MAX_URL)),
    ] {
        assert!(matches!(outbound.check(url), Err(OutboundError::Url(_))), "{url}");
    }
    for url in ["https://example.org/a?b=c", "http://example.org:1024/", "https://1.1.1.1/", "http://example.org:80/"] {
        assert!(outbound.check(url).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let (port, visits) = host("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let outcome = outbound(&[]).post_json(&format!("http://localhost:{port}/"), Vec::new()).await;
    assert!(matches!(outcome, Err(OutboundError::Forbidden)), "{outcome:?}");
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_allowed_network_can_be_reached() {
    let (port, _) = host("HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await;
    let allowed = outbound(&["127.0.0.0/8"]);
    for host in ["localhost", "127.0.0.1"] {
        let answer = allowed.post_json(&format!("http://{host}:{port}/"), b"{}".to_vec()).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let (inner, visits) = host("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let (port, _) =
        host(format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{inner}/\r\ncontent-length: 0\r\n\r\n")).await;
    let answer = outbound(&["127.0.0.1/32"]).post_json(&format!("http://127.0.0.1:{port}/"), Vec::new()).await;
    assert_eq!(answer.expect("an answer").status, StatusCode::FOUND);
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_more_is_read_than_was_asked_for() {
    let (port, _) = host(format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", "a".repeat(100_000))).await;
    let url = format!("http://127.0.0.1:{port}/");
    let outbound = outbound(&["127.0.0.1/32"]);
    let answer = outbound.post_json(&url, Vec::new()).await.expect("an answer, cut off");
    assert_eq!(answer.body.len(), MAX_ANSWER);
    assert!(matches!(outbound.get(&url, "*/*", 99_999).await, Err(OutboundError::TooLarge)));
    assert_eq!(outbound.get(&url, "*/*", 100_000).await.expect("it fits").body.len(), 100_000);
}

#[tokio::test]
async fn what_does_not_answer_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let outcome = outbound(&["127.0.0.1/32"]).get(&format!("http://127.0.0.1:{port}/"), "*/*", 1).await;
    assert!(matches!(outcome, Err(OutboundError::Connect(_))), "{outcome:?}");
}
