//! A connection to the printer's files: FTP, in TLS from the first byte on.
//!
//! The printer is not trusted: data channels go to its own address whatever it says, lists end at a length, and every
//! step has its time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::Secret;
use suppaftp::tokio::{AsyncRustlsConnector, AsyncRustlsStream, ImplAsyncFtpStream, TransferStream};
use suppaftp::types::FileType;
use suppaftp::{FtpError, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::USER;
use super::certificate::{FirstUse, PinnedCertificate};
use crate::platforms::{CommandFailure, Outcome};

/// For an answer, a connection, or the next piece of a file.
const LIMIT: Duration = Duration::from_secs(20);
/// For the printer to say that it has stored a file: it may have a slow card.
const STORE_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of one list; five thousand files have a tenth of it.
const MAX_LIST: usize = 4 * 1024 * 1024;
/// Read at once.
const CHUNK: usize = 32 * 1024;

/// Where a printer's files are.
#[derive(Debug)]
pub(super) struct FileServer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) access_code: Secret,
    pub(super) certificate: Arc<PinnedCertificate>,
    /// What TLS is made of besides the certificate.
    pub(super) tls: Arc<rustls::ClientConfig>,
}

type Transfer = TransferStream<AsyncRustlsStream>;

/// A connection that is signed in.
pub(super) struct Files {
    control: ImplAsyncFtpStream<AsyncRustlsStream>,
    certificate: Arc<PinnedCertificate>,
}

impl FileServer {
    pub(super) async fn connect(&self) -> Outcome<Files> {
        within(LIMIT, self.open()).await?.map_err(|error| self.failure(error))
    }

    async fn open(&self) -> Result<Files, FtpError> {
        let host = self.host.as_str();
        // As everywhere else: what ends like this is this machine.
        let name = if host.ends_with(".localhost") { "localhost" } else { host };
        let addresses: Vec<SocketAddr> =
            lookup_host((name, self.port)).await.map_err(FtpError::ConnectionError)?.collect();
        let tls = self.certificate.tls(FirstUse::Waits, &self.tls);
        let connector = AsyncRustlsConnector::from(TlsConnector::from(tls));
        let control = ImplAsyncFtpStream::connect_secure_implicit(&addresses[..], connector, host).await?;
        let mut control = control.passive_stream_builder(|address| Box::pin(connect_data(address)));
        // Else the printer could send us to any other address.
        control.set_passive_nat_workaround(true);
        control.login(USER, self.access_code.expose()).await?;
        control.custom_command("PBSZ 0", &[Status::CommandOk]).await?;
        control.custom_command("PROT P", &[Status::CommandOk]).await?;
        control.transfer_type(FileType::Binary).await?;
        Ok(Files { control, certificate: Arc::clone(&self.certificate) })
    }

    fn failure(&self, error: FtpError) -> CommandFailure {
        match error {
            FtpError::ConnectionError(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                not_connected(&format!("nothing listens at port {} of the printer", self.port))
            }
            error => failure(error, &self.certificate),
        }
    }
}

async fn connect_data(address: SocketAddr) -> Result<TcpStream, FtpError> {
    let timed_out = |_| FtpError::ConnectionError(std::io::ErrorKind::TimedOut.into());
    timeout(LIMIT, TcpStream::connect(address)).await.map_err(timed_out)?.map_err(FtpError::ConnectionError)
}

impl Files {
    /// The lines of a folder: as machines read them (`MLSD`), or as people do where the printer has no other.
    pub(super) async fn list(&mut self, folder: &str) -> Outcome<Lines> {
        match self.lines(&format!("MLSD {folder}")).await {
            Err(FtpError::UnexpectedResponse(answer)) if is_unknown_command(answer.status) => {}
            Ok(lines) => return Ok(Lines::ForMachines(lines)),
            Err(error) => return Err(self.failure(error)),
        }
        match self.lines(&format!("LIST {folder}")).await {
            Ok(lines) => Ok(Lines::ForPeople(lines)),
            Err(error) => Err(self.failure(error)),
        }
    }

    async fn lines(&mut self, command: &str) -> Result<Vec<String>, FtpError> {
        let answers = [Status::AboutToSend, Status::AlreadyOpen];
        let (_, mut transfer) = within_ftp(LIMIT, self.control.custom_data_command(command, &answers)).await?;
        let mut text = Vec::new();
        while text.len() <= MAX_LIST {
            match read(&mut transfer).await? {
                Some(chunk) => text.extend_from_slice(&chunk),
                None => {
                    within_ftp(LIMIT, transfer.finish()).await?;
                    let text = String::from_utf8_lossy(&text);
                    return Ok(text.lines().map(str::to_owned).collect());
                }
            }
        }
        // Too long to be one.
        Err(FtpError::BadResponse)
    }

    /// Bytes of a file; `None` where the printer does not say.
    pub(super) async fn size(&mut self, path: &str) -> Outcome<Option<u64>> {
        self.optional(|files| Box::pin(async move { Ok(files.control.size(path).await? as u64) })).await
    }

    /// When a file was changed, in seconds since 1970; `None` where the printer does not say.
    pub(super) async fn modified(&mut self, path: &str) -> Outcome<Option<f64>> {
        self.optional(|files| Box::pin(async move { Ok(files.control.mdtm(path).await?.and_utc().timestamp() as f64) }))
            .await
    }

    /// Asks what not every printer answers.
    async fn optional<'a, T>(
        &'a mut self,
        ask: impl FnOnce(&'a mut Self) -> BoxFuture<'a, Result<T, FtpError>>,
    ) -> Outcome<Option<T>> {
        let certificate = Arc::clone(&self.certificate);
        match within_ftp(LIMIT, ask(self)).await {
            Ok(value) => Ok(Some(value)),
            Err(FtpError::UnexpectedResponse(answer)) if answer.status != Status::FileUnavailable => Ok(None),
            Err(FtpError::BadResponse) => Ok(None),
            Err(error) => Err(failure(error, &certificate)),
        }
    }

    pub(super) async fn delete(&mut self, path: &str) -> Outcome<()> {
        within_ftp(LIMIT, self.control.rm(path)).await.map_err(|error| self.failure(error))
    }

    /// Makes a folder, if it is not there.
    pub(super) async fn make_folder(&mut self, path: &str) {
        // Whether that went well shows when something is stored in it.
        let _ = within_ftp(LIMIT, self.control.mkdir(path)).await;
    }

    /// Opens a file to read it with [`Self::read`].
    pub(super) async fn open(&mut self, path: &str) -> Outcome<Transfer> {
        within_ftp(LIMIT, self.control.retr_as_stream(path)).await.map_err(|error| self.failure(error))
    }

    /// The next piece of a file; `None` after the last one, if the printer says that it was the last one.
    pub(super) async fn read(&self, transfer: &mut Option<Transfer>) -> Outcome<Option<Bytes>> {
        let Some(reading) = transfer else { return Ok(None) };
        match read(reading).await.map_err(|error| self.failure(error))? {
            Some(chunk) => Ok(Some(chunk)),
            None => {
                let Some(transfer) = transfer.take() else { return Ok(None) };
                within_ftp(LIMIT, transfer.finish()).await.map_err(|error| self.failure(error))?;
                Ok(None)
            }
        }
    }

    /// Begins to store a file with [`Self::write`].
    pub(super) async fn create(&mut self, path: &str) -> Outcome<Transfer> {
        within_ftp(LIMIT, self.control.put_with_stream(path)).await.map_err(|error| self.failure(error))
    }

    pub(super) async fn write(&self, transfer: &mut Transfer, piece: &[u8]) -> Outcome<()> {
        let write = async { transfer.write_all(piece).await.map_err(FtpError::ConnectionError) };
        within_ftp(STORE_LIMIT, write).await.map_err(|error| self.failure(error))
    }

    /// The file is whole.
    pub(super) async fn finish(&self, transfer: Transfer) -> Outcome<()> {
        within_ftp(STORE_LIMIT, transfer.finish()).await.map_err(|error| self.failure(error))
    }

    /// Says good-bye, so that the printer need not find out.
    pub(super) async fn quit(mut self) {
        let _ = within_ftp(LIMIT, self.control.quit()).await;
    }

    fn failure(&self, error: FtpError) -> CommandFailure {
        failure(error, &self.certificate)
    }
}

/// A list, and how it is to be read.
#[derive(Debug)]
pub(super) enum Lines {
    ForMachines(Vec<String>),
    ForPeople(Vec<String>),
}

async fn read(transfer: &mut Transfer) -> Result<Option<Bytes>, FtpError> {
    let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
    let read = async {
        match transfer.read_buf(&mut chunk).await {
            // Firmware ends data channels without saying so in TLS. Whether all has come is what its answer says.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
            read => read.map_err(FtpError::ConnectionError),
        }
    };
    let length = within_ftp(LIMIT, read).await?;
    Ok((length > 0).then(|| chunk.freeze()))
}

fn is_unknown_command(status: Status) -> bool {
    matches!(
        status,
        Status::BadCommand | Status::BadArguments | Status::NotImplemented | Status::NotImplementedParameter
    )
}

async fn within<T>(limit: Duration, step: impl Future<Output = T>) -> Outcome<T> {
    timeout(limit, step).await.map_err(|_| not_connected("the printer does not answer when it is asked for its files"))
}

async fn within_ftp<T>(limit: Duration, step: impl Future<Output = Result<T, FtpError>>) -> Result<T, FtpError> {
    timeout(limit, step).await.map_err(|_| FtpError::ConnectionError(std::io::ErrorKind::TimedOut.into()))?
}

fn not_connected(problem: &str) -> CommandFailure {
    CommandFailure::NotConnected(problem.to_owned())
}

fn failure(error: FtpError, certificate: &PinnedCertificate) -> CommandFailure {
    match error {
        FtpError::UnexpectedResponse(answer) => match answer.status {
            Status::NotLoggedIn => CommandFailure::CredentialsRejected(
                "the printer does not accept the access code for its files".to_owned(),
            ),
            Status::FileUnavailable => CommandFailure::NotFound("the printer has no such file".to_owned()),
            Status::NotAvailable => not_connected("the printer does not take another connection for its files"),
            status => CommandFailure::Failed(format!("the printer answers {} about its files", status.code())),
        },
        FtpError::SecureError(problem) => {
            let refusal = certificate.take_refusal();
            not_connected(
                &refusal.unwrap_or_else(|| format!("the printer's files cannot be reached over TLS: {problem}")),
            )
        }
        FtpError::ConnectionError(error) => match certificate.take_refusal() {
            Some(refusal) => not_connected(&refusal),
            None => not_connected(&format!("the connection to the printer's files broke off: {error}")),
        },
        error => CommandFailure::Failed(format!("the printer's answer about its files is none: {error}")),
    }
}
