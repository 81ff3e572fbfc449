//! The two nginx instances: the origin that serves files, and the plain reverse proxy that all ratios refer to.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{self, Owned, free_port};

/// The path and size of each file that the origin serves.
pub(crate) const SMALL_FILE: (&str, u64) = ("/1k.bin", 1024);
pub(crate) const LARGE_FILE: (&str, u64) = ("/100m.bin", 100 * 1024 * 1024);
pub(crate) const HUGE_FILE: (&str, u64) = ("/1g.bin", 1024 * 1024 * 1024);

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    process: Owned,
    ports: Vec<u16>,
}

impl Nginx {
    /// Starts the origin for files, with its files in `directory`.
    pub(crate) fn origin(directory: &Path) -> Result<Self> {
        let root = directory.join("files");
        fs::create_dir_all(&root).context("create the origin's files")?;
        for (path, size) in [SMALL_FILE, LARGE_FILE] {
            write_noise(&root.join(path.trim_start_matches('/')), size)?;
        }
        // A hole in the file system: nobody looks at its bytes, and it needs no room on the disk.
        let huge = File::create(root.join(HUGE_FILE.0.trim_start_matches('/'))).context("create the huge file")?;
        huge.set_len(HUGE_FILE.1).context("size the huge file")?;

        let port = free_port()?;
        let servers = format!(
            "server {{ listen 127.0.0.1:{port} backlog=1024; root {root}; }}\n\
             open_file_cache max=16 inactive=1h; open_file_cache_valid 1h; sendfile on; sendfile_max_chunk 512k;",
            root = root.display()
        );
        Self::start("nginx (origin)", &directory.join("origin"), &servers, vec![port])
    }

    /// Starts a reverse proxy, with one port for each of `upstreams`, in their order.
    /// `buffer_kibibytes` makes its buffers larger than nginx does by itself.
    pub(crate) fn proxy(directory: &Path, upstreams: &[u16], buffer_kibibytes: Option<u32>) -> Result<Self> {
        let mut servers = PROXY_SETTINGS.to_owned();
        if let Some(size) = buffer_kibibytes {
            servers.push_str(&format!(
                "proxy_buffer_size {size}k; proxy_buffers 8 {size}k; proxy_busy_buffers_size {size}k;\n\
                 client_body_buffer_size {size}k;\n"
            ));
        }
        let mut ports = Vec::new();
        for upstream in upstreams {
            let port = free_port()?;
            servers.push_str(&format!(
                "upstream origin_{upstream} {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}\n\
                 server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ proxy_pass http://origin_{upstream}; }} }}\n"
            ));
            ports.push(port);
        }
        Self::start("nginx (proxy)", &directory.join("proxy"), &servers, ports)
    }

    pub(crate) fn port(&self, index: usize) -> Result<u16> {
        self.ports.get(index).copied().context("nginx has no such port")
    }

    /// The master and its workers.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        process::with_children(self.process.id())
    }

    fn start(name: &str, directory: &Path, servers: &str, ports: Vec<u16>) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("create the directory of {name}"))?;
        let configuration = directory.join("nginx.conf");
        fs::write(&configuration, FRAME.replace("SERVERS", servers)).with_context(|| format!("configure {name}"))?;
        let mut command = Command::new(executable()?);
        command.arg("-p").arg(directory).arg("-c").arg(&configuration).arg("-e").arg(directory.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Owned::start(name, &mut command)?;
        for port in &ports {
            process::wait_for_port(*port, &mut process).with_context(|| format!("start {name}"))?;
        }
        Ok(Self { process, ports })
    }
}

/// The version that nginx says it has.
pub(crate) fn version() -> Result<String> {
    let output = Command::new(executable()?).arg("-v").output().context("ask nginx for its version")?;
    Ok(String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("nginx version: ").to_owned())
}

/// What both instances share. `user root` has a meaning for root only, whose workers could not read a private
/// temporary directory otherwise.
const FRAME: &str = "\
daemon off;
user root root;
worker_processes auto;
worker_rlimit_nofile 8192;
pid nginx.pid;
events { worker_connections 4096; }
http {
    access_log off;
    default_type application/octet-stream;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    tcp_nodelay on;
    client_max_body_size 0;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    SERVERS
}
";

/// How OctoPrint's and Moonraker's own guides set nginx up in front of a printer, with connections to the origin kept
/// open and nothing held back. Buffers have nginx's own sizes, unless asked for otherwise.
const PROXY_SETTINGS: &str = "\
map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
proxy_http_version 1.1;
proxy_set_header Host $http_host;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $connection_upgrade;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_buffering off;
proxy_request_buffering off;
proxy_read_timeout 1h;
";

/// Debian keeps nginx where an ordinary user's `PATH` does not look.
fn executable() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    match directories.map(|directory| directory.join("nginx")).find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => bail!("nginx is not installed; on Debian: apt-get install nginx-light"),
    }
}

/// Fills a file with bytes that no layer on the way could compress.
fn write_noise(path: &Path, size: u64) -> Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).context("create a file of the origin")?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..size / 8 {
        // Xorshift: good enough to be incompressible, and the same in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).context("fill a file of the origin")?;
    }
    file.flush().context("fill a file of the origin")
}
