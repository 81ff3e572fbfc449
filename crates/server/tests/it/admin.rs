//! `spoolway admin`, from the command line to what is printed.

use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};
use server::admin::{AdminCommand, Console};
use store::{AgentSeen, ConnectionKind, ConnectionLookup, DatabaseUrl, SiteAddress, Store};
use tempfile::TempDir;

#[tokio::test]
async fn a_printer_is_set_up_with_what_each_command_prints() {
    let desk = Desk::at_a_known_site().await;
    let user = desk.json(&["user", "add", "Ann@example.org"]).await;
    assert_eq!((&user["email"], &user["plan"]), (&json!("ann@example.org"), &json!("unlimited")));
    let printer = desk.json(&["printer", "add", "--owner", "ann@example.org", "--name", "Left one"]).await;
    assert_eq!((&printer["name"], &printer["owner"]), (&json!("Left one"), &json!("ann@example.org")));
    let id = text(&printer["printerId"]);

    // The token that was printed enrols an agent.
    let store = desk.store().await;
    let token = model::Secret::new(text(&printer["token"]));
    let key = model::Secret::generate();
    let outcome = store.enrol_agent(&token, &key, std::time::SystemTime::now()).await.unwrap();
    assert!(matches!(outcome, store::EnrolOutcome::Enrolled { .. }));
    let seen = AgentSeen { lan_ip: "192.168.1.20".to_owned(), software: "octoprint".to_owned(), ..Default::default() };
    store.record_agent_connected(&id.parse().unwrap(), std::time::SystemTime::now(), &seen).await.unwrap();

    let app = desk.json(&["app-connection", "create", "--printer", id, "--app", "An app", "--expires", "30d"]).await;
    let keys: Vec<&str> = app.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec![
        "success",
        "id",
        "url",
        "appApiToken",
        "printername",
        "userPrinterAccessUrl",
        "printerLastKnownLocalIp",
        "authBasicHttpUser",
        "authBasicHttpPassword",
        "authbasichttpuser",
        "authbasichttppassword",
        "authBearerToken",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(app["success"], "true");
    assert_eq!(app["printername"], "Left one");
    assert_eq!(app["printerLastKnownLocalIp"], "192.168.1.20");
    assert_eq!(app["authbasichttpuser"], app["authBasicHttpUser"]);
    assert_eq!(app["authbasichttppassword"], app["authBasicHttpPassword"]);
    for secret in ["appApiToken", "authBasicHttpUser", "authBasicHttpPassword", "authBearerToken"] {
        assert!(text(&app[secret]).bytes().all(|byte| byte.is_ascii_alphanumeric()), "{secret}");
    }
    let label = text(&app["url"]).strip_prefix("https://app-").unwrap().strip_suffix(".printers.example").unwrap();
    assert_eq!(label, label.to_lowercase());
    let found = store.connection_by_label(ConnectionKind::App, &label.parse().unwrap()).await.unwrap();
    let ConnectionLookup::Alive(record) = found else { panic!("{found:?}") };
    assert_eq!(record.id.as_str(), app["id"]);

    let listed = desk.json(&["app-connection", "list", "--printer", id]).await;
    assert_eq!((&listed[0]["url"], &listed[0]["appName"]), (&app["url"], &json!("An app")));
    assert_eq!((&listed[0]["expired"], listed[0].get("hasPassword")), (&json!(false), None));
    assert_eq!(desk.json(&["app-connection", "revoke", text(&app["id"])]).await["revoked"], true);
    assert_eq!(desk.json(&["app-connection", "list"]).await, json!([]));
    let error = desk.failure(&["app-connection", "revoke", text(&app["id"])]).await;
    assert!(text(&error["error"]).ends_with("it was revoked"), "{error}");
}

#[tokio::test]
async fn links_are_open_or_have_a_password() {
    let desk = Desk::at_a_known_site().await;
    let printer = desk.add_printer().await;
    let open = desk.json(&["shared-connection", "create", "--printer", &printer]).await;
    let mut create = desk.command(&["shared-connection", "create", "--printer", &printer, "--password-stdin"]);
    create.input = "correct horse\r\nanother line\n";
    let locked = create.json().await;
    assert_eq!((&open["hasPassword"], &locked["hasPassword"]), (&json!(false), &json!(true)));

    let listed = desk.json(&["shared-connection", "list"]).await;
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|row| (&row["url"], &row["hasPassword"])).collect();
    assert_eq!(listed, [(&open["url"], &json!(false)), (&locked["url"], &json!(true))]);
    let label = text(&locked["url"]).strip_prefix("https://shared-").unwrap().split('.').next().unwrap();
    let found = desk.store().await.connection_by_label(ConnectionKind::Shared, &label.parse().unwrap()).await.unwrap();
    let ConnectionLookup::Alive(record) = found else { panic!("{found:?}") };
    let store::ConnectionCredentials::Password(hash) = record.credentials else { panic!("no password") };
    assert!(hash.verify(&model::Secret::new("correct horse")));

    // Each kind revokes its own.
    let error = desk.failure(&["app-connection", "revoke", text(&open["id"])]).await;
    assert!(text(&error["error"]).contains("there is no app connection"), "{error}");
    desk.json(&["shared-connection", "revoke", text(&open["id"])]).await;
    assert_eq!(desk.json(&["shared-connection", "list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn plans_are_changed_by_what_is_named() {
    let desk = Desk::new();
    let made = desk.json(&["plan", "set", "small", "--supporter", "false", "--max-upload", "1000"]).await;
    assert_eq!((&made["supporter"], &made["maxUploadBytes"]), (&json!(false), &json!(1000)));
    let window = ["--webcam-stream-seconds", "3", "--webcam-window-seconds", "60", "--webcam-total-seconds", "6"];
    desk.json(&[&["plan", "set", "small", "--max-download", "2000"], &window[..]].concat()).await;
    let expected = json!({
        "name": "small", "supporter": false, "maxUploadBytes": 1000, "maxDownloadBytes": 2000,
        "webcamStreamSeconds": 3, "webcamWindowSeconds": 60, "webcamTotalSeconds": 6,
    });
    assert_eq!(desk.json(&["plan", "list"]).await[1], expected);

    let freed = desk.json(&["plan", "set", "small", "--max-upload", "none", "--webcam-window-seconds", "none"]).await;
    assert_eq!((&freed["maxUploadBytes"], &freed["webcamTotalSeconds"]), (&Value::Null, &Value::Null));
    assert_eq!(freed["maxDownloadBytes"], 2000);
    for (bad, expected) in [
        (["--max-upload", "many"], "neither a whole number nor `none`"),
        (["--max-upload", "-1"], ""),
        (["--webcam-window-seconds", "60"], "given together"),
        (["--webcam-total-seconds", "60"], "given together"),
        (["--webcam-stream-seconds", "0"], "at least one second"),
    ] {
        let outcome = desk.command(&[&["plan", "set", "small"], &bad[..]].concat()).run().await;
        assert!(outcome.failed && outcome.errors.contains(expected), "{bad:?}: {}", outcome.errors);
    }

    desk.json(&["user", "add", "ann@example.org", "--plan", "small"]).await;
    assert_eq!(desk.json(&["user", "set-plan", "ann@example.org", "unlimited"]).await["plan"], "unlimited");
    assert_eq!(desk.json(&["user", "list"]).await[0]["plan"], "unlimited");
}

#[tokio::test]
async fn apps_are_registered_with_where_their_keys_may_go() {
    let desk = Desk::new();
    let returns = ["--return", "myapp://*", "--return", "https://example.org/app/*"];
    let added = desk.json(&[&["app", "add", "myapp", "--name", "My app"], &returns[..]].concat()).await;
    assert_eq!(added["returnPatterns"], json!(["myapp:", "https://example.org/app/*"]));
    assert_eq!(desk.json(&["app", "list"]).await, json!([added]));
    let again = desk.json(&["app", "add", "myapp", "--name", "My better app"]).await;
    assert_eq!((&again["name"], &again["returnPatterns"]), (&json!("My better app"), &json!([])));
    assert_eq!(desk.json(&["app", "list"]).await[0]["name"], "My better app");
    for bad in
        ["javascript:", "https://*", "http:", "example.org", "https://u@example.org/", "https://example.org/?a=b"]
    {
        let told = desk.failure(&["app", "add", "other", "--name", "Other", "--return", bad]).await;
        assert!(text(&told["error"]).contains("is no return pattern"), "{bad}: {told}");
    }
    let told = desk.failure(&["app", "add", "", "--name", "Other"]).await;
    assert!(text(&told["error"]).contains("1 to 64 characters"), "{told}");
    assert_eq!(desk.json(&["app", "remove", "myapp"]).await, json!({ "id": "myapp", "removed": true }));
    let told = desk.failure(&["app", "remove", "myapp"]).await;
    assert!(text(&told["error"]).contains("there is no registered app `myapp`"), "{told}");
    assert_eq!(desk.json(&["app", "list"]).await, json!([]));
}

#[tokio::test]
async fn mistakes_are_named_with_a_hint_and_change_nothing() {
    let desk = Desk::at_a_known_site().await;
    let printer = desk.add_printer().await;
    let seq = desk.store().await.latest_change().await.unwrap();
    let create = ["app-connection", "create", "--app", "App", "--printer"];
    let cases: &[(&[&str], &str, &str)] = &[
        (&["user", "add", "ann@example.org"], "the account `ann@example.org` exists already", ""),
        (&["user", "add", "ann"], "`ann` is no e-mail address", ""),
        (&["user", "add", "bob@example.org", "--plan", "gold"], "there is no plan `gold`", "plan list"),
        (&["user", "delete", "bob@example.org"], "there is no account `bob@example.org`", "user list"),
        (&["user", "set-plan", "ann@example.org", "gold"], "there is no plan `gold`", "plan list"),
        (&["printer", "add", "--owner", "bob@example.org", "--name", "X"], "there is no account", "user list"),
        (&["printer", "add", "--owner", "ann@example.org", "--name", ""], "a name has 1 to 100", ""),
        (&["printer", "rename", "strange", "X"], "there is no printer `strange`", "printer list"),
        (&["printer", "remove", "../strange"], "`../strange` is no id of a printer", ""),
        (&["printer", "enrol", "strange"], "there is no printer `strange`", "printer list"),
        (&[&create[..], &["strange"]].concat(), "there is no printer `strange`", "printer list"),
        (&[&create[..], &[&printer, "--expires", "soon"]].concat(), "`soon` is no duration", ""),
        (&[&create[..], &[&printer, "--expires", "0s"]].concat(), "has passed before it begins", ""),
        (&[&create[..], &[&printer, "--expires", "1000y"]].concat(), "at most 100 years", ""),
        (&["shared-connection", "revoke", "strange"], "there is no shared connection", "shared-connection list"),
        (&["beta", "grant", "bob@example.org", "gadget-api"], "there is no account", "user list"),
        (&["beta", "grant", "ann@example.org", "Gadget API"], "is no name of a feature", ""),
        (&["beta", "revoke", "ann@example.org", "gadget-api"], "there is no beta grant", "beta list"),
    ];
    for (line, error, hint) in cases {
        let told = desk.failure(line).await;
        assert!(text(&told["error"]).contains(error), "{line:?}: {told}");
        assert!(told["hint"].as_str().unwrap_or("").contains(hint), "{line:?}: {told}");
        let for_people = desk.command(line).run().await;
        assert!(for_people.failed && for_people.output.is_empty());
        assert!(for_people.errors.starts_with("error: ") && for_people.errors.contains(error), "{}", for_people.errors);
        assert_eq!(for_people.errors.contains("\nhint: "), !hint.is_empty(), "{}", for_people.errors);
    }
    assert_eq!(desk.store().await.latest_change().await.unwrap(), seq);
}

#[tokio::test]
async fn passwords_that_are_too_weak_are_refused_and_said_why() {
    let desk = Desk::new();
    for (password, expected) in [("", "too short"), ("1234567\n", "too short"), (&"a".repeat(100_000), "too long")] {
        let mut add = desk.command(&["user", "add", "ann@example.org", "--password-stdin"]);
        add.input = password;
        let outcome = add.run().await;
        assert!(outcome.failed && outcome.errors.contains(expected), "{}", outcome.errors);
    }
    let mut add = desk.command(&["user", "add", "ann@example.org", "--password-stdin"]);
    add.input = "correct horse";
    let outcome = add.run().await;
    assert!(!outcome.failed && !format!("{}{}", outcome.output, outcome.errors).contains("correct horse"));
    assert_eq!(desk.json(&["user", "list"]).await[0]["hasPassword"], true);
}

#[tokio::test]
async fn whoever_is_locked_out_of_the_site_is_let_in_again() {
    let desk = Desk::new();
    desk.json(&["user", "add", "ann@example.org"]).await;
    let mut set = desk.command(&["user", "set-password", "ann@example.org", "--password-stdin"]);
    set.input = "correct horse\n";
    assert_eq!(set.json().await, json!({"email": "ann@example.org", "hasPassword": true}));
    let login = desk.store().await.account_for_login(&"ann@example.org".parse().unwrap()).await.unwrap().unwrap();
    assert!(login.password.unwrap().verify(&model::Secret::new("correct horse")));

    let made = desk.json(&["user", "set-admin", "ann@example.org", "true"]).await;
    assert_eq!(made, json!({"email": "ann@example.org", "isAdmin": true}));
    assert_eq!(desk.json(&["user", "list"]).await[0]["isAdmin"], true);
    // Somebody has to be one.
    let error = desk.failure(&["user", "set-admin", "ann@example.org", "false"]).await;
    assert!(text(&error["error"]).contains("administrator"), "{error}");
    let error = desk.failure(&["user", "set-admin", "bob@example.org", "true"]).await;
    assert!(text(&error["error"]).contains("bob@example.org"), "{error}");
}

#[tokio::test]
async fn what_destroys_asks_a_person_first() {
    let desk = Desk::at_a_known_site().await;
    let printer = desk.add_printer().await;
    let app = desk.json(&["app-connection", "create", "--printer", &printer, "--app", "App"]).await;
    let link = desk.json(&["shared-connection", "create", "--printer", &printer]).await;
    let destructive: &[&[&str]] = &[
        &["app-connection", "revoke", text(&app["id"])],
        &["shared-connection", "revoke", text(&link["id"])],
        &["printer", "remove", &printer],
        &["user", "delete", "ann@example.org"],
    ];
    let seq = desk.store().await.latest_change().await.unwrap();
    for line in destructive {
        for answer in ["", "\n", "n\n", "nope\n"] {
            let mut command = desk.command(line);
            (command.is_terminal, command.input) = (true, answer);
            let outcome = command.run().await;
            assert!(outcome.failed && outcome.errors.contains("[y/N] ") && outcome.output.is_empty(), "{line:?}");
            assert!(outcome.errors.contains("nothing was changed"), "{}", outcome.errors);
        }
    }
    assert_eq!(desk.store().await.latest_change().await.unwrap(), seq);
    for (line, (answer, yes)) in destructive.iter().zip([("y\n", false), ("YES\n", false), ("", true), ("", true)]) {
        let mut command = desk.command(line);
        (command.is_terminal, command.input) = (true, answer);
        if yes {
            command.line.push("--yes".to_owned());
        }
        let outcome = command.run().await;
        assert!(!outcome.failed, "{line:?}: {}", outcome.errors);
        assert_eq!(outcome.errors.contains("[y/N]"), !yes);
    }
    assert_eq!(desk.json(&["user", "list"]).await, json!([]));
}

#[tokio::test]
async fn people_are_told_what_to_do_next() {
    let desk = Desk::at_a_known_site().await;
    let data = desk.directory.path().to_str().unwrap().to_owned();
    let added = desk.text(&["user", "add", "ann@example.org"]).await;
    let next = format!("\n  spoolway admin --data {data} printer add --owner ann@example.org --name NAME\n");
    assert!(added.contains("ann@example.org") && added.contains(&next), "{added}");

    let added = desk.text(&["printer", "add", "--owner", "ann@example.org", "--name", "Left one"]).await;
    let agent = added.lines().find(|line| line.contains("spoolway-agent run")).unwrap();
    assert!(agent.starts_with("  spoolway-agent run --server https://spoolway.example --printer http"), "{agent}");
    let token = agent.split(" --token ").nth(1).unwrap();
    let outcome =
        desk.store().await.enrol_agent(&model::Secret::new(token), &model::Secret::generate(), now()).await.unwrap();
    assert!(matches!(outcome, store::EnrolOutcome::Enrolled { .. }));

    let id = desk.json(&["printer", "list"]).await[0]["printerId"].clone();
    let created = desk.text(&["app-connection", "create", "--printer", text(&id), "--app", "An app"]).await;
    let curl = created.lines().find(|line| line.trim_start().starts_with("curl -u ")).unwrap();
    assert!(curl.contains(" https://app-"), "{curl}");
    desk.text(&["beta", "grant", "ann@example.org", "gadget-api"]).await;
    desk.text(&["shared-connection", "create", "--printer", text(&id)]).await;

    for (list, expected) in [
        ("user", vec!["EMAIL", "ann@example.org", "unlimited"]),
        ("plan", vec!["SUPPORTER", "unlimited", "yes"]),
        ("printer", vec!["Left one", "never connected", text(&id)]),
        ("app-connection", vec!["An app", "Left one", "never", "https://app-"]),
        ("shared-connection", vec!["PASSWORD", "none", "https://shared-"]),
        ("beta", vec!["gadget-api", "ann@example.org"]),
    ] {
        let table = desk.text(&[list, "list"]).await;
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(expected.iter().all(|part| table.contains(part)), "{table}");
    }
    let renamed = desk.text(&["printer", "rename", text(&id), "Right one"]).await;
    assert!(renamed.contains("Right one"));
    let removed = desk.text(&["printer", "remove", text(&id)]).await;
    assert!(removed.contains("Right one"));
    assert!(desk.text(&["printer", "list"]).await.contains("printer add --owner"));
}

#[tokio::test]
async fn a_service_that_never_started_has_no_address_yet() {
    let desk = Desk::new();
    let added = desk.command(&["user", "add", "ann@example.org"]).run().await;
    assert!(added.errors.contains("made a new database"), "{}", added.errors);
    let printer = desk.add_printer().await;
    let created =
        desk.command(&["app-connection", "create", "--printer", &printer, "--app", "App", "--json"]).run().await;
    assert!(created.errors.starts_with("warning: the service has not yet started"), "{}", created.errors);
    let url = serde_json::from_str::<Value>(&created.output).unwrap()["url"].clone();
    assert!(text(&url).starts_with("http://app-") && text(&url).ends_with(".localhost:8080"), "{url}");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_named() {
    let desk = Desk::new();
    std::fs::write(desk.directory.path().join("spoolway.db"), "no database".repeat(500)).unwrap();
    let told = desk.failure(&["user", "list"]).await;
    assert!(text(&told["error"]).contains(desk.directory.path().to_str().unwrap()), "{told}");
    assert!(text(&told["hint"]).contains("data directory"), "{told}");
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    Line::command().debug_assert();
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    command: AdminCommand,
}

/// An operator's desk: a data directory of its own.
struct Desk {
    directory: TempDir,
}

struct Command<'a> {
    line: Vec<String>,
    input: &'a str,
    is_terminal: bool,
}

struct Outcome {
    failed: bool,
    output: String,
    errors: String,
}

impl Desk {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    /// With the address that the service would have noted.
    async fn at_a_known_site() -> Self {
        let desk = Self::new();
        let address = SiteAddress {
            scheme: "https".to_owned(),
            domain: "spoolway.example".to_owned(),
            printers_domain: "printers.example".to_owned(),
        };
        desk.store().await.set_site_address(&address).await.unwrap();
        desk
    }

    async fn store(&self) -> Store {
        Store::open(&DatabaseUrl::in_data_directory(self.directory.path())).await.unwrap()
    }

    /// A printer of `ann@example.org`.
    async fn add_printer(&self) -> String {
        self.command(&["user", "add", "ann@example.org"]).run().await;
        let added = self.json(&["printer", "add", "--owner", "ann@example.org", "--name", "Left one"]).await;
        text(&added["printerId"]).to_owned()
    }

    fn command(&self, line: &[&str]) -> Command<'static> {
        let data = self.directory.path().to_str().unwrap();
        let line = ["admin", "--data", data].iter().chain(line).map(|word| (*word).to_owned()).collect();
        Command { line, input: "", is_terminal: false }
    }

    async fn json(&self, line: &[&str]) -> Value {
        self.command(line).json().await
    }

    async fn text(&self, line: &[&str]) -> String {
        let outcome = self.command(line).run().await;
        assert!(!outcome.failed, "{line:?}: {}", outcome.errors);
        outcome.output
    }

    /// The error object of a command that fails.
    async fn failure(&self, line: &[&str]) -> Value {
        let mut command = self.command(line);
        command.line.push("--json".to_owned());
        let outcome = command.run().await;
        assert!(outcome.failed && outcome.output.is_empty(), "{line:?}: {}", outcome.output);
        serde_json::from_str(outcome.errors.trim()).unwrap()
    }
}

impl Command<'_> {
    async fn json(mut self) -> Value {
        self.line.push("--json".to_owned());
        let outcome = self.run().await;
        assert!(!outcome.failed, "{}", outcome.errors);
        serde_json::from_str(&outcome.output).unwrap()
    }

    async fn run(self) -> Outcome {
        let line = match Line::try_parse_from(&self.line) {
            Ok(line) => line,
            Err(error) => return Outcome { failed: true, output: String::new(), errors: error.to_string() },
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let mut console = Console {
            input: Box::new(self.input.as_bytes()),
            is_terminal: self.is_terminal,
            output: Box::new(&mut output),
            errors: Box::new(&mut errors),
        };
        let exit_code = server::admin::run(line.command, &mut console).await;
        drop(console);
        Outcome {
            failed: exit_code != ExitCode::SUCCESS,
            output: String::from_utf8(output).unwrap(),
            errors: String::from_utf8(errors).unwrap(),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
