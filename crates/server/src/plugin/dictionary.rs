//! The dictionary that plugins compress with. It is part of the plugin, so the operator brings it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use clap::Args;
use data_encoding::HEXLOWER;
use memchr::memmem;
use octo::Dictionary;
use sha2::{Digest, Sha256};

use super::{DataDirectory, PLUGIN_DICTIONARY, tree};

/// Of the dictionary that all known versions of the plugin have (tunnel.md 8.4).
const KNOWN: [u8; 32] = known();
const KNOWN_LENGTH: usize = 112_640;
/// A dictionary in zstd's own format begins with it (RFC 8878 §5).
const MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];
/// How [`MAGIC`] begins in base64.
const MAGIC_BASE64: &[u8] = b"N6Qw7";
/// Files of a plugin are smaller. The dictionary as a Python text has at most four letters a byte.
const MAX_FILE: u64 = 16 * 1024 * 1024;

const fn known() -> [u8; 32] {
    let digits = b"d974858108fa483a9d4b87648d9e4b8ed88f194656af89b9cc997ec0b71ecfa8";
    let (mut bytes, mut at) = ([0; 32], 0);
    while at < 32 {
        bytes[at] = digit(digits[2 * at]) << 4 | digit(digits[2 * at + 1]);
        at += 1;
    }
    bytes
}

const fn digit(letter: u8) -> u8 {
    if letter.is_ascii_digit() { letter - b'0' } else { letter - b'a' + 10 }
}

/// Give the service the dictionary that plugins compress with
#[derive(Debug, Args)]
pub struct Import {
    /// The dictionary itself, or a folder with an installed copy of the plugin, in which it is looked for
    #[arg(value_name = "FILE|DIR")]
    source: PathBuf,
    /// Take a dictionary that is not the one of the known versions of the plugin
    #[arg(long)]
    unknown: bool,
    #[command(flatten)]
    data: DataDirectory,
}

/// Returns what to tell the operator.
pub(super) fn run(import: &Import) -> anyhow::Result<String> {
    let data = &import.data.data;
    anyhow::ensure!(data.is_dir(), "there is no data directory `{}`; `--data DIR` names the service's", data.display());
    let (bytes, from) = find(import)?;
    let dictionary = Dictionary::install(&bytes).with_context(|| format!("`{}` cannot be used", from.display()))?;
    let target = data.join(PLUGIN_DICTIONARY);
    let before = fs::read(&target).ok();
    if before.as_deref() == Some(&bytes) {
        return Ok(format!("`{}` has this dictionary already", target.display()));
    }
    write(&target, &bytes).with_context(|| format!("cannot write `{}`", target.display()))?;
    let effect = if before.is_none() {
        "A service that runs with this data directory uses it from the next plugin on that connects."
    } else {
        "It is another one than before: restart the service, which keeps the old one until then."
    };
    Ok(format!(
        "imported the dictionary {} ({} bytes) from `{}`\n{effect}",
        dictionary.id(),
        bytes.len(),
        from.display()
    ))
}

fn find(import: &Import) -> anyhow::Result<(Vec<u8>, PathBuf)> {
    let files = tree::files(&import.source)?;
    let is_file = files.len() == 1 && files.first() == Some(&import.source);
    for file in files {
        let metadata = fs::metadata(&file).with_context(|| format!("cannot look at `{}`", file.display()))?;
        if metadata.len() > MAX_FILE {
            continue;
        }
        let bytes = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        if let Some(found) = known_within(&bytes) {
            return Ok((found, file));
        }
        if is_file && bytes.starts_with(&MAGIC) {
            anyhow::ensure!(
                import.unknown,
                "`{}` is a zstd dictionary, but not the one of the known versions of the plugin; with another one than \
                 the plugin's the service could not read what plugins send. `--unknown` takes it all the same",
                file.display()
            );
            return Ok((bytes, file));
        }
    }
    anyhow::bail!(
        "the plugin's dictionary is not in `{}`; name the folder that the plugin is installed in, such as OctoPrint's \
         `site-packages`, or the dictionary's own file",
        import.source.display()
    )
}

/// The known dictionary within a file: as it is, or written as a text.
fn known_within(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_known = |candidate: &[u8]| Sha256::digest(candidate)[..] == KNOWN;
    within(bytes, KNOWN_LENGTH, &is_known)
}

fn within(bytes: &[u8], length: usize, is_wanted: &dyn Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let raw = memmem::find_iter(bytes, &MAGIC).filter_map(|at| bytes.get(at..at + length)).map(<[u8]>::to_vec);
    let base64 = memmem::find_iter(bytes, MAGIC_BASE64).filter_map(|at| from_base64(bytes.get(at..)?, length));
    let hex = memmem::find_iter(bytes, b"37a430ec").filter_map(|at| from_hex(bytes.get(at..)?, length));
    let escapes = [&br"7\xa40\xec"[..], br"\x37\xa4\x30\xec"];
    let escaped = escapes
        .into_iter()
        .flat_map(|start| memmem::find_iter(bytes, start))
        .filter_map(|at| from_escapes(bytes.get(at..)?, length));
    raw.chain(base64).chain(hex).chain(escaped).find(|candidate| is_wanted(candidate))
}

/// Letters of base64, whatever a program's text has between its lines.
fn from_base64(text: &[u8], length: usize) -> Option<Vec<u8>> {
    let n_letters = (length * 4).div_ceil(3);
    let mut letters = Vec::with_capacity(n_letters);
    let mut rest = text.iter();
    while letters.len() < n_letters {
        match *rest.next()? {
            letter if letter.is_ascii_alphanumeric() || letter == b'+' || letter == b'/' => letters.push(letter),
            // The end of a line, written out.
            b'\\' => {
                rest.next()?;
            }
            b'\r' | b'\n' | b' ' | b'\t' | b'"' | b'\'' => {}
            _ => return None,
        }
    }
    // The last letter may have bits that are none of the dictionary's.
    let mut padded = STANDARD_NO_PAD.decode(&letters).ok()?;
    padded.truncate(length);
    Some(padded)
}

fn from_hex(text: &[u8], length: usize) -> Option<Vec<u8>> {
    HEXLOWER.decode(text.get(..length * 2)?).ok()
}

/// What a Python program writes for bytes.
fn from_escapes(text: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    let mut rest = text;
    while bytes.len() < length {
        let (&first, after) = rest.split_first()?;
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        bytes.push(match kind {
            b'x' => {
                let digits = rest.get(..2)?.to_ascii_lowercase();
                rest = rest.get(2..)?;
                *HEXLOWER.decode(&digits).ok()?.first()?
            }
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' | b'\'' | b'"' => kind,
            _ => return None,
        });
    }
    Some(bytes)
}

/// Whole or not at all: the service may read it at any moment.
fn write(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = target.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(unfinished, target)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn a_dictionary_is_found_however_it_is_written() {
        let mut wanted = MAGIC.to_vec();
        wanted.extend((0..1000_u32).map(|n| (n * 7 % 256) as u8));
        let base64 = STANDARD_NO_PAD.encode(&wanted);
        let lines = |end: &str| {
            let pieces = base64.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned());
            pieces.collect::<Vec<_>>().join(end)
        };
        let repr = wanted.iter().fold(String::new(), |mut text, byte| {
            let _ = match byte {
                b'\n' => write!(text, "\\n"),
                b'\r' => write!(text, "\\r"),
                b'\t' => write!(text, "\\t"),
                b'\\' | b'\'' => write!(text, "\\{}", char::from(*byte)),
                32..=126 => write!(text, "{}", char::from(*byte)),
                other => write!(text, "\\x{other:02x}"),
            };
            text
        });
        let all_hex = wanted.iter().fold(String::new(), |text, byte| format!("{text}\\x{byte:02x}"));
        let is_wanted = |candidate: &[u8]| candidate == wanted;
        let raw = [b"before".as_slice(), &wanted, b"after"].concat();
        for (name, file) in [
            ("itself", wanted.clone()),
            ("within", raw),
            ("base64", format!("D = \"{base64}==\"\n").into_bytes()),
            ("lines", format!("D = \"\"\"\n{}==\n\"\"\"\n", lines("\n")).into_bytes()),
            ("joined lines", format!("D = (\"{}==\")", lines("\"\n     \"")).into_bytes()),
            ("written ends", format!("D = \"{}==\"", lines("\\n")).into_bytes()),
            ("repr", format!("D = b'{repr}'\n").into_bytes()),
            ("escapes", format!("D = b\"{all_hex}\"\n").into_bytes()),
            ("hex", format!("D = bytes.fromhex('{}')", HEXLOWER.encode(&wanted)).into_bytes()),
        ] {
            assert_eq!(within(&file, wanted.len(), &is_wanted).as_ref(), Some(&wanted), "{name}");
        }
        assert_eq!(within(b"D = \"N6Qw7\"", wanted.len(), &is_wanted), None);
        assert_eq!(KNOWN[..2], [0xd9, 0x74]);
    }
}
