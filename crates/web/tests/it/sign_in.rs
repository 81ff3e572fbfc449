//! Making accounts, signing in and out, and what guessing gets.

use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use model::Secret;
use store::TokenPurpose;
use totp_rs::{Algorithm, Builder};
use web::{SignUp, SiteSettings};

use crate::api::fixture::Answer;
use crate::world::{Browser, World, address, now, with_document};

const PASSWORD: &str = "correct horse battery";
const EMAIL: &str = "ann@example.org";

async fn sign_in(browser: &mut Browser<'_>, email: &str, password: &str) -> Answer {
    browser.post("/sign-in", &[("email", email), ("password", password)]).await
}

#[track_caller]
fn assert_leads(answer: &Answer, to: &str) {
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, to), "{}", answer.text());
}

#[tokio::test]
async fn the_setup_link_makes_one_administrator() {
    let world = World::new().await;
    let hour = Duration::from_secs(3600);
    let token = world.store.issue_token(TokenPurpose::Setup, None, None, None, hour, now()).await.expect("a token");
    let path = format!("/setup?token={}", token.expose());
    let mut browser = world.browser();
    assert!(browser.get(&path).await.text().contains("action=\"/setup\""));
    let weak = [("token", token.expose()), ("email", EMAIL), ("password", "password1")];
    assert_eq!(browser.post("/setup", &weak).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let fields = [("token", token.expose()), ("email", EMAIL), ("password", PASSWORD)];
    assert_leads(&browser.post("/setup", &fields).await, "/printers");
    assert_eq!(browser.get("/admin").await.status, StatusCode::OK);
    // It is used up, for whoever reads it in a log afterwards.
    let mut late = world.browser();
    assert!(late.get(&path).await.text().contains("was used"));
    let again = [("token", token.expose()), ("email", "eve@example.org"), ("password", PASSWORD)];
    assert_eq!(late.post("/setup", &again).await.header("location"), "");
    assert_eq!(world.store.accounts().await.expect("a list").rows.len(), 1);
    for wrong in
        ["", "x", token.hash().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>().as_str()]
    {
        let fields = [("token", wrong), ("email", "eve@example.org"), ("password", PASSWORD)];
        assert_eq!(late.post("/setup", &fields).await.header("location"), "");
    }
}

#[tokio::test]
async fn accounts_are_made_as_the_operator_allows() {
    for (sign_up, is_open) in [(SignUp::Open, true), (SignUp::Invitation, false), (SignUp::Closed, false)] {
        let world = World::with(SiteSettings { sign_up, ..SiteSettings::default() }, "http").await;
        let mut browser = world.browser();
        assert_eq!(browser.get("/sign-up").await.text().contains("action=\"/sign-up\""), is_open, "{sign_up:?}");
        let fields = [("email", EMAIL), ("password", PASSWORD), ("to", "/link")];
        let made = browser.post("/sign-up", &fields).await;
        if is_open {
            assert_leads(&made, "/link");
        } else {
            assert_eq!(made.status, StatusCode::FORBIDDEN, "{sign_up:?}");
        }
        let exists = world.store.account_for_login(&address(EMAIL)).await.expect("an answer");
        assert_eq!(exists.is_some(), is_open, "{sign_up:?}");
        assert!(exists.is_none_or(|login| !login.is_admin));
    }
}

#[tokio::test]
async fn an_invitation_is_good_once_and_for_its_address() {
    let world = World::new().await;
    let (invited, day) = (address(EMAIL), Duration::from_secs(86_400));
    let issue = async |email| {
        let token = world.store.issue_token(TokenPurpose::Invitation, None, email, None, day, now()).await;
        token.expect("a token")
    };
    let token = issue(Some(&invited)).await;
    let mut browser = world.browser();
    assert!(browser.get(&format!("/sign-up?token={}", token.expose())).await.text().contains(EMAIL));
    // Another address in the form changes nothing: the invitation's counts.
    let fields = [("token", token.expose()), ("email", "eve@example.org"), ("password", PASSWORD)];
    assert_leads(&browser.post("/sign-up", &fields).await, "/printers");
    assert!(world.store.account_for_login(&invited).await.expect("an answer").is_some());
    let again = [("token", token.expose()), ("email", "eve@example.org"), ("password", PASSWORD)];
    assert_eq!(world.browser().post("/sign-up", &again).await.header("location"), "");
    assert!(world.store.account_for_login(&address("eve@example.org")).await.expect("an answer").is_none());

    let withdrawn = issue(None).await;
    let id = world.store.invitations(now()).await.expect("a list")[0].id.clone();
    world.store.withdraw_invitation(&id).await.expect("it exists");
    let fields = [("token", withdrawn.expose()), ("email", "eve@example.org"), ("password", PASSWORD)];
    assert_eq!(world.browser().post("/sign-up", &fields).await.header("location"), "");
    // One for something else is none.
    let setup = world.store.issue_token(TokenPurpose::ResetPassword, None, None, None, day, now()).await.expect("one");
    let fields = [("token", setup.expose()), ("email", "eve@example.org"), ("password", PASSWORD)];
    assert_eq!(world.browser().post("/sign-up", &fields).await.header("location"), "");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_account_are_answered_alike() {
    let world = World::new().await;
    world.account(EMAIL, Some(PASSWORD)).await;
    world.account("passkey@example.org", None).await;
    let mut answers = Vec::new();
    for email in [EMAIL, "nobody@example.org", "passkey@example.org"] {
        let mut browser = world.browser();
        let answer = sign_in(&mut browser, email, "wrong horse battery").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{email}");
        let token = browser.form_token().await;
        let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        names.sort();
        let page = answer.text().replace(email, "EMAIL").replace(&token, "TOKEN");
        let policy = answer.header("content-security-policy").to_owned();
        let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
        answers.push((page.replace(nonce, "NONCE"), names));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    // The page for a new password gives away as little.
    let mut pages = Vec::new();
    for email in [EMAIL, "nobody@example.org", "no address"] {
        let mut browser = world.browser();
        let answer = browser.post("/reset-password", &[("email", email)]).await;
        let text = with_document(&answer.text(), |page| {
            page.descendants().filter(|node| node.is_text()).filter_map(|node| node.text()).collect::<String>()
        });
        pages.push((answer.status, text));
    }
    assert!(pages.iter().all(|page| *page == pages[0]));
}

#[tokio::test]
async fn cookies_are_for_this_host_alone() {
    for (scheme, name, is_secure) in [("https", "__Host-spoolway_session", true), ("http", "spoolway_session", false)] {
        let world = World::with(SiteSettings::default(), scheme).await;
        world.account(EMAIL, Some(PASSWORD)).await;
        let mut browser = world.browser();
        let page = browser.get("/sign-in").await;
        let signed_in = sign_in(&mut browser, EMAIL, PASSWORD).await;
        assert!(signed_in.header("set-cookie").starts_with(&format!("{name}=")), "{scheme}");
        let signed_out = browser.post("/sign-out", &[]).await;
        for answer in [page, signed_in, signed_out] {
            let cookie = answer.header("set-cookie");
            let flags: Vec<&str> = cookie.split("; ").skip(1).collect();
            for flag in ["HttpOnly", "SameSite=Lax", "Path=/"] {
                assert!(flags.contains(&flag), "{scheme}: {cookie}");
            }
            assert_eq!(flags.contains(&"Secure"), is_secure, "{cookie}");
            assert_eq!(cookie.starts_with("__Host-"), is_secure, "{cookie}");
            assert!(!cookie.contains("Domain"), "{cookie}");
        }
    }
    // On TLS a cookie without the prefix, which a printer's page could have set, is not looked at.
    let world = World::with(SiteSettings::default(), "https").await;
    let account = world.account(EMAIL, None).await;
    let (_, mut browser) = world.signed_in(&account).await;
    assert!(!browser.is_signed_in().await);
    let token = browser.cookies.remove("spoolway_session").expect("it was set");
    browser.cookies.insert("__Host-spoolway_session".to_owned(), token);
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn each_sign_in_is_a_new_session_and_signing_out_ends_it() {
    let world = World::new().await;
    let account = world.account(EMAIL, Some(PASSWORD)).await;
    let mut browser = world.browser();
    // Somebody has planted a cookie.
    browser.cookies.insert("spoolway_session".to_owned(), "planted".to_owned());
    browser.get("/sign-in").await;
    assert_leads(&sign_in(&mut browser, EMAIL, PASSWORD).await, "/printers");
    let first = browser.cookies["spoolway_session"].clone();
    assert_ne!(first, "planted");
    let before = browser.clone();
    assert_leads(&sign_in(&mut browser, EMAIL, PASSWORD).await, "/printers");
    assert_ne!(browser.cookies["spoolway_session"], first);
    assert_eq!(world.store.sessions(&account, now()).await.expect("a list").len(), 2);

    let stolen = browser.clone();
    assert_leads(&browser.post("/sign-out", &[]).await, "/");
    assert!(!browser.cookies.contains_key("spoolway_session"));
    assert!(!stolen.clone().is_signed_in().await, "the cookie is worth nothing any more");
    assert!(before.clone().is_signed_in().await, "other sessions go on");
}

#[tokio::test]
async fn another_password_ends_other_sessions() {
    let world = World::new().await;
    let account = world.account(EMAIL, Some(PASSWORD)).await;
    let (_, mut other) = world.signed_in(&account).await;
    let (_, mut browser) = world.signed_in(&account).await;
    let change = async |browser: &mut Browser<'_>, current, new| {
        browser.post("/settings/password", &[("current", current), ("new", new)]).await
    };
    let wrong = change(&mut browser, "wrong horse battery", "another good one").await;
    assert_eq!(wrong.status, StatusCode::FORBIDDEN);
    let long = "x".repeat(1025);
    for bad in ["short", "password1", EMAIL, &long, "aaaaaaaaaaaaaaa"] {
        assert_eq!(change(&mut browser, PASSWORD, bad).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert!(other.is_signed_in().await);
    assert_leads(&change(&mut browser, PASSWORD, "another good one").await, "/settings?said=password");
    assert!(browser.is_signed_in().await && !other.is_signed_in().await);
    assert_eq!(sign_in(&mut world.browser(), EMAIL, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_leads(&sign_in(&mut world.browser(), EMAIL, "another good one").await, "/printers");
}

#[tokio::test]
async fn a_link_for_a_new_password_is_good_once() {
    let world = World::new().await;
    let account = world.account(EMAIL, Some(PASSWORD)).await;
    let (_, mut other) = world.signed_in(&account).await;
    let (email, hour) = (address(EMAIL), Duration::from_secs(3600));
    let issue = world.store.issue_token(TokenPurpose::ResetPassword, Some(&account), Some(&email), None, hour, now());
    let token = issue.await.expect("a token");
    let mut browser = world.browser();
    let set = async |browser: &mut Browser<'_>, password| {
        browser.post("/reset-password/set", &[("token", token.expose()), ("password", password)]).await
    };
    assert!(set(&mut browser, "password1").await.text().contains("role=\"alert\""), "the link is not used up by it");
    assert_leads(&set(&mut browser, "another good one").await, "/sign-in");
    assert!(!other.is_signed_in().await);
    assert_eq!(set(&mut browser, "yet another one").await.status, StatusCode::BAD_REQUEST);
    assert_leads(&sign_in(&mut browser, EMAIL, "another good one").await, "/printers");
}

#[tokio::test]
async fn passwords_that_everybody_tries_are_refused_everywhere() {
    let world = World::with(SiteSettings { sign_up: SignUp::Open, ..SiteSettings::default() }, "http").await;
    let mut browser = world.browser();
    let long = "x".repeat(1025);
    for bad in ["", "1234567", "12345678", "Password", "QWERTYUIOP", "aaaaaaaaaa", EMAIL, &long] {
        let answer = browser.post("/sign-up", &[("email", EMAIL), ("password", bad)]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        assert!(!answer.text().contains(&format!("value=\"{bad}\"")) || bad == EMAIL || bad.is_empty());
    }
    assert!(world.store.account_for_login(&address(EMAIL)).await.expect("an answer").is_none());
}

#[tokio::test]
async fn nobody_is_led_away_after_signing_in() {
    let world = World::new().await;
    let account = world.account(EMAIL, Some(PASSWORD)).await;
    let (_, mut signed_in) = world.signed_in(&account).await;
    for (to, expected) in [
        ("/shares", "/shares"),
        ("/view/x?y=z", "/view/x?y=z"),
        ("//evil.example", "/printers"),
        ("/\\evil.example", "/printers"),
        ("\\\\evil.example", "/printers"),
        ("https://evil.example", "/printers"),
        ("https:evil.example", "/printers"),
        ("javascript:alert(1)", "/printers"),
        ("/\t/evil.example", "/printers"),
        ("/\n/evil.example", "/printers"),
        (" //evil.example", "/printers"),
        ("evil.example", "/printers"),
        ("", "/printers"),
        ("/ok\r\nSet-Cookie: a=b", "/printers"),
        ("///evil.example", "/printers"),
        ("/\u{2028}/evil", "/printers"),
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
        assert_leads(&signed_in.get(&format!("/sign-in?to={encoded}")).await, expected);
        let page = world.browser().get(&format!("/sign-in?to={encoded}")).await.text();
        let offered = with_document(&page, |page| {
            let input = page.descendants().find(|node| node.attribute("name") == Some("to")).expect("a field");
            input.attribute("value").map(str::to_owned)
        });
        assert_eq!(offered.as_deref(), Some(expected), "{to:?}");
    }
    for to in ["//evil.example", "https://evil.example"] {
        let mut browser = world.browser();
        let fields = [("email", EMAIL), ("password", PASSWORD), ("to", to)];
        assert_leads(&browser.post("/sign-in", &fields).await, "/printers");
    }
}

#[tokio::test]
async fn whoever_guesses_waits_and_the_owner_does_not() {
    let world = World::new().await;
    world.account(EMAIL, Some(PASSWORD)).await;
    let mut guesser = world.browser().coming_from([198, 51, 100, 7]);
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let answer = sign_in(&mut guesser, EMAIL, "wrong horse battery").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds: u32 = answer.header("retry-after").parse().expect("seconds");
            assert!((1..=120).contains(&seconds), "{seconds}");
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 401, 401, 429, 429]);
    // The right password does not help there any more, or guessing would go on.
    assert_eq!(sign_in(&mut guesser, EMAIL, PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
    // Another account is tried from there, until that is too much as well.
    let mut n_tries = 0;
    while sign_in(&mut guesser, &format!("a{n_tries}@example.org"), "wrong horse").await.status.as_u16() == 401 {
        n_tries += 1;
    }
    assert!((1..20).contains(&n_tries), "{n_tries}");
    // The owner comes from elsewhere.
    let mut owner = world.browser().coming_from([203, 0, 113, 9]);
    assert_leads(&sign_in(&mut owner, EMAIL, PASSWORD).await, "/printers");
    // Who mistypes and gets it right begins anew.
    for _ in 0..2 {
        for _ in 0..6 {
            assert_eq!(sign_in(&mut owner, EMAIL, "wrong").await.status, StatusCode::UNAUTHORIZED);
        }
        assert_leads(&sign_in(&mut owner, EMAIL, PASSWORD).await, "/printers");
    }
}

fn code(secret: &[u8], steps_from_now: i64) -> String {
    let totp = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(30)
        .with_secret(secret.to_vec())
        .build()
        .expect("a secret of the right length");
    let seconds = now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    totp.generate(seconds.saturating_add_signed(steps_from_now * 30)).to_string()
}

#[tokio::test]
async fn one_time_codes_are_asked_for_and_good_once() {
    let world = World::new().await;
    let account = world.account(EMAIL, Some(PASSWORD)).await;
    let (_, mut settings) = world.signed_in(&account).await;
    let refused = settings.post("/settings/totp/start", &[("password", "wrong horse")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    settings.post("/settings/totp/start", &[("password", PASSWORD)]).await;
    let secret = world.store.pending_totp(&account).await.expect("an answer").expect("it was started");
    // Nothing is asked for before a code was shown to work.
    assert_leads(&sign_in(&mut world.browser(), EMAIL, PASSWORD).await, "/printers");
    let page = settings.post("/settings/totp/confirm", &[("code", &code(&secret, 0))]).await.text();
    let recovery: Vec<String> = with_document(&page, |page| {
        let list = page.descendants().find(|node| node.attribute("id") == Some("codes")).expect("a list");
        list.text().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    });
    assert_eq!(recovery.len(), 10, "{page}");

    let ask = async |browser: &mut Browser<'_>, code: &str| {
        assert_leads(&sign_in(browser, EMAIL, PASSWORD).await, "/sign-in/second-factor");
        assert!(!browser.is_signed_in().await, "the password alone is not enough");
        browser.post("/sign-in/second-factor", &[("code", code)]).await
    };
    let used = code(&secret, 1);
    assert_leads(&ask(&mut world.browser(), &used).await, "/printers");
    let again = ask(&mut world.browser(), &used).await;
    assert!(again.header("location").is_empty() && again.text().contains("used before"), "{}", again.text());
    let older = ask(&mut world.browser(), &code(&secret, 0)).await;
    assert!(older.header("location").is_empty(), "a code of before is spent, too");

    let mut elsewhere = world.browser().coming_from([203, 0, 113, 9]);
    assert_leads(&ask(&mut elsewhere, &recovery[0].to_lowercase().replace('-', " ")).await, "/printers");
    let again = ask(&mut world.browser().coming_from([203, 0, 113, 10]), &recovery[0]).await;
    assert!(again.header("location").is_empty());
    assert_eq!(world.store.recovery_codes_left(&account).await.expect("a number"), 9);

    // Five wrong codes, and the password is asked for again.
    let mut guesser = world.browser().coming_from([198, 51, 100, 7]);
    assert_leads(&sign_in(&mut guesser, EMAIL, PASSWORD).await, "/sign-in/second-factor");
    for _ in 0..4 {
        let answer = guesser.post("/sign-in/second-factor", &[("code", "000000")]).await;
        assert_eq!(answer.header("location"), "");
    }
    for _ in 0..2 {
        assert_leads(&guesser.post("/sign-in/second-factor", &[("code", "000000")]).await, "/sign-in");
    }
    assert_leads(&guesser.get("/sign-in/second-factor").await, "/sign-in");

    // Nor does another browser take over where this one has given the password.
    let mut first = world.browser().coming_from([192, 0, 2, 77]);
    assert_leads(&sign_in(&mut first, EMAIL, PASSWORD).await, "/sign-in/second-factor");
    let stranger = world.browser().post("/sign-in/second-factor", &[("code", &recovery[1])]).await;
    assert_leads(&stranger, "/sign-in");
}

#[tokio::test]
async fn new_recovery_codes_take_the_place_of_the_old_ones() {
    let world = World::new().await;
    let account = world.account(EMAIL, Some(PASSWORD)).await;
    let (_, mut browser) = world.signed_in(&account).await;
    let without = browser.post("/settings/totp/recovery", &[("password", PASSWORD)]).await;
    assert_eq!(without.status, StatusCode::BAD_REQUEST, "there is nothing to recover from");
    world.store.start_totp(&account, &[7; 20]).await.expect("an account");
    world.store.confirm_totp(&account, 1, &[Secret::new("AAAAABBBBB")], now()).await.expect("it was started");
    let refused = browser.post("/settings/totp/recovery", &[("password", "wrong horse")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(world.store.recovery_codes_left(&account).await.expect("a number"), 1);
    let page = browser.post("/settings/totp/recovery", &[("password", PASSWORD)]).await.text();
    let codes: Vec<String> = with_document(&page, |page| {
        let list = page.descendants().find(|node| node.attribute("id") == Some("codes")).expect("a list");
        list.text().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    });
    assert_eq!(codes.len(), 10, "{page}");
    let ask = async |code: &str| {
        let mut browser = world.browser();
        assert_leads(&sign_in(&mut browser, EMAIL, PASSWORD).await, "/sign-in/second-factor");
        browser.post("/sign-in/second-factor", &[("code", code)]).await.header("location").to_owned()
    };
    assert_eq!(ask("AAAAABBBBB").await, "", "an old one");
    assert_eq!(ask(&codes[3]).await, "/printers");
}

#[tokio::test]
async fn switching_codes_off_needs_the_password() {
    let world = World::new().await;
    let account = world.account(EMAIL, Some(PASSWORD)).await;
    world.store.start_totp(&account, &[7; 20]).await.expect("an account");
    world.store.confirm_totp(&account, 1, &[Secret::new("AAAAABBBBB")], now()).await.expect("it was started");
    let (_, mut browser) = world.signed_in(&account).await;
    let refused = browser.post("/settings/totp/off", &[("password", "")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    // Nor are they replaced by somebody else's.
    let refused = browser.post("/settings/totp/start", &[("password", PASSWORD)]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(world.store.account(&account).await.expect("it exists").has_totp);
    assert_leads(&browser.post("/settings/totp/off", &[("password", PASSWORD)]).await, "/settings?said=totp-off");
    assert_leads(&sign_in(&mut world.browser(), EMAIL, PASSWORD).await, "/printers");
}

/// Each password that is looked at takes 19 MiB and a core for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_sign_ins_is_answered_and_stops_nobody_else() {
    let world = World::new().await;
    world.account(EMAIL, Some(PASSWORD)).await;
    let flood = (0..500u16).map(|n| {
        let [high, low] = n.to_be_bytes();
        let mut browser = world.browser().coming_from([10, 0, high, low]);
        // One at each of many accounts, which do not exist: neither budget stops them, and each is hashed all the same.
        async move { sign_in(&mut browser, &format!("nobody{n}@example.org"), "a wrong horse").await.status }
    });
    let is_over = std::cell::Cell::new(false);
    let flood = async {
        let statuses = futures_util::future::join_all(flood).await;
        is_over.set(true);
        statuses
    };
    let others = async {
        let mut others = 0;
        while !is_over.get() {
            assert_eq!(world.browser().get("/healthz").await.status, StatusCode::OK);
            others += 1;
            tokio::task::yield_now().await;
        }
        others
    };
    let (statuses, others) = tokio::join!(flood, others);
    assert!(others > 10, "others were answered {others} times meanwhile");
    assert!(statuses.iter().all(|status| matches!(status.as_u16(), 200 | 401 | 403 | 429)), "{statuses:?}");
    assert!(statuses.iter().any(|status| status.as_u16() != 429), "somebody got a turn: {statuses:?}");
    assert_leads(&sign_in(&mut world.browser(), EMAIL, PASSWORD).await, "/printers");
}
