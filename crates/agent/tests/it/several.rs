use model::PrinterId;
use model::link::RefusalReason;
use printers::virtual_printer::{VirtualPrinter, VirtualPrinterOptions};

use crate::program::Program;
use crate::service::{Service, refusal, welcome};

#[tokio::test]
async fn one_process_links_several_and_one_that_fails_stops_no_other() {
    let data = tempfile::tempdir().unwrap();
    let real = VirtualPrinter::start(VirtualPrinterOptions::default()).await.unwrap();
    let ids = [PrinterId::generate(), PrinterId::generate()];
    let known = ids.clone();
    let service = Service::start(move |hello| match hello.enrolment_token.as_deref() {
        Some("TokenA") => Ok(welcome(&known[0])),
        Some("TokenB") => Ok(welcome(&known[1])),
        _ => Err(refusal(RefusalReason::InvalidToken)),
    })
    .await;
    let file = data.path().join("agent.toml");
    let text = format!(
        "server = '{}'\ndata = '{}'\n\
         [[printer]]\nname = 'Bad one'\nvirtual = true\ntoken = 'TokenC'\n\
         [[printer]]\nname = 'A'\nurl = '{}'\ntoken = 'TokenA'\n\
         [[printer]]\nname = 'Nobody'\nvirtual = true\n\
         [[printer]]\nname = 'B'\nvirtual = true\ntoken = 'TokenB'\n",
        service.url(),
        data.path().join("identities").display(),
        real.url(),
    );
    std::fs::write(&file, text).unwrap();
    let mut agent = Program::start(&["run", "--config", file.to_str().unwrap()]);
    let seen = [service.next().await, service.next().await];
    agent.wait_for_log("printer \"Bad one\" is not linked: the service does not accept").await;
    agent.wait_for_log("printer \"Nobody\" is not linked: this printer has not been enrolled").await;
    for one in &seen {
        assert_eq!(one.get("/api/version").await.0, 200);
    }
    assert_ne!(seen[0].key, seen[1].key);
    for directory in ["bad-one", "a", "b"] {
        assert!(data.path().join("identities").join(directory).join("identity.json").exists());
    }
    assert_eq!(agent.terminate().await.code(), Some(0));
}
