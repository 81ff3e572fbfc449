//! The App Connection Portal, step by step.

use std::collections::HashMap;

use http::StatusCode;
use model::PrinterId;
use parking_lot::Mutex;
use roxmltree::{Document, ParsingOptions};
use store::{Name, RegisteredApp};
use url::Url;
use web::SiteSettings;
use web::outbound::OutboundOptions;

use super::fixture::{Answer, Site, now};
use crate::world::PlayedAgent;

const APP: &str = "/appportal/v1?appId=devtest&returnUrl=someapp%3A%2F%2Foctoeverywhere%3Fkept%3D1";

#[tokio::test]
async fn who_is_not_signed_in_comes_back_with_everything() {
    let site = Site::new().await;
    let path = "/AppPortal/V1/?appid=devtest&RETURNURL=https%3A%2F%2Fapp.example%2Fdone%3Fa%3Db%26c&printerId=P1\
                &appLogoUrl=https%3A%2F%2Fapp.example%2Fl.png&octoPrintApiKeyAppName=My%20App&authType=enhanced";
    let answer = site.get(path, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let links = attributes(&answer, "a", "href");
    let sign_in = links.iter().find(|link| link.starts_with("/sign-in?to=")).expect("a way to sign in");
    let to = parameters(&format!("http://localhost{sign_in}"))["to"].clone();
    assert!(to.starts_with("/appportal/v1?"), "{to}");
    let back = parameters(&format!("http://localhost{to}"));
    for (key, value) in [
        ("appId", "devtest"),
        ("returnUrl", "https://app.example/done?a=b&c"),
        ("printerId", "P1"),
        ("appLogoUrl", "https://app.example/l.png"),
        ("octoPrintApiKeyAppName", "My App"),
    ] {
        assert_eq!(back[key], value);
    }
    assert!(links.iter().any(|link| link.starts_with("/sign-up?to=")));
    assert!(links.contains(&"https://app.example/done?a=b&c&success=false&error=cancelled".to_owned()), "{links:?}");
}

#[tokio::test]
async fn mistakes_of_the_app_go_nowhere() {
    let site = Site::new().await;
    for path in [
        "/appportal/v1",
        "/appportal/v1?appId=",
        "/appportal/v1?appId=x&returnUrl=javascript:alert(1)",
        "/appportal/v1?appId=x&returnUrl=http%3A%2F%2Fapp.example%2F",
        "/appportal/v1?appId=x&returnUrl=%2F%2Fapp.example",
        "/appportal/v1?appId=x&returnUrl=https%3A%2F%2Fd.example%40app.example",
    ] {
        for answer in [site.get(path, &[]).await, site.page(path).await] {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
            assert!(attributes(&answer, "a", "href").iter().all(|link| link.starts_with('/')), "{path}");
        }
    }
}

#[tokio::test]
async fn one_printer_is_taken_and_the_question_names_everything() {
    let site = Site::new().await;
    let answer = site.page(APP).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let text = answer.text();
    for named in ["devtest", "My printer", "someapp:", "Not registered"] {
        assert!(text.contains(named), "{named}");
    }
    assert!(answer.header("content-security-policy").contains("form-action 'self' someapp:;"));
    assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!(fields(&answer)["printer_id"], site.printer.as_str());
    assert_eq!(attributes(&answer, "input", "required").len(), 1, "the warning has to be confirmed");
}

#[tokio::test]
async fn an_app_gets_every_documented_parameter() {
    let site = Site::new().await;
    site.say_seen("moonraker").await;
    let back = allow(&site, APP).await;
    assert!(back.starts_with("someapp://octoeverywhere?kept=1&success=true&"), "{back}");
    let given = parameters(&back);
    for key in ["id", "appApiToken", "authBasicHttpUser", "authBasicHttpPassword", "authBearerToken"] {
        assert!(given[key].len() >= 20 && given[key].bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
    }
    assert_eq!(given["authbasichttpuser"], given["authBasicHttpUser"]);
    assert_eq!(given["authbasichttppassword"], given["authBasicHttpPassword"]);
    assert_eq!(given["printername"], "My printer");
    assert_eq!(given["printerLastKnownLocalIp"], "192.168.1.20");
    assert_eq!(given["userPrinterAccessUrl"], format!("http://localhost:8080/view/{}", site.printer));
    assert!(given["url"].starts_with("http://app-") && given["url"].ends_with(".localhost:8080"), "{}", given["url"]);
    assert!(!given.contains_key("octoPrintApiKey"));
    let info = site.get("/api/appconnection/info", &[("AppToken", &given["appApiToken"])]).await;
    assert_eq!(info.status, StatusCode::OK);
}

#[tokio::test]
async fn the_way_back_is_kept_nowhere() {
    let site = Site::new().await;
    let answer = decide(&site, APP, &[("decision", "allow"), ("trust", "yes")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert!(answer.body.is_empty());
    assert!(!site.page("/shares").await.text().contains(&parameters(answer.header("location"))["appApiToken"]));
}

#[tokio::test]
async fn without_a_return_url_the_portal_ends_on_its_own_page() {
    let site = Site::new().await;
    let back = allow(&site, "/appportal/v1?appId=devtest").await;
    assert!(back.starts_with("http://localhost:8080/appportal/v1/complete?success=true&id="), "{back}");
    let path = back.strip_prefix("http://localhost:8080").expect("it is ours");
    for path in [path, "/AppPortal/V1/complete", "/appportal/v1/complete?success=false&error=cancelled"] {
        let answer = site.get(path, &[]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
        let text = answer.text();
        assert_eq!(text.contains("The app is connected"), path.contains("success=true"), "{path}");
        assert!(!text.contains(&parameters(&back)["appApiToken"]), "the page repeats a secret");
        let scripts = attributes(&answer, "script", "src");
        assert_eq!(scripts.len(), 1);
        let script = site.get(&scripts[0], &[]).await;
        assert_eq!(script.text().trim(), "history.replaceState(null, \"\", location.pathname);");
        let nonce = &attributes(&answer, "script", "nonce")[0];
        assert!(answer.header("content-security-policy").contains(&format!("script-src 'nonce-{nonce}'")));
    }
}

#[tokio::test]
async fn full_control_is_given_only_where_it_is_ticked() {
    let site = Site::new().await;
    let full = async || {
        let listed = site.store.connections_of(&site.account, None).await.expect("a list");
        listed.last().expect("the app").has_full_control
    };
    allow(&site, APP).await;
    assert!(!full().await);
    let ticked = [("decision", "allow"), ("trust", "yes"), ("full_control", "yes")];
    assert_eq!(decide(&site, APP, &ticked).await.status, StatusCode::SEE_OTHER);
    assert!(full().await);
}

#[tokio::test]
async fn who_says_no_makes_nothing() {
    let site = Site::new().await;
    let answer = decide(&site, APP, &[("decision", "cancel")]).await;
    assert_eq!(answer.header("location"), "someapp://octoeverywhere?kept=1&success=false&error=cancelled");
    assert_eq!(n_connections(&site).await, 0);
}

#[tokio::test]
async fn an_unknown_app_needs_a_tick() {
    let site = Site::new().await;
    let answer = decide(&site, APP, &[("decision", "allow")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text().contains("Confirm that you know the app"));
    assert_eq!(n_connections(&site).await, 0);
}

#[tokio::test]
async fn a_registered_app_has_its_name_and_its_addresses_only() {
    let site = Site::new().await;
    register(&site, "devtest", "Tested app", &["someapp:", "https://app.example/done"]).await;
    let answer = site.page(APP).await;
    assert!(answer.text().contains("Give Tested app access") && !answer.text().contains("Not registered"));
    assert!(attributes(&answer, "input", "required").is_empty());
    let back = decide(&site, APP, &[("decision", "allow")]).await;
    assert!(back.header("location").starts_with("someapp://octoeverywhere?kept=1&success=true"));
    let elsewhere = "/appportal/v1?appId=devtest&returnUrl=https%3A%2F%2Fapp.example%2Fother";
    assert_eq!(site.page(elsewhere).await.status, StatusCode::BAD_REQUEST);
    // A form that was changed on the way gets no further.
    let mut changed = fields(&answer);
    changed.insert("return_url".to_owned(), "https://evil.example/".to_owned());
    changed.insert("decision".to_owned(), "allow".to_owned());
    let answer = submit(&site, &changed).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(n_connections(&site).await, 1);
    let own = allow(&site, "/appportal/v1?appId=devtest").await;
    assert!(own.starts_with("http://localhost:8080/appportal/v1/complete?"));
}

#[tokio::test]
async fn several_printers_are_a_choice() {
    let site = Site::new().await;
    let other = site.add_printer("Other <printer>").await;
    let answer = site.page(APP).await;
    assert!(answer.text().contains("Which printer?"));
    let links = attributes(&answer, "a", "href");
    for printer in [&site.printer, &other] {
        let link = links.iter().find(|link| link.contains(printer.as_str())).expect("it can be chosen");
        let chosen = site.page(link).await;
        assert_eq!(fields(&chosen)["printer_id"], printer.as_str());
        assert_eq!(fields(&chosen)["return_url"], "someapp://octoeverywhere?kept=1");
    }
    let named = site.page(&format!("{APP}&printerid={other}")).await;
    assert_eq!(fields(&named)["printer_id"], other.as_str());
}

#[tokio::test]
async fn without_the_printer_it_is_linked_first() {
    let site = Site::new().await;
    let unknown = site.page(&format!("{APP}&printerId={}", PrinterId::generate())).await;
    assert!(unknown.text().contains("not linked to your account"));
    let links = attributes(&unknown, "a", "href");
    assert!(links.iter().any(|link| link.starts_with("/link?to=%2Fappportal%2Fv1%3FappId%3Ddevtest")), "{links:?}");
    assert!(links.iter().any(|link| link.contains(site.printer.as_str())), "its own printer is offered");
    site.store.remove_printer(&site.printer, now()).await.expect("it exists");
    let none = site.page(APP).await;
    assert!(none.text().contains("You have no printer yet"));
    assert!(attributes(&none, "a", "href").iter().any(|link| link.ends_with("success=false&error=cancelled")));
}

#[tokio::test]
async fn somebody_elses_printer_is_as_unknown_as_none() {
    let site = Site::new().await;
    let foreign = "eve@example.org".parse().expect("an address");
    site.store.add_account(&foreign, None, None, now()).await.expect("a new account");
    let name = "Foreign".parse().expect("a name");
    let theirs = site.store.add_printer(&foreign, &name, now()).await.expect("a new printer").id;
    let page = site.page(&format!("{APP}&printerId={theirs}")).await;
    assert!(page.text().contains("not linked to your account") && !page.text().contains("Foreign"));
    let mut form = fields(&site.page(APP).await);
    form.insert("printer_id".to_owned(), theirs.to_string());
    form.insert("decision".to_owned(), "allow".to_owned());
    form.insert("trust".to_owned(), "yes".to_owned());
    assert_eq!(submit(&site, &form).await.status, StatusCode::NOT_FOUND);
    assert_eq!(n_connections(&site).await, 0);
}

#[tokio::test]
async fn a_plan_without_apps_ends_before_the_question() {
    let site = Site::new().await;
    let form = fields(&site.page(APP).await);
    site.store.set_plan("unlimited", now(), |plan| plan.supporter = false).await.expect("the plan exists");
    let answer = site.page(APP).await;
    assert!(answer.text().contains("Your plan includes no apps"));
    let expected = "someapp://octoeverywhere?kept=1&success=false&error=not_supporter";
    assert!(attributes(&answer, "a", "href").contains(&expected.to_owned()));
    // Whoever had the question open meanwhile gets the same answer.
    let mut form = form;
    form.extend([("decision", "allow"), ("trust", "yes")].map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(submit(&site, &form).await.header("location"), expected);
    assert_eq!(n_connections(&site).await, 0);
}

#[tokio::test]
async fn a_form_from_elsewhere_gives_nothing() {
    let site = Site::new().await;
    let mut form = fields(&site.page(APP).await);
    form.extend([("decision", "allow"), ("trust", "yes")].map(|(key, value)| (key.to_owned(), value.to_owned())));
    form.insert("form_token".to_owned(), "WRONG".to_owned());
    assert_eq!(submit(&site, &form).await.status, StatusCode::FORBIDDEN);
    assert_eq!(n_connections(&site).await, 0);
}

#[tokio::test]
async fn an_octoprint_key_is_made_if_it_can_be() {
    let path = format!("{APP}&octoPrintApiKeyAppName=My+App");
    for (software, key, fields, expected) in [
        ("octoprint", Some("KEY123"), &[("make_key", "yes")][..], Some("KEY123")),
        ("octoprint", Some("KEY123"), &[], None),
        ("octoprint", None, &[("make_key", "yes")], None),
        ("moonraker", Some("KEY123"), &[("make_key", "yes")], None),
    ] {
        let site = Site::new().await;
        site.say_seen(software).await;
        site.link_to(&site.printer, PlayedAgent { octoprint_key: Mutex::new(key), ..PlayedAgent::default() });
        let asked = site.page(&path).await;
        assert_eq!(asked.text().contains("named “My App”"), software == "octoprint");
        let all = [&[("decision", "allow"), ("trust", "yes")][..], fields].concat();
        let answer = decide(&site, &path, &all).await;
        let given = parameters(answer.header("location"));
        assert_eq!(given.get("success").map(String::as_str), Some("true"));
        assert_eq!(given.get("octoPrintApiKey").map(String::as_str), expected, "{software} {key:?}");
    }
}

#[tokio::test]
async fn the_page_for_a_connection_that_rests_answers_everybody() {
    let site = Site::new().await;
    register(&site, "known", "Known app", &[]).await;
    for (path, named) in [
        ("/appportal/v1/nosupporterperks?appid=known&moonraker=true", true),
        ("/AppPortal/V1/NoSupporterPerks", false),
        ("/appportal/v1/nosupporterperks?appId=%3Cscript%3E", false),
    ] {
        let answer = site.get(path, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.text().contains("Known app"), named);
        assert!(!answer.text().contains("<script>"));
    }
}

#[tokio::test]
async fn logos_come_from_the_site_itself() {
    let logo = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let port = logo.local_addr().expect("it is bound").port();
    let picture = image::DynamicImage::new_rgb8(300, 300);
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("it can be written");
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = logo.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", png.get_ref().len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(png.get_ref()).await;
        }
    });
    let site = Site::with(SiteSettings::default(), OutboundOptions::new(true)).await;
    let path = format!("{APP}&appLogoUrl=http%3A%2F%2F127.0.0.1%3A{port}%2Flogo");
    let sources = attributes(&site.page(&path).await, "img", "src");
    assert!(sources.len() == 1 && sources[0].starts_with("/appportal/logo/"), "{sources:?}");
    let shown = site.page(&sources[0]).await;
    assert_eq!((shown.status, shown.header("content-type")), (StatusCode::OK, "image/png"));
    let shown = image::load_from_memory(&shown.body).expect("a picture");
    assert_eq!((shown.width(), shown.height()), (200, 200));
    assert_ne!(site.get(&sources[0], &[]).await.status, StatusCode::OK, "for the signed in only");
    assert_eq!(site.page("/appportal/logo/0000").await.status, StatusCode::NOT_FOUND);
    // With the usual settings, an address inside is not even tried.
    let site = Site::new().await;
    assert!(attributes(&site.page(&path).await, "img", "src").is_empty());
}

async fn register(site: &Site, id: &str, name: &str, patterns: &[&str]) {
    let name: Name = name.parse().expect("a name");
    let return_patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    let app = RegisteredApp { id: id.to_owned(), name, return_patterns, created_at: now() };
    site.store.put_app(app).await.expect("it can be registered");
}

/// Opens the question, and says yes.
async fn allow(site: &Site, path: &str) -> String {
    let answer = decide(site, path, &[("decision", "allow"), ("trust", "yes")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text());
    answer.header("location").to_owned()
}

async fn decide(site: &Site, path: &str, more: &[(&str, &str)]) -> Answer {
    let page = site.page(path).await;
    let mut form = fields(&page);
    form.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    submit(site, &form).await
}

async fn submit(site: &Site, form: &HashMap<String, String>) -> Answer {
    let form: Vec<(&str, &str)> = form.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    site.submit("/appportal/v1/decision", &form).await
}

async fn n_connections(site: &Site) -> usize {
    site.store.connections(store::ConnectionKind::App, None).await.expect("a list").rows.len()
}

fn document<T>(answer: &Answer, read: impl FnOnce(&Document<'_>) -> T) -> T {
    let text = answer.text();
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    read(&Document::parse_with_options(&text, options).unwrap_or_else(|error| panic!("{error} in\n{text}")))
}

fn attributes(answer: &Answer, element: &str, name: &str) -> Vec<String> {
    document(answer, |document| {
        let main = document.descendants().find(|node| node.has_tag_name("main")).expect("a page");
        let elements = main.descendants().filter(|node| node.has_tag_name(element));
        elements.filter_map(|node| node.attribute(name).map(str::to_owned)).collect()
    })
}

/// The hidden fields of the question's form.
fn fields(answer: &Answer) -> HashMap<String, String> {
    document(answer, |document| {
        let main = document.descendants().find(|node| node.has_tag_name("main")).expect("a page");
        let inputs = main.descendants().filter(|node| node.attribute("type") == Some("hidden"));
        inputs
            .filter_map(|node| Some((node.attribute("name")?.to_owned(), node.attribute("value")?.to_owned())))
            .collect()
    })
}

fn parameters(url: &str) -> HashMap<String, String> {
    let url = Url::parse(url).expect("a URL");
    url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}
