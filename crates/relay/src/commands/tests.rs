use http::Request;

use super::*;

const PREFIX: &str = "/octoeverywhere-command-api/";

#[test]
fn every_spelling_of_a_command_is_seen() {
    use Ask::*;
    for (path, expected) in [
        ("ping", Read),
        ("STATUS", Read),
        ("webcam/stream/", Read),
        ("Files/List", ReadAgent),
        ("get-plugin-logs", ReadAgent),
        ("set-default-webcam", ActOnAgent),
        ("pause", Act),
        ("pausexyz", Act),
        ("%70ause", Act),
        ("set%2dtemp", Act),
        ("files/upload", Act),
        ("files/delete", Act),
        ("anything-newer", Act),
        ("", Act),
        ("send-command", Native),
        ("get-connection-info", Secrets),
        ("get-connection-infox", Secrets),
        ("proxy/mqtt", Mqtt),
        ("rekey", Never),
        ("REKEYx", Never),
        ("rekey/", Never),
        ("get-connection-info%20", Misspelled),
        ("rekey%00", Misspelled),
        ("re%4bey", Never),
        ("%72%65%6b%65%79", Never),
        ("%2572ekey", Misspelled),
        ("re%E2%84%AAey", Misspelled),
        ("webcam%2fsnapshot", Misspelled),
        ("webcam%5csnapshot", Misspelled),
        ("webcam//snapshot", Misspelled),
        ("/rekey", Misspelled),
        ("./rekey", Misspelled),
        ("ping/../rekey", Misspelled),
        ("../rekey", Misspelled),
        ("rekey;x", Misspelled),
    ] {
        assert_eq!(ask_of(&format!("{PREFIX}{path}")), Some(expected), "{path}");
    }
}

#[test]
fn every_spelling_of_the_prefix_is_seen() {
    for path in [
        "/OctoEverywhere-Command-Api/pause",
        "/octoeverywhere%2dcommand-api/pause",
        "/%6fctoeverywhere-command-api/pause",
    ] {
        assert_eq!(ask_of(path), Some(Ask::Act), "{path}");
    }
    for path in [
        "//octoeverywhere-command-api/pause",
        "/./octoeverywhere-command-api/pause",
        "/x/../octoeverywhere-command-api/pause",
        "/x/%2e%2e/octoeverywhere-command-api/pause",
        "/../octoeverywhere-command-api/pause",
        "/\\octoeverywhere-command-api\\pause",
        "/octoeverywhere-command-api%2fpause",
        "/octoeverywhere-command-api%252fpause",
        "/octoeverywhere%252dcommand-api/pause",
        "/octoeverywhere-command-api/../octoeverywhere-command-api/pause",
        "/octoeverywhere-command-api/../x",
        "/%2foctoeverywhere-command-api/pause",
    ] {
        assert_eq!(ask_of(path), Some(Ask::Misspelled), "{path}");
    }
    for path in [
        "/",
        "/octoeverywhere-command-api",
        "/x/octoeverywhere-command-api/pause",
        "/octoeverywhere-command-apix/pause",
        "/api/files/local/octoeverywhere-command-api.gcode",
        "/%",
        "/%25252525252525252561",
    ] {
        assert_eq!(ask_of(path), None, "{path}");
    }
}

/// What is said to a request of a caller with all that its door gives.
fn judged(kind: CallerKind, full: bool, method: &str, command: &str, headers: &[(&str, &str)]) -> Result<bool, u16> {
    let mut request = Request::builder().method(method).uri(format!("{PREFIX}{command}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).expect("the requests of this test are right").into_parts();
    let is_own_page = !headers.iter().any(|(name, _)| *name == "origin");
    let caller = Caller { kind, may_control: true, has_full_control: full };
    match judge(&Asker { parts: &parts, caller, is_websocket: method == "CONNECT", is_own_page }) {
        Judgement::Passes(caller) => Ok(caller.may_control),
        Judgement::Refused(response) => Err(response.status().as_u16()),
        Judgement::NoCommand => panic!("it is a command"),
    }
}

#[test]
fn each_door_has_its_commands() {
    use CallerKind::*;
    let passes = |kind, full, command| judged(kind, full, "POST", command, &[]).is_ok();
    for (command, app, shared, operator, owner) in [
        ("ping", true, true, true, true),
        ("pause", true, true, true, true),
        ("files/upload", true, true, true, true),
        ("files/list", true, false, true, true),
        ("files/download", true, false, true, true),
        ("get-plugin-logs", true, false, true, true),
        ("set-local-plugin-webcam-items", true, false, true, true),
        ("send-command", false, false, false, true),
        ("get-connection-info", false, false, false, true),
        ("rekey", false, false, false, false),
        ("rekeyx", false, false, false, false),
        ("//pause", false, false, false, false),
    ] {
        let seen = (
            passes(App, false, command),
            passes(Shared, false, command),
            passes(Owner, false, command),
            passes(Owner, true, command),
        );
        assert_eq!(seen, (app, shared, operator, owner), "{command}");
    }
}

#[test]
fn pages_of_other_origins_give_no_orders() {
    let authorized = ("authorization", "Basic eA==");
    let foreign = ("origin", "https://elsewhere.example");
    for (method, command, headers, expected) in [
        ("POST", "pause", &[][..], Ok(true)),
        ("GET", "pause", &[authorized], Ok(true)),
        ("POST", "pause", &[("sec-fetch-site", "same-origin")], Ok(true)),
        ("GET", "pause", &[("sec-fetch-site", "none"), authorized], Ok(true)),
        ("POST", "pause", &[("sec-fetch-site", "cross-site"), foreign, authorized], Ok(true)),
        ("GET", "pause", &[("sec-fetch-site", "cross-site"), authorized], Err(200)),
        ("GET", "pause", &[("sec-fetch-site", "same-site"), authorized], Err(200)),
        ("POST", "pause", &[("sec-fetch-site", "cross-site")], Err(200)),
        ("POST", "pause", &[("sec-fetch-site", "same-site")], Err(200)),
        ("POST", "pause", &[foreign], Err(200)),
        ("POST", "files/upload", &[foreign], Err(200)),
        // What only reads stays readable, without the right to do more.
        ("GET", "status", &[("sec-fetch-site", "cross-site")], Ok(false)),
        ("CONNECT", "proxy/mqtt", &[], Ok(true)),
        ("CONNECT", "proxy/mqtt", &[foreign], Err(403)),
        ("CONNECT", "proxy/mqtt", &[foreign, authorized], Err(403)),
        ("CONNECT", "proxy/mqtt?oe_api_key=x", &[foreign], Ok(true)),
        ("CONNECT", "ping", &[], Err(403)),
        ("CONNECT", "status", &[], Err(403)),
    ] {
        assert_eq!(
            judged(CallerKind::App, false, method, command, headers),
            expected,
            "{method} {command} {headers:?}"
        );
    }
}
