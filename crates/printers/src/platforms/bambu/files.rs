//! The printer's files, on its card or stick.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use suppaftp::list::ListParser;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;

use super::ftp::{FileServer, Files, Lines};
use crate::platforms::{
    CommandFailure, Download, FileChange, FileDetails, FileEntry, Listing, Outcome, Upload, VirtualPath,
};

/// Folders within one another.
const MAX_DEPTH: usize = 8;
/// Files and folders in all.
const MAX_ENTRIES: usize = 5000;
/// Connections at once; the printer allows few, and its slicer wants one too.
const MAX_CONNECTIONS: usize = 2;
/// For one of them to become free.
const PERMIT_LIMIT: Duration = Duration::from_secs(20);
/// For the next piece of a file from whoever sends it.
const SENDER_LIMIT: Duration = Duration::from_secs(60);
/// Ends of names of files to print.
const EXTENSIONS: [&str; 3] = [".gcode", ".3mf", ".bgcode"];
/// Folders at the top that hold no files to print, and many others.
const SKIPPED: [&str; 9] = ["image", "ipcam", "logger", "log", "logs", "timelapse", "timelapses", "video", "videos"];

/// All that can be done with files.
#[derive(Clone, Debug)]
pub(super) struct FileStore {
    server: Arc<FileServer>,
    connections: Arc<Semaphore>,
}

impl FileStore {
    pub(super) fn new(server: FileServer) -> Self {
        Self { server: Arc::new(server), connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }

    async fn connect(&self) -> Outcome<(Files, OwnedSemaphorePermit)> {
        let permit = timeout(PERMIT_LIMIT, Arc::clone(&self.connections).acquire_owned()).await;
        let permit = permit.map_err(|_| {
            CommandFailure::TooManyClients("others are busy with the printer's files; try again later".to_owned())
        })?;
        let permit = permit.map_err(|error| CommandFailure::Failed(error.to_string()))?;
        Ok((self.server.connect().await?, permit))
    }

    pub(super) async fn list(&self) -> Outcome<Listing> {
        let (mut files, _permit) = self.connect().await?;
        let mut listing = Listing::default();
        let mut folders = VecDeque::from([(String::new(), 0)]);
        while let Some((folder, depth)) = folders.pop_front() {
            let lines = match files.list(&own_path(&folder)).await {
                Ok(lines) => lines,
                // A folder that went away in between, or is closed to us.
                Err(CommandFailure::NotFound(_)) if depth > 0 => continue,
                Err(failure) => return Err(failure),
            };
            for item in read(&lines) {
                if listing.files.len() + listing.folders.len() >= MAX_ENTRIES {
                    files.quit().await;
                    return Ok(listing);
                }
                let relative = if depth == 0 { item.name.clone() } else { format!("{folder}/{}", item.name) };
                if item.is_folder {
                    if depth == 0 && SKIPPED.iter().any(|skipped| item.name.eq_ignore_ascii_case(skipped)) {
                        continue;
                    }
                    if depth < MAX_DEPTH {
                        folders.push_back((relative.clone(), depth + 1));
                    }
                    listing.folders.push(relative);
                } else if is_shown(&item.name) {
                    let platform_path = own_path(&relative);
                    let (size, modified) = (item.size, item.modified);
                    listing.files.push(FileEntry { relative, platform_path, size, modified, permissions: None });
                }
            }
        }
        files.quit().await;
        Ok(listing)
    }

    pub(super) async fn details(&self, path: &VirtualPath) -> Outcome<FileDetails> {
        let (mut files, _permit) = self.connect().await?;
        let platform_path = own_path(path.relative());
        let size = files.size(&platform_path).await?;
        let modified = files.modified(&platform_path).await?;
        files.quit().await;
        Ok(FileDetails { platform_path, size, modified, ..FileDetails::default() })
    }

    pub(super) async fn delete(&self, path: &VirtualPath) -> Outcome<FileChange> {
        let (mut files, _permit) = self.connect().await?;
        let platform_path = own_path(path.relative());
        files.delete(&platform_path).await?;
        files.quit().await;
        Ok(FileChange { platform_path, ..FileChange::default() })
    }

    pub(super) async fn download(&self, path: &VirtualPath) -> Outcome<Download> {
        let (mut files, permit) = self.connect().await?;
        let path = own_path(path.relative());
        let length = files.size(&path).await?;
        let transfer = files.open(&path).await?;
        let reading = Reading { files, transfer: Some(transfer), left: length, _permit: permit };
        let frames = stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await {
                Ok(Some(piece)) => Some((Ok(Frame::data(piece)), Some(reading))),
                Ok(None) => {
                    reading.files.quit().await;
                    None
                }
                Err(failure) => Some((Err(BoxError::from(failure)), None)),
            }
        });
        Ok(Download { body: StreamBody::new(frames).boxed_unsync(), length, content_type: None })
    }

    /// Stores a file. What was begun and is not whole is removed: somebody might print it.
    pub(super) async fn upload(&self, path: &VirtualPath, upload: Upload) -> Outcome<FileChange> {
        let this = self.clone();
        let relative = path.relative().to_owned();
        // A task of its own, which removes what is not whole also if nobody waits for it any more.
        let storing = tokio::spawn(async move { this.store(&relative, upload).await });
        storing.await.unwrap_or_else(|error| Err(CommandFailure::Failed(error.to_string())))
    }

    async fn store(&self, relative: &str, upload: Upload) -> Outcome<FileChange> {
        let (mut files, _permit) = self.connect().await?;
        let platform_path = own_path(relative);
        for (end, _) in relative.match_indices('/') {
            files.make_folder(&own_path(&relative[..end])).await;
        }
        let mut transfer = files.create(&platform_path).await?;
        let sent = match pass(&files, &mut transfer, upload).await {
            Ok(()) => files.finish(transfer).await,
            Err(failure) => {
                drop(transfer);
                Err(failure)
            }
        };
        if let Err(failure) = sent {
            // The printer may be gone with its connection; then the file stays as it is.
            let _ = files.delete(&platform_path).await;
            return Err(failure);
        }
        files.quit().await;
        Ok(FileChange { platform_path, ..FileChange::default() })
    }
}

async fn pass(
    files: &Files,
    transfer: &mut suppaftp::tokio::TransferStream<suppaftp::tokio::AsyncRustlsStream>,
    upload: Upload,
) -> Outcome<()> {
    let bad = |problem: &str| CommandFailure::BadArguments(problem.to_owned());
    let Upload { mut body, length } = upload;
    let mut sent = 0_u64;
    while let Some(frame) = next_frame(&mut body).await? {
        files.write(transfer, &frame).await?;
        sent += frame.len() as u64;
    }
    if length.is_some_and(|length| length != sent) {
        return Err(bad("the file has not come whole"));
    }
    Ok(())
}

async fn next_frame(body: &mut ServiceBody) -> Outcome<Option<Bytes>> {
    let bad = |problem: &str| CommandFailure::BadArguments(problem.to_owned());
    let frame = timeout(SENDER_LIMIT, body.frame()).await.map_err(|_| bad("the file has not come in time"))?;
    let data = frame.transpose().map_err(|_| bad("the file broke off"))?;
    Ok(data.map(|frame| frame.into_data().unwrap_or_default()))
}

/// A file on its way from the printer.
struct Reading {
    files: Files,
    transfer: Option<suppaftp::tokio::TransferStream<suppaftp::tokio::AsyncRustlsStream>>,
    /// Bytes that have to come, where the printer has said how many there are.
    left: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

impl Reading {
    async fn next(&mut self) -> Outcome<Option<Bytes>> {
        let failed = |problem: &str| CommandFailure::Failed(problem.to_owned());
        let piece = self.files.read(&mut self.transfer).await?;
        if let Some(left) = &mut self.left {
            let length = piece.as_ref().map_or(0, Bytes::len) as u64;
            *left = left.checked_sub(length).ok_or_else(|| failed("the file is longer than the printer has said"))?;
            if piece.is_none() && *left > 0 {
                return Err(failed("the file is shorter than the printer has said"));
            }
        }
        Ok(piece)
    }
}

/// The path as the printer has it.
pub(super) fn own_path(relative: &str) -> String {
    format!("/{relative}")
}

fn is_shown(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    EXTENSIONS.iter().any(|extension| name.ends_with(extension) && name.len() > extension.len())
}

/// A file or a folder in a list.
#[derive(Debug, PartialEq)]
struct Item {
    name: String,
    is_folder: bool,
    size: Option<u64>,
    modified: Option<f64>,
}

/// What can be read of a list. Names that would lead elsewhere are left out.
fn read(lines: &Lines) -> Vec<Item> {
    let (lines, is_for_machines) = match lines {
        Lines::ForMachines(lines) => (lines, true),
        Lines::ForPeople(lines) => (lines, false),
    };
    let item = |line: &String| {
        if is_for_machines && !has_type(line) {
            return None;
        }
        let file = if is_for_machines { ListParser::parse_mlsd(line) } else { ListParser::parse_posix(line) }.ok()?;
        let name = file.name().to_owned();
        let is_harmless = !matches!(name.as_str(), "" | "." | "..")
            && !name.contains(['/', '\\'])
            && !name.chars().any(char::is_control);
        if !is_harmless || file.is_symlink() {
            return None;
        }
        let modified = file.modified().duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs() as f64);
        let is_folder = file.is_directory();
        let size = (!is_folder).then_some(file.size() as u64);
        Some(Item { name, is_folder, size, modified: modified.filter(|modified| *modified > 0.0) })
    };
    lines.iter().filter_map(item).collect()
}

/// Whether a line for machines says what it is about. The library takes what does not for a file.
fn has_type(line: &str) -> bool {
    let facts = line.split_once(' ').map_or("", |(facts, _)| facts);
    facts.split(';').any(|fact| fact.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("type=")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_kinds_of_lists_are_read() {
        let item = |name: &str, is_folder, size, modified| Item { name: name.to_owned(), is_folder, size, modified };
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let machines = lines(&[
            "type=file;size=1234;modify=20240102030405; a b; c.3mf",
            "Type=dir;modify=20240102030405; folder",
            "type=cdir; .",
            "type=pdir; ..",
            "type=file;size=1; ../../etc/passwd",
            "type=file;size=1; a\u{7}b.3mf",
            "nonsense",
            "",
        ]);
        let expected = [
            item("a b; c.3mf", false, Some(1234), Some(1_704_164_645.0)),
            item("folder", true, None, Some(1_704_164_645.0)),
        ];
        assert_eq!(read(&Lines::ForMachines(machines)), expected);
        let people = lines(&[
            "-rw-rw-rw-   1 root  root   1234 Jan 02  2024 plate 1.gcode.3mf",
            "drwxr-xr-x   2 root  root   4096 Jan 02  2024 cache",
            "lrwxrwxrwx   1 root  root   4096 Jan 02  2024 link -> /etc",
            "total 7",
        ]);
        let read = read(&Lines::ForPeople(people));
        let names: Vec<_> = read.iter().map(|item| (item.name.as_str(), item.is_folder, item.size)).collect();
        assert_eq!(names, [("plate 1.gcode.3mf", false, Some(1234)), ("cache", true, None)]);
    }

    #[test]
    fn only_files_to_print_are_shown() {
        for (name, expected) in [
            ("a.gcode", true),
            ("a.GCODE.3MF", true),
            ("b.bgcode", true),
            ("a.jpg", false),
            (".3mf", false),
            ("3mf", false),
        ] {
            assert_eq!(is_shown(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_left_out(lines in proptest::collection::vec("\\PC{0,80}|[-dl][rwx-]{9} [0-9]{1,30} a b [0-9]{1,30} [A-Z][a-z]{2} [0-9]{1,2} [0-9:]{1,5} \\PC{1,9}|(type|size|modify)=\\PC{0,20};[ ]\\PC{0,9}", 0..4)) {
            let _ = read(&Lines::ForMachines(lines.clone()));
            let _ = read(&Lines::ForPeople(lines));
        }
    }
}
