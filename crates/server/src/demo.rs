//! `spoolway serve --demo`: a service with a virtual printer, ready to be tried.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use model::{PrinterId, Secret};
use store::{
    ConnectionKind, EmailAddress, Name, NewAppConnection, NewSharedConnection, PasswordHash, Store, StoreError,
};
use tokio::process::{Child, Command};

use crate::config::Config;
use crate::serve::{Service, say};

const OWNER: &str = "demo@spoolway.invalid";
const PRINTER: &str = "Virtual printer";
const APP: &str = "Demo app";
/// The agent starts in well under a second; a busy machine may take longer.
const LINK_LIMIT: Duration = Duration::from_secs(30);

/// What a person needs to try the demo. The agent ends with it.
pub(crate) struct Demo {
    scheme: String,
    printers_domain: String,
    site: String,
    password: Secret,
    app: NewAppConnection,
    shared: NewSharedConnection,
    _agent: Child,
}

/// Starts the service, on another port if the usual one is taken.
pub(crate) async fn start_service(config: &Config) -> anyhow::Result<Service> {
    match Service::start(config).await {
        Err(error) if config.listen_is_default && is_address_in_use(&error) => {
            say(format_args!("port {} is taken; using a free one", config.listen.port()));
            let mut config = config.clone();
            config.listen.set_port(0);
            Service::start(&config).await
        }
        outcome => outcome,
    }
}

fn is_address_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Makes an account with a virtual printer and ways to reach it, and waits until the printer is there.
pub(crate) async fn attach(service: &Service) -> anyhow::Result<Demo> {
    let store = &service.store;
    let now = SystemTime::now();
    let (printer, token) = printer(store, now).await?;
    forget_old_connections(store, &printer, now).await?;
    let password = give_password(store, now).await?;
    let app = store.create_app_connection(&printer, &APP.parse()?, None, now).await?;
    let shared = store.create_shared_connection(&printer, None, None, now).await?;
    let mut agent = start_agent(service, token)?;
    let linked = async {
        while !service.relay.printers_here().contains(&printer) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = linked => {}
        status = agent.wait() => bail!("the virtual printer's agent ended: {}", status?),
        () = tokio::time::sleep(LINK_LIMIT) => bail!("the virtual printer did not connect"),
    }
    let names = service.relay.names();
    Ok(Demo {
        scheme: names.scheme.clone(),
        printers_domain: names.printers_domain.to_string(),
        site: format!("{}://{}", names.scheme, names.domain),
        password,
        app,
        shared,
        _agent: agent,
    })
}

/// The demo's printer, and a fresh enrolment token for its agent.
async fn printer(store: &Store, now: SystemTime) -> anyhow::Result<(PrinterId, Secret)> {
    let owner: EmailAddress = OWNER.parse()?;
    match store.add_account(&owner, None, None, now).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let name: Name = PRINTER.parse()?;
    let existing = store.printers(Some(&owner)).await?.rows.into_iter().next();
    let new = match existing {
        Some(printer) => store.issue_enrolment(&printer.id, now).await?,
        None => store.add_printer(&owner, &name, now).await?,
    };
    Ok((new.id, new.token))
}

/// Makes the demo's account the administrator, with a password of this start alone.
async fn give_password(store: &Store, now: SystemTime) -> anyhow::Result<Secret> {
    let owner: EmailAddress = OWNER.parse()?;
    let password = Secret::generate();
    let hashed = password.clone();
    let hash = tokio::task::spawn_blocking(move || PasswordHash::create(&hashed)).await??;
    let account = store.account_for_login(&owner).await?.context("the demo's account is gone")?.account;
    store.set_password(&account, &hash, None, now).await?;
    store.set_admin(&owner, true, now).await?;
    Ok(password)
}

/// Their secrets were printed by an earlier start and cannot be read again.
async fn forget_old_connections(store: &Store, printer: &PrinterId, now: SystemTime) -> anyhow::Result<()> {
    for kind in [ConnectionKind::App, ConnectionKind::Shared] {
        for connection in store.connections(kind, Some(printer)).await?.rows {
            store.revoke_connection(kind, &connection.id, now).await?;
        }
    }
    Ok(())
}

fn start_agent(service: &Service, token: Secret) -> anyhow::Result<Child> {
    let program = agent_program()?;
    // A directory of its own for each start: the token is new as well.
    let data = std::env::temp_dir().join(format!("spoolway-demo-agent-{}", std::process::id()));
    Command::new(&program)
        .args(["run", "--virtual", "--server"])
        .arg(format!("http://{}", service.address))
        .arg("--data")
        .arg(&data)
        .env("SPOOLWAY_AGENT_TOKEN", token.expose())
        .env("SPOOLWAY_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start `{}`", program.display()))
}

/// The agent is built and installed beside the service.
fn agent_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let beside = own.parent().unwrap_or(Path::new(".")).join("spoolway-agent");
    if beside.is_file() {
        return Ok(beside);
    }
    bail!("the demo needs `spoolway-agent` beside this program, at `{}`", beside.display())
}

impl Demo {
    /// Tells how to reach the printer.
    pub(crate) fn print(&self) {
        let app_url = format!("{}://app-{}.{}", self.scheme, self.app.label, self.printers_domain);
        let shared_url = format!("{}://shared-{}.{}", self.scheme, self.shared.label, self.printers_domain);
        let (user, password) = (&self.app.basic_user, self.app.basic_password.expose());
        say(format_args!(""));
        say(format_args!("A virtual printer is connected. Sign in to watch and control it:"));
        say(format_args!("  address   {}/", self.site));
        say(format_args!("  e-mail    {OWNER}"));
        say(format_args!("  password  {}", self.password.expose()));
        say(format_args!(""));
        say(format_args!("Or open its own interface in a browser on this machine:"));
        say(format_args!("  {shared_url}/"));
        say(format_args!(""));
        say(format_args!("Apps reach it through this App Connection:"));
        say(format_args!("  URL       {app_url}"));
        say(format_args!("  user      {user}"));
        say(format_args!("  password  {password}"));
        say(format_args!("  or bearer {}", self.app.bearer.expose()));
        say(format_args!(""));
        say(format_args!("Try:"));
        say(format_args!("  curl --user {user}:{password} {app_url}/api/printer"));
        say(format_args!(""));
        say(format_args!("Ctrl-C ends it."));
    }
}
