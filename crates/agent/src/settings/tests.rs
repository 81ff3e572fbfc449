#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;

const TWO_PRINTERS: &str = r#"
    server = "https://spoolway.example"
    ca = "/etc/ca.pem"
    data = "/var/lib/agent"

    [[printer]]
    name = "Prusa MK4, cellar"
    url = "http://192.168.1.20"
    token = "abc123"
    visitor_address = "hide"

    [[printer]]
    name = "Demo"
    virtual = true
    virtual_lines_per_second = 50
"#;

#[test]
fn a_file_describes_several_printers() {
    let settings = resolve(Overrides::default(), TWO_PRINTERS).unwrap();
    assert_eq!(settings.server.to_string(), "https://spoolway.example");
    assert!(!settings.insecure);
    let [prusa, demo] = settings.printers.as_slice() else { panic!("{settings:?}") };
    assert_eq!(prusa.directory, Path::new("/var/lib/agent/prusa-mk4-cellar"));
    assert_eq!((prusa.name.as_str(), prusa.visitor_address), ("Prusa MK4, cellar", VisitorAddress::Hide));
    assert!(matches!(&prusa.target, Target::Address(url) if url.authority() == "192.168.1.20"));
    assert_eq!(prusa.token.as_ref().unwrap().expose(), "abc123");
    let Target::Virtual(options) = &demo.target else { panic!("{demo:?}") };
    assert_eq!(options.speed, PrintSpeed::LinesPerSecond(50));
}

#[test]
fn flags_go_before_the_file() {
    let overrides = Overrides {
        server: Some("https://other.example".to_owned()),
        data: Some("/elsewhere".into()),
        insecure: true,
        ..Overrides::default()
    };
    let settings = resolve(overrides, TWO_PRINTERS).unwrap();
    assert_eq!(settings.server.to_string(), "https://other.example");
    assert!(settings.insecure);
    assert_eq!(settings.printers[1].directory, Path::new("/elsewhere/demo"));
    assert_eq!(settings.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
}

#[test]
fn flags_alone_describe_one_printer() {
    let overrides = Overrides {
        server: Some("https://spoolway.example".to_owned()),
        printer: PrinterEntry { url: Some("http://octopi.local".to_owned()), ..PrinterEntry::default() },
        ..Overrides::default()
    };
    let settings = resolve(overrides, "").unwrap();
    assert_eq!((settings.printers.len(), settings.printers[0].directory.as_path()), (1, Path::new("/default/printer")));
}

#[test]
fn a_token_may_be_given_beside_a_file_of_one_printer() {
    let file = "server = 'https://s.example'\n[[printer]]\nurl = 'http://octopi.local'";
    let token = |file: &str| {
        let printer = PrinterEntry { token: Some("once".to_owned()), ..PrinterEntry::default() };
        resolve(Overrides { printer, ..Overrides::default() }, file)
    };
    assert_eq!(token(file).unwrap().printers[0].token.as_ref().unwrap().expose(), "once");
    check_problems(token(TWO_PRINTERS), &[("printer", "leave one of the two out")]);
}

#[test]
fn printers_without_a_name_are_kept_under_their_address() {
    let file = "server = 'https://s.example'\n[[printers]]\nurl = 'http://127.0.0.1:5000'\n[[printers]]\nvirtual = true\n\
                [[printers]]\nurl = 'http://127.0.0.1:5000'\ndata = '/own'";
    let directories: Vec<PathBuf> =
        resolve(Overrides::default(), file).unwrap().printers.into_iter().map(|printer| printer.directory).collect();
    assert_eq!(directories, ["/default/127-0-0-1-5000", "/default/virtual", "/own"].map(PathBuf::from));
}

#[test]
fn every_mistake_is_told_by_its_key() {
    check("", &[("server", "is missing"), ("printer", "there is none")]);
    check(
        "server = 's.example'\n[[printer]]\nurl = 'octopi.local'",
        &[("server", "is not a URL"), ("printer.url", "must begin with `http://`")],
    );
    check_printers("url = 'http://a'\n[[printer]]\nurl = 'http://a'", &[("printer[2].name", "/default/a")]);
    check_printers(
        "name = 'A b'\nurl = 'http://a'\n[[printer]]\nname = 'a-B'\nvirtual = true",
        &[("printer[2].name", "kept in `/default/a-b` already")],
    );
    check_printers("name = '打印机'\nurl = 'http://a'", &[("printer.name", "no letter")]);
    check_printers("name = 'a'", &[("printer.url", "nowhere to go")]);
    check_printers("url = 'http://a'\nvirtual = true", &[("printer.virtual", "not both")]);
    check_printers("url = 'http://a'\nvirtual_port = 80", &[("printer.virtual", "of no use")]);
    check_printers(
        "url = 'http://a/b'\ntoken = 'a b'\nvisitor_address = 'no'",
        &[
            ("printer.url", "must end after the host"),
            ("printer.token", "letters and digits only"),
            ("printer.visitor_address", "`no` is neither `forward`"),
        ],
    );
    check_printers("virtual = true\nvirtual_lines_per_second = 0", &[("printer.virtual_bytes_per_second", "of 0")]);
    check_printers(
        "virtual = true\nvirtual_frames_per_second = 1000.0",
        &[("printer.virtual_frames_per_second", "0.1 to 100")],
    );
    check_printers(
        "virtual = true\nvirtual_lines_per_second = 1\nvirtual_bytes_per_second = 1",
        &[("printer.virtual_bytes_per_second", "given twice")],
    );
}

#[test]
fn printers_without_a_web_interface_are_known_by_code_and_serial() {
    let printer = |text: &str| {
        let file = format!("server = 'https://s.example'\n[[printer]]\n{text}");
        resolve(Overrides::default(), &file).unwrap().printers.remove(0)
    };
    let bambu = printer("url = 'bambu://192.168.1.30'\naccess_code = ' 12345678 '\nserial = '01S00C123456789'");
    assert_eq!(bambu.access_code.unwrap().expose(), "12345678");
    assert_eq!((bambu.serial.as_deref(), bambu.name.as_str()), (Some("01S00C123456789"), "192.168.1.30"));
    assert!(printer("url = 'elegoo-cc2://a'\nserial = 'CC2-7'").access_code.is_none(), "the factory's is known");
    assert!(printer("url = 'elegoo-cc1://a'").serial.is_none());
    check_printers(
        "url = 'bambu://a'",
        &[("printer.access_code", "screen shows it"), ("printer.serial", "screen shows it")],
    );
    check_printers("url = 'elegoo-cc2://a'\nserial = 'a/#'", &[("printer.serial", "letters and digits")]);
    check_printers(
        "url = 'elegoo-cc1://a'\nserial = 'b'\naccess_code = 'c'\napi_key = 'd'",
        &[("printer.api_key", "has none"), ("printer.access_code", "`bambu://`"), ("printer.serial", "`bambu://`")],
    );
    check_printers("url = 'http://a'\naccess_code = 'c'", &[("printer.access_code", "leave it out")]);
    check_printers(
        "url = 'bambu://a'\nserial = 'b'\naccess_code = 'two words'",
        &[("printer.access_code", "copied whole")],
    );
}

#[test]
fn mistakes_in_the_form_name_line_and_key() {
    for (text, expected) in [
        ("servr = 'https://s.example'", "unknown field `servr`"),
        ("server = 7", "expected a string"),
        ("[[printer]]\nurl = 'http://a'\nport = 7", "unknown field `port`"),
        ("[printer]\nurl = 'http://a'", "expected a sequence"),
        ("server = 'https://s.example", "line 1"),
    ] {
        let error = ConfigFile::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn secrets_stay_hidden() {
    let settings = resolve(Overrides::default(), TWO_PRINTERS).unwrap();
    assert!(!format!("{settings:?}").contains("abc123"));
}

#[test]
fn directory_names_are_harmless() {
    for (name, directory) in [
        ("Prusa", Some("prusa")),
        ("  Ender 3 / V2!", Some("ender-3-v2")),
        ("../../etc", Some("etc")),
        ("--", None),
        ("", None),
    ] {
        assert_eq!(directory_name(name).as_deref(), directory, "{name:?}");
    }
    assert!(directory_name(&"a".repeat(1000)).unwrap().len() <= 64);
}

fn resolve(overrides: Overrides, file: &str) -> Result<Settings, SettingsError> {
    Settings::resolve(overrides, ConfigFile::parse(file).unwrap(), "/default".into())
}

fn check(file: &str, expected: &[(&str, &str)]) {
    check_problems(resolve(Overrides::default(), file), expected);
}

fn check_printers(entries: &str, expected: &[(&str, &str)]) {
    check(&format!("server = 'https://s.example'\n[[printer]]\n{entries}"), expected);
}

fn check_problems(outcome: Result<Settings, SettingsError>, expected: &[(&str, &str)]) {
    let Err(SettingsError::Problems(problems)) = outcome else { panic!("no problems: {outcome:?}") };
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, expected.iter().map(|(key, _)| *key).collect::<Vec<_>>(), "{problems:?}");
    for (problem, (_, message)) in problems.iter().zip(expected) {
        assert!(problem.message.contains(message), "{problem}");
    }
}

#[test]
fn keys_come_from_file_or_flags_and_cameras_hosts_are_hosts() {
    let file = "server = 'https://s.example'\n[[printer]]\nurl = 'http://octopi.local'\napi_key = ' FILE '\n\
                camera_hosts = ['cam.local', '10.0.0.9:8080']";
    let printer = &resolve(Overrides::default(), file).unwrap().printers[0];
    assert_eq!(printer.api_key.as_ref().unwrap().expose(), "FILE");
    assert_eq!(printer.camera_hosts, ["cam.local", "10.0.0.9:8080"]);
    let flags = PrinterEntry { api_key: Some("FLAG\n".to_owned()), ..PrinterEntry::default() };
    let both = resolve(Overrides { printer: flags, ..Overrides::default() }, file).unwrap();
    assert_eq!(both.printers[0].api_key.as_ref().unwrap().expose(), "FLAG");
    let wrong = "server = 'https://s.example'\n[[printer]]\nurl = 'http://octopi.local'\napi_key = 'a b'\n\
                 camera_hosts = ['http://cam.local/']";
    check_problems(
        resolve(Overrides::default(), wrong),
        &[("printer.api_key", "it is no key"), ("printer.camera_hosts", "is no host")],
    );
}

#[test]
fn users_of_the_printers_software_are_named_with_their_password() {
    let file = "server = 'https://s.example'\n[[printer]]\nurl = 'http://prusa.local'\nusername = 'maker'\n\
                password = ' spaces stay '";
    let printer = &resolve(Overrides::default(), file).unwrap().printers[0];
    let login = printer.login.as_ref().unwrap();
    assert_eq!((login.username.as_str(), login.password.expose()), ("maker", " spaces stay "));
    assert!(!format!("{printer:?}").contains("spaces"), "{printer:?}");

    let flags = PrinterEntry { password: Some("from a file\n".to_owned()), ..PrinterEntry::default() };
    let both = resolve(Overrides { printer: flags, ..Overrides::default() }, file).unwrap();
    let login = both.printers[0].login.as_ref().unwrap();
    assert_eq!((login.username.as_str(), login.password.expose()), ("maker", "from a file"));

    check_printers("url = 'http://a'\nusername = 'maker'", &[("printer.password", "of no use without it")]);
    check_printers("url = 'http://a'\npassword = 'x'", &[("printer.username", "mostly `maker`")]);
    check_printers("url = 'http://a'\nusername = \"a\\tb\"\npassword = 'x'", &[("printer.username", "no name")]);
    check_printers("url = 'http://a'\nusername = 'a'\npassword = \"x\\ny\"", &[("printer.password", "no password")]);
}
