use model::PrinterId;
use model::link::PairingRequest;

use crate::program::Program;
use crate::service::Service;

fn offer(code: &str) -> (u16, String) {
    let offer = format!(
        r#"{{"code":"{code}","url":"https://s.example/link","urlWithCode":"https://s.example/link?code={code}",
            "expiresInSeconds":900,"pollSeconds":0}}"#
    );
    (200, offer)
}

fn state(state: &str) -> (u16, String) {
    (200, format!(r#"{{"state":"{state}"}}"#))
}

#[tokio::test]
async fn an_agent_without_a_token_is_linked_by_a_code() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let linked = (200, format!(r#"{{"state":"linked","printerId":"{id}","printerName":"Prusa"}}"#));
    service.pairing.answers.lock().extend([
        (404, String::new()),
        // It has come while the service starts.
        (500, "not yet".to_owned()),
        offer("FIRST234"),
        state("pending"),
        (404, String::new()),
        offer("SECOND23"),
        state("pending"),
        linked,
    ]);
    let mut agent = Program::run(&service.url(), data.path(), &["--virtual"]);
    agent.wait_for_output("FIRST234").await;
    agent.wait_for_output("SECOND23").await;
    let seen = service.next().await;
    assert_eq!((seen.hello.printer_id, seen.hello.enrolment_token), (Some(id.clone()), None));
    assert!(seen.hello.capabilities.contains(&"state".to_owned()));
    agent.wait_for_output("connected to").await;
    let asked = service.pairing.asked.lock().clone();
    let request: PairingRequest = serde_json::from_str(&asked[1].1).unwrap();
    assert_eq!((request.software.as_str(), request.agent_version.as_str()), ("virtual", env!("CARGO_PKG_VERSION")));
    assert!(!agent.log().contains(&seen.key) && !agent.output().contains(&seen.key));
    agent.kill().await;

    // From now on it is who it is.
    let _again = Program::run(&service.url(), data.path(), &["--virtual"]);
    let again = service.next().await;
    assert_eq!((again.hello.printer_id, again.key), (Some(id), seen.key));
    assert_eq!(service.pairing.asked.lock().len(), asked.len());
}

#[tokio::test]
async fn a_code_that_was_entered_while_the_agent_was_off_counts() {
    let (id, data) = (PrinterId::generate(), tempfile::tempdir().unwrap());
    let service = Service::welcoming(&id).await;
    let linked = format!(r#"{{"state":"linked","printerId":"{id}","printerName":"Prusa"}}"#);
    service.pairing.answers.lock().push_back((200, linked));
    let _agent = Program::run(&service.url(), data.path(), &["--virtual"]);
    assert_eq!(service.next().await.hello.printer_id, Some(id));
}

#[tokio::test]
async fn what_cannot_be_helped_by_waiting_ends_the_agent() {
    let id = PrinterId::generate();
    for (answers, told) in [
        (vec![(404, String::new()), (403, String::new())], "does not link printers by a code"),
        (vec![(404, String::new()), (404, String::new())], "is no service that links printers"),
        (vec![(404, String::new()), offer("ABCD2345"), state("denied")], "this is not their printer"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let service = Service::welcoming(&id).await;
        service.pairing.answers.lock().extend(answers);
        let mut agent = Program::run(&service.url(), data.path(), &["--virtual"]);
        assert_eq!(agent.exit().await.code(), Some(1));
        agent.wait_for_log(told).await;
    }
}
