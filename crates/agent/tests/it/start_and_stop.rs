use http::Method;
use model::PrinterId;
use model::printing::Phase;
use printers::detect::software;

use crate::program::Program;
use crate::service::Service;

const TOKEN: &str = "Enrolment1";

#[tokio::test]
async fn links_a_printer_serves_it_and_ends_when_asked_to() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let mut agent = Program::run(&service.url(), data.path(), &["--virtual", "--token", TOKEN]);
    let seen = service.next().await;
    assert_eq!((&seen.hello.printer_id, seen.hello.enrolment_token.as_deref()), (&None, Some(TOKEN)));
    assert_eq!(seen.hello.agent_version, env!("CARGO_PKG_VERSION"));
    assert!(seen.hello.printer.reachable);
    assert_eq!(seen.hello.printer.software, software::VIRTUAL);
    agent.wait_for_output(&format!("connected to {} as \"Prusa\"\n", service.url())).await;

    let (status, body) = seen.get("/api/version").await;
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&body).contains("spoolway-virtual-printer"));

    assert_eq!(agent.terminate().await.code(), Some(0));
    assert!(!agent.log().contains(TOKEN) && !agent.log().contains(&seen.key), "{}", agent.log());
}

#[tokio::test]
async fn is_the_same_agent_after_any_end() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let mut first = Program::run(&service.url(), data.path(), &["--virtual", "--token", TOKEN]);
    let key = service.next().await.key;
    first.wait_for_output("connected to").await;
    first.kill().await;

    let mut second = Program::run(&service.url(), data.path(), &["--virtual"]);
    let seen = service.next().await;
    assert_eq!((seen.hello.printer_id, seen.hello.enrolment_token, seen.key), (Some(id.clone()), None, key.clone()));
    second.wait_for_output("connected to").await;
    second.terminate().await;

    // A token that is still in the environment does no harm: the service looks at the id first.
    let third = Program::run(&service.url(), data.path(), &["--virtual", "--token", TOKEN]);
    let seen = service.next().await;
    assert_eq!((seen.hello.printer_id, seen.key), (Some(id), key));
    third.wait_for_output("connected to").await;
}

#[tokio::test]
async fn comes_back_when_the_link_is_lost() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let agent = Program::run(&service.url(), data.path(), &["--virtual", "--token", TOKEN]);
    let first = service.next().await;
    agent.wait_for_output("connected to").await;
    first.link.close();
    let second = service.next().await;
    assert_eq!(second.hello.printer_id, Some(id));
    agent.wait_for_log("the connection was lost").await;
    assert_eq!(second.get("/api/version").await.0, 200);
}

#[tokio::test]
async fn two_agents_never_share_a_directory() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let mut first = Program::run(&service.url(), data.path(), &["--virtual", "--token", TOKEN]);
    first.wait_for_output("connected to").await;
    let mut second = Program::run(&service.url(), data.path(), &["--virtual"]);
    assert_eq!(second.exit().await.code(), Some(1));
    second.wait_for_log("is used by another running agent").await;
    // The first one does not notice, and its place is free when it ends.
    assert_eq!(first.terminate().await.code(), Some(0));
    let third = Program::run(&service.url(), data.path(), &["--virtual"]);
    third.wait_for_output("connected to").await;
}

#[tokio::test]
async fn status_tells_what_is_linked() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let url = service.url();
    let status = |more: &[&str]| {
        Program::start(&[&["status", "--server", &url, "--data", data.path().to_str().unwrap()], more].concat())
    };
    let mut before = status(&["--virtual"]);
    assert_eq!(before.exit().await.code(), Some(1));
    before.wait_for_output("not enrolled yet").await;

    let mut agent = Program::run(&url, data.path(), &["--virtual", "--token", TOKEN]);
    agent.wait_for_log("linked as \"Prusa\"").await;
    // The note for `status` is written right after the line in the log.
    let linked = loop {
        let mut during = status(&["--virtual", "--json"]);
        if during.exit().await.success() {
            break during;
        }
    };
    linked.wait_for_output("\n}").await;
    let report: serde_json::Value = serde_json::from_str(&linked.output()).unwrap();
    let printer = &report["printers"][0];
    assert_eq!((&printer["linked"], &printer["printerId"]), (&true.into(), &id.as_str().into()));

    agent.kill().await;
    let mut after = status(&["--virtual"]);
    assert_eq!(after.exit().await.code(), Some(1));
    after.wait_for_output("the agent does not run").await;
}

#[tokio::test]
async fn answers_the_service_for_its_printer_and_no_visitor() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let _agent = Program::run(&service.url(), data.path(), &["--virtual", "--token", TOKEN]);
    let seen = service.next().await;
    assert_eq!(seen.hello.capabilities, ["state", "commands", "cameras", "octoprint-key"]);
    seen.wait_for_state(|state| state.phase == Phase::Idle && state.light == Some(false)).await;
    assert_eq!(seen.ask_printer(Method::POST, "/command/light_on").await.0, 404);
    assert_eq!(seen.ask_agent(Method::POST, "/command/light_on").await.0, 204);
    seen.wait_for_state(|state| state.light == Some(true)).await;
    assert_eq!(seen.ask_agent(Method::POST, "/command/pause").await.0, 409);
    let (status, picture) = seen.ask_agent(Method::GET, "/camera/0/snapshot").await;
    assert!(status == 200 && picture.starts_with(&[0xff, 0xd8]));
    assert_eq!(seen.ask_agent(Method::POST, "/octoprint-key").await.0, 501);
    assert_eq!(seen.ask_agent(Method::GET, "/elsewhere").await.0, 404);
}
