//! Whom the agent believes to be its service.

use std::path::PathBuf;
use std::sync::Arc;

use model::PrinterId;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::program::Program;
use crate::service::Service;

const VIRTUAL: &[&str] = &["--virtual", "--token", "Enrolment1"];

#[tokio::test]
async fn a_certificate_of_its_own_authority_only() {
    let world = World::new(|_| ());
    let service = Service::with_tls(&world.id, world.server).await;
    let stranger = Program::run(&service.url(), &world.directory.path().join("stranger"), VIRTUAL);
    stranger.wait_for_log("invalid peer certificate: UnknownIssuer").await;
    stranger.wait_for_log("give its certificate with `--ca FILE`").await;
    assert_eq!(stranger.output(), "");

    let ca = world.ca.to_str().unwrap();
    let agent = Program::run(&service.url(), &world.directory.path().join("told"), &[VIRTUAL, &["--ca", ca]].concat());
    // The first that came in was the one that knows the authority.
    assert_eq!(service.next().await.get("/api/version").await.0, 200);
    agent.wait_for_output("connected to https://127.0.0.1:").await;
}

#[tokio::test]
async fn a_certificate_that_lies_in_the_future_hints_at_the_clock() {
    let world = World::new(|params| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    let service = Service::with_tls(&world.id, world.server).await;
    let ca = world.ca.to_str().unwrap();
    let agent = Program::run(&service.url(), world.directory.path(), &[VIRTUAL, &["--ca", ca]].concat());
    agent.wait_for_log("the certificate is not valid yet; this machine's clock says").await;
}

#[tokio::test]
async fn an_upgrade_without_a_welcome_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let agent = Program::run(&url, directory.path(), VIRTUAL);
    // Both ways of upgrading are tried.
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.read_u8().await.unwrap() != b'\n' {}
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: spoolway-tunnel\r\n\r\n\
                       PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let mut rest = Vec::new();
        // It hangs up, in order or not, and never speaks HTTP/2.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.ends_with(b"\r\n\r\n") || rest.is_empty(), "{rest:?}");
    }
    agent.wait_for_log("it is no Spoolway service").await;
    assert_eq!(agent.output(), "");
}

/// A certificate authority and a service that it vouches for.
struct World {
    directory: TempDir,
    ca: PathBuf,
    server: rustls::ServerConfig,
    id: PrinterId,
}

impl World {
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(authority, authority_key);

        let mut service = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        change(&mut service);
        let key = KeyPair::generate().unwrap();
        let certificate = service.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        Self { directory, ca, server, id: PrinterId::generate() }
    }
}
