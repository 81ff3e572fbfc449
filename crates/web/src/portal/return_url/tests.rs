use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<ReturnUrl, ReturnUrlError> {
    ReturnUrl::read(text, None)
}

#[test]
fn addresses_of_apps_pass_and_say_who_gets_the_secrets() {
    for (text, target) in [
        ("https://app.example.org/done", "https://app.example.org"),
        ("https://app.example.org", "https://app.example.org"),
        ("https://APP.example.org:443/?a=b", "https://app.example.org"),
        ("https://app.example.org:8443/x#y", "https://app.example.org:8443"),
        ("https://app.example.org./", "https:"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example"),
        ("https://bücher.example/", "https://xn--bcher-kva.example"),
        ("https://my_app.example.org/", "https://my_app.example.org"),
        ("https://1.1.1.1/", "https://1.1.1.1"),
        ("https://app.example.org/path@with/at", "https://app.example.org"),
        ("https://app.example.org/?next=https://other.example/", "https://app.example.org"),
        ("https://app.example.org//double", "https://app.example.org"),
        ("http://localhost:3000/cb", "http://localhost:3000"),
        ("http://app.localhost/", "http://app.localhost"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.1/", "http://127.0.0.1"),
        ("http://192.168.1.20/", "http://192.168.1.20"),
        ("http://10.0.0.1/", "http://10.0.0.1"),
        ("http://172.16.0.1/", "http://172.16.0.1"),
        ("http://[::1]:80/", "http:"),
        ("http://[fd00::1]/", "http:"),
        ("http://[fe80::1]/", "http:"),
        ("someapp://octoeverywhere", "someapp:"),
        ("SomeApp://octoeverywhere", "someapp:"),
        ("someapp://", "someapp:"),
        ("someapp:done", "someapp:"),
        ("someapp:/done?x=y", "someapp:"),
        ("com.example.printer.app:/oauth", "com.example.printer.app:"),
        ("web+printer://x/", "web+printer:"),
    ] {
        let passed = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(passed.policy_source(), target, "{text}");
    }
}

#[test]
fn everything_else_is_refused() {
    use ReturnUrlError::{Characters, Host, Malformed, PublicHttp, Scheme, TooLong, User};
    for (text, expected) in [
        ("javascript:alert(1)", Scheme),
        ("JavaScript:alert(1)", Scheme),
        ("javascript://app.example.org/%0aalert(1)", Scheme),
        ("java\nscript:alert(1)", Characters),
        ("\u{1}javascript:alert(1)", Characters),
        (" https://app.example.org/", Characters),
        ("data:text/html,x", Scheme),
        ("file:///etc/passwd", Scheme),
        ("blob:https://app.example.org/x", Scheme),
        ("about:blank", Scheme),
        ("vbscript:x", Scheme),
        ("view-source:https://app.example.org/", Scheme),
        ("filesystem:https://app.example.org/temporary/x", Scheme),
        ("ftp://app.example.org/", Scheme),
        ("ws://app.example.org/", Scheme),
        ("intent://x#Intent;scheme=https;end", Scheme),
        ("mailto:a@example.org", Scheme),
        ("chrome://settings", Scheme),
        ("1app://x", Scheme),
        ("ünapp://x", Scheme),
        ("://x", Scheme),
        ("//app.example.org/", Malformed),
        ("///app.example.org/", Malformed),
        ("/done", Malformed),
        ("done", Malformed),
        ("", Malformed),
        ("https:", Malformed),
        ("https://", Malformed),
        ("https:app.example.org", Malformed),
        ("https:/app.example.org/", Malformed),
        ("https:///app.example.org/", Malformed),
        ("https:\\\\app.example.org", Characters),
        ("https://app.example.org\\@other.example/", Characters),
        ("https://good.example@other.example/", User),
        ("https://u:p@app.example.org/", User),
        ("https://@app.example.org/", User),
        ("https://:@app.example.org/", User),
        ("https://good.example%40other.example/", Malformed),
        ("someapp://u@host/", User),
        ("https://app.example.org\t/", Characters),
        ("https://app.exam\u{0}ple.org/", Characters),
        ("https://app.example.org/\u{85}", Characters),
        ("https://app example.org/", Characters),
        ("https://app;script-src.example/", Host),
        ("https://app,example.org/", Host),
        ("https://a'b.example/", Host),
        ("https://*.example.org/", Host),
        ("https://app.example.org:99999/", Malformed),
        ("https://[::1/", Malformed),
        ("https://1.2.3.4.5/", Malformed),
        ("http://app.example.org/", PublicHttp),
        ("http://1.1.1.1/", PublicHttp),
        ("http://localhost.example.org/", PublicHttp),
        ("http://notlocalhost/", PublicHttp),
        ("http://172.32.0.1/", PublicHttp),
        ("http://[::ffff:1.1.1.1]/", PublicHttp),
        ("http://[2606:4700::1111]/", PublicHttp),
        ("http://16843009/", PublicHttp),
        ("someapp:", Malformed),
        (&format!("https://app.example.org/{}", "a".repeat(2048)), TooLong),
        (&format!("{}://x", "a".repeat(65)), Scheme),
    ] {
        assert_eq!(read(text).map(|url| url.url.to_string()), Err(expected), "{text:?}");
    }
}

#[test]
fn a_registered_app_gets_to_its_own_patterns_only() {
    let patterns =
        ["someapp:", "https://app.example.org/done", "https://app.example.org:8443/app/*", "http://198.51.100.7/back"]
            .map(|text| text.parse::<Pattern>().expect(text));
    for (text, expected) in [
        ("someapp://octoeverywhere", true),
        ("someapp:x", true),
        ("https://app.example.org/done", true),
        ("https://app.example.org/done?state=1", true),
        ("https://app.example.org:443/done#x", true),
        ("https://app.example.org/x/../done", true),
        ("https://app.example.org:8443/app/", true),
        ("https://app.example.org:8443/app/a/b?c", true),
        ("http://198.51.100.7/back", true),
        ("otherapp://octoeverywhere", false),
        ("someapp2://octoeverywhere", false),
        ("https://app.example.org/", false),
        ("https://app.example.org/done/", false),
        ("https://app.example.org/done2", false),
        ("https://app.example.org:8443/done", false),
        ("https://app.example.org:8443/app", false),
        ("https://app.example.org:8443/apple/", false),
        ("https://app.example.org:8443/app/../x", false),
        ("https://app.example.org:8443/app/%2e%2e/x", false),
        ("http://app.example.org/done", false),
        ("https://evil-app.example.org/done", false),
        ("https://app.example.org.evil.example/done", false),
        ("http://198.51.100.8/back", false),
        ("http://localhost/", false),
    ] {
        let outcome = ReturnUrl::read(text, Some(&patterns));
        assert_eq!(outcome.is_ok(), expected, "{text}: {outcome:?}");
    }
    // Even the operator cannot allow these.
    for text in [
        "javascript:",
        "data:",
        "http:",
        "https:",
        "https://*",
        "https://*.example.org/",
        "https://example.org/*/x",
        "*",
        "",
        "https://u@example.org/",
        "https://example.org/?a=*",
        "https://example.org/#x",
        "file:///*",
        "SomeApp:",
    ] {
        assert_eq!(text.parse::<Pattern>(), Err(PatternError), "{text}");
    }
    for text in
        ["someapp:", "https://app.example.org/done", "https://app.example.org/app/*", "https://app.example.org/*"]
    {
        assert_eq!(text.parse::<Pattern>().expect(text).to_string(), text);
    }
    assert_eq!("someapp://*".parse::<Pattern>(), "someapp:".parse());
}

#[test]
fn parameters_come_behind_the_apps_own_query() {
    for (text, expected) in [
        ("https://a.example/x?y=1", "https://a.example/x?y=1&success=true&n=a%20b%26c%2Bd%C3%BC"),
        ("https://a.example", "https://a.example/?success=true&n=a%20b%26c%2Bd%C3%BC"),
        ("https://a.example/?", "https://a.example/?success=true&n=a%20b%26c%2Bd%C3%BC"),
        ("https://a.example/?y=%2F&#f", "https://a.example/?y=%2F&success=true&n=a%20b%26c%2Bd%C3%BC#f"),
        ("someapp://octoeverywhere", "someapp://octoeverywhere?success=true&n=a%20b%26c%2Bd%C3%BC"),
        ("someapp:done", "someapp:done?success=true&n=a%20b%26c%2Bd%C3%BC"),
    ] {
        let url = read(text).expect(text).with_parameters(&[("success", "true"), ("n", "a b&c+dü")]);
        assert_eq!(url.as_str(), expected);
    }
}

proptest! {
    #[test]
    fn whatever_passes_is_safe_to_go_to(text in "(https?|some|javascript|data|file)?:?[/\\\\]{0,3}[a-z@.:%0-9;*\\[\\]]{0,20}\\PC{0,10}") {
        if let Ok(passed) = read(&text) {
            let url = passed.with_parameters(&[("success", "true")]);
            prop_assert!(!FORBIDDEN_SCHEMES.contains(&url.scheme()));
            prop_assert!(url.username().is_empty() && url.password().is_none());
            let again = Url::parse(url.as_str()).expect("what was written can be read");
            prop_assert_eq!(again.host_str(), passed.url.host_str());
            prop_assert_eq!(again.scheme(), passed.url.scheme());
            let source = passed.policy_source();
            prop_assert!(source.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._:/[]".contains(&byte)), "{}", source);
            if url.scheme() == "http" {
                prop_assert!(is_local(&url));
            }
            prop_assert!(url.query_pairs().any(|(key, value)| key == "success" && value == "true"));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        let _ = read(&text);
        let _ = text.parse::<Pattern>();
    }
}
