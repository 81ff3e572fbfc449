use std::time::Duration;

use model::PrinterId;
use model::link::{RefusalReason, Welcome};
use printers::virtual_printer::{VirtualPrinter, VirtualPrinterOptions};

use crate::program::Program;
use crate::service::{Service, welcome};

const VIRTUAL: &[&str] = &["--virtual", "--token", "Enrolment1"];

#[tokio::test]
async fn service_unreachable() {
    let data = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut agent = Program::run(&format!("http://{free}"), data.path(), VIRTUAL);
    agent.wait_for_log(&format!("cannot connect to `http://{free}`: Connection refused")).await;
    agent.wait_for_log("trying again at once").await;
    assert_eq!(agent.output(), "");
    assert_eq!(agent.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn no_service_at_all() {
    let data = tempfile::tempdir().unwrap();
    // A printer's web interface in the service's place: an easy mistake.
    let printer = VirtualPrinter::start(VirtualPrinterOptions::default()).await.unwrap();
    let agent = Program::run(&printer.url().to_string(), data.path(), VIRTUAL);
    agent.wait_for_log("answered 404 Not Found to the upgrade: it is no Spoolway service").await;
}

#[tokio::test]
async fn wrong_token() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::refusing(RefusalReason::InvalidToken).await;
    let mut agent = Program::run(&service.url(), data.path(), VIRTUAL);
    assert_eq!(agent.exit().await.code(), Some(1));
    agent.wait_for_log("the service does not accept the enrolment token").await;
    agent.wait_for_log("spoolway admin printer add").await;
}

#[tokio::test]
async fn no_token() {
    let data = tempfile::tempdir().unwrap();
    // A service that links no printers by a code.
    let service = Service::welcoming(&PrinterId::generate()).await;
    let mut agent = Program::run(&service.url(), data.path(), &["--virtual"]);
    assert_eq!(agent.exit().await.code(), Some(1));
    agent.wait_for_log("has not been enrolled yet").await;
    agent.wait_for_log("start the agent once with `--token TOKEN`").await;
}

#[tokio::test]
async fn refused_for_reasons_that_may_pass() {
    for (reason, text) in [
        (RefusalReason::WrongKey, "knows this printer by another key"),
        (RefusalReason::PrinterRemoved, "in no account of the service any more"),
        (RefusalReason::AgentTooOld, "is too old for the service"),
        (RefusalReason::Unavailable, "right now: because the test says so"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let service = Service::refusing(reason).await;
        let mut agent = Program::run(&service.url(), data.path(), VIRTUAL);
        agent.wait_for_log(text).await;
        agent.wait_for_log("; trying again ").await;
        assert_eq!(agent.output(), "");
        assert_eq!(agent.terminate().await.code(), Some(0), "{reason:?}");
    }
}

#[tokio::test]
async fn clock_far_off() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let day = 24 * 60 * 60 * 1000;
    let service = Service::start(move |_| {
        let now = welcome(&id);
        Ok(Welcome { unix_time_ms: now.unix_time_ms + day + 5_000, ..now })
    })
    .await;
    let agent = Program::run(&service.url(), data.path(), VIRTUAL);
    agent.wait_for_log("this machine's clock is 1day").await;
    agent.wait_for_log("behind the service's — set it").await;
    // It works all the same.
    assert_eq!(service.next().await.get("/api/version").await.0, 200);
}

#[tokio::test]
async fn printer_unreachable_and_back() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let printer = VirtualPrinter::start(VirtualPrinterOptions::default()).await.unwrap();
    let (url, port) = (printer.url(), printer.address().port());
    printer.stop().await;

    let arguments = ["--printer", &url.to_string(), "--token", "Enrolment1"];
    let agent = Program::run(&service.url(), data.path(), &arguments);
    let seen = service.next().await;
    assert!(!seen.hello.printer.reachable);
    assert!(seen.hello.printer.problem.contains("nothing listens at"), "{:?}", seen.hello.printer);
    agent.wait_for_output("connected to").await;
    agent.wait_for_log("the printer cannot be reached: nothing listens at").await;
    assert_eq!(seen.get("/api/version").await.0, 502);

    let _printer = VirtualPrinter::start(VirtualPrinterOptions { port, ..Default::default() }).await.unwrap();
    tokio::time::timeout(Duration::from_secs(15), seen.wait_for_status(|status| status.reachable)).await.unwrap();
    agent.wait_for_log("the printer is reachable: virtual printer").await;
    assert_eq!(seen.get("/api/version").await.0, 200);
}

#[tokio::test]
async fn plain_http_to_a_stranger() {
    let data = tempfile::tempdir().unwrap();
    let mut agent = Program::run("http://192.0.2.1", data.path(), VIRTUAL);
    assert_eq!(agent.exit().await.code(), Some(1));
    agent.wait_for_log("use `https://`, or `--insecure`").await;
}

#[tokio::test]
async fn mistakes_in_the_settings() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("agent.toml");
    let config = file.to_str().unwrap();
    let check = async |text: &str, expected: &[&str]| {
        std::fs::write(&file, text).unwrap();
        for command in [&["run", "--config", config][..], &["config", "check", "--config", config]] {
            let mut agent = Program::start(command);
            assert_eq!(agent.exit().await.code(), Some(1), "{text}");
            for part in expected {
                agent.wait_for_log(part).await;
            }
        }
    };
    check("server = 'spoolway.example'\n[[printer]]\nname = 'a'", &["`server`: ", "`printer.url`: "]).await;
    check("servr = 'https://a'", &["agent.toml", "line 1, column 1", "unknown field `servr`"]).await;
    check("server = 'https://a'\nca = '/no/such/file'\n[[printer]]\nvirtual = true", &["`ca`: ", "/no/such/file"])
        .await;
    let mut missing = Program::start(&["run", "--config", "/no/such/agent.toml"]);
    assert_eq!(missing.exit().await.code(), Some(1));
    missing.wait_for_log("`/no/such/agent.toml` cannot be read: No such file").await;

    std::fs::write(&file, "server = 'https://a'\n[[printer]]\nvirtual = true").unwrap();
    let mut right = Program::start(&["config", "check", "--config", config]);
    assert_eq!(right.exit().await.code(), Some(0));
    right.wait_for_output("the configuration is right").await;
}

#[tokio::test]
async fn as_json() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let agent = Program::run(&service.url(), data.path(), &[VIRTUAL, &["--log-format", "json"]].concat());
    agent.wait_for_log("linked as").await;
    for line in agent.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["level"] == "INFO", "{line}");
    }
}
