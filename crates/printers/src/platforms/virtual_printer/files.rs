//! The virtual printer's files. It has no folders.

use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::platforms::{
    CommandFailure, Download, FileChange, FileDetails, FileEntry, Listing, Outcome, Upload, VirtualPath,
};
use crate::software_client::{Answer, SoftwareClient};

#[derive(Deserialize)]
struct Files {
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    length: u64,
}

pub(super) async fn list(client: &SoftwareClient) -> Outcome<Listing> {
    let files: Files = client.get_list("/api/files").await?.json()?;
    let entry = |file: Entry| FileEntry {
        platform_path: file.name.clone(),
        relative: file.name,
        size: Some(file.length),
        ..FileEntry::default()
    };
    Ok(Listing { files: files.files.into_iter().map(entry).collect(), folders: vec![] })
}

pub(super) async fn details(client: &SoftwareClient, path: &VirtualPath) -> Outcome<FileDetails> {
    let answer: Value = client.get_list("/api/files").await?.json()?;
    let files = answer["files"].as_array().into_iter().flatten();
    let native = files.into_iter().find(|file| file["name"] == path.relative()).cloned();
    let native = native.ok_or_else(|| CommandFailure::NotFound("there is no such file".to_owned()))?;
    Ok(FileDetails {
        platform_path: path.relative().to_owned(),
        size: native["length"].as_u64(),
        platform_details: Some(native),
        ..FileDetails::default()
    })
}

pub(super) async fn store(client: &SoftwareClient, path: &VirtualPath, upload: Upload) -> Outcome<FileChange> {
    let answer = client.upload(&url(path), Method::PUT, HeaderMap::new(), upload.body, upload.length).await?;
    check(&answer)?;
    Ok(FileChange { printer_response: answer.json::<Value>().ok(), ..change(path) })
}

pub(super) async fn open(client: &SoftwareClient, path: &VirtualPath) -> Outcome<Download> {
    match client.download(&url(path)).await? {
        Ok(download) => Ok(download),
        Err(answer) => Err(failure(&answer)),
    }
}

pub(super) async fn remove(client: &SoftwareClient, path: &VirtualPath) -> Outcome<FileChange> {
    check(&client.delete(&url(path)).await?)?;
    Ok(change(path))
}

/// A file that came to be as it was asked for.
pub(super) fn change(path: &VirtualPath) -> FileChange {
    FileChange { platform_path: path.relative().to_owned(), ..FileChange::default() }
}

fn url(path: &VirtualPath) -> String {
    // With a slash in it, the name is none, and the virtual printer says so.
    format!("/api/files/{}", path.encoded().replace('/', "%2F"))
}

fn check(answer: &Answer) -> Outcome<()> {
    if answer.status.is_success() { Ok(()) } else { Err(failure(answer)) }
}

fn failure(answer: &Answer) -> CommandFailure {
    let said = message(answer);
    match answer.status {
        StatusCode::NOT_FOUND => CommandFailure::NotFound(said),
        status if status.as_u16() >= 400 => CommandFailure::Software(status.as_u16(), said),
        status => CommandFailure::Software(502, format!("the virtual printer answers {}", status.as_u16())),
    }
}

/// What it says is wrong.
pub(super) fn message(answer: &Answer) -> String {
    answer.json::<Value>().unwrap_or(json!({}))["message"].as_str().unwrap_or_default().to_owned()
}
