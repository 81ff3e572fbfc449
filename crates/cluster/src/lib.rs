//! Where a printer is, and how a request gets there.
//!
//! One node keeps the links of all its printers in process. The trait is what a cluster of nodes implements too: there
//! the directory also finds printers whose link another node holds. The crate knows nothing of what a link is.

mod in_process;

use std::future::Future;
use std::pin::Pin;

use model::PrinterId;
use thiserror::Error;

pub use in_process::InProcess;

/// The directory could not tell where a printer is. Never to be taken for "nowhere".
#[derive(Debug, Error)]
#[error("the directory of printers did not answer")]
pub struct DirectoryError;

/// What [`Directory::find`] returns.
pub type Finding<'a, L> = Pin<Box<dyn Future<Output = Result<Whereabouts<L>, DirectoryError>> + Send + 'a>>;

/// Where a printer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts<L> {
    /// Reachable over this link.
    Here(L),
    /// Nobody holds a link to it.
    Nowhere {
        /// Whether its link was lost so recently that it will probably be back in seconds.
        lost_recently: bool,
    },
}

/// Tells one registration of a printer from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration(u64);

/// Finds the link of a printer.
pub trait Directory<L>: Send + Sync {
    /// Where the printer is now.
    fn find<'a>(&'a self, printer: &'a PrinterId) -> Finding<'a, L>;

    /// This node has a link to the printer. Returns the link that it replaces, if there was one.
    fn register(&self, printer: &PrinterId, link: L) -> (Registration, Option<L>);

    /// The link has ended. Does nothing if another has replaced it.
    fn remove(&self, printer: &PrinterId, registration: Registration);

    /// The links that this node holds.
    fn links_here(&self) -> Vec<(PrinterId, L)>;
}
