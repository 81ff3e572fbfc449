//! What happened to an account, for its owner to read.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use model::{AccountId, PrinterId};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::entity::{audit, printer};
use crate::error::{Attempt, StoreError, stored};
use crate::profile::account_row;
use crate::sessions::read_address;
use crate::store::Store;
use crate::text::cut_foreign_text_to;
use crate::time::{from_milliseconds, to_milliseconds};

const MAX_SUBJECT_LENGTH: usize = 200;
/// Years of an eventful life. Beyond it the oldest make room, so that nobody can fill the disk by failing to sign in.
const MAX_ENTRIES: u64 = 10_000;
/// A page of the log.
const MAX_LIMIT: u64 = 1000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// Kinds of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum AuditKind {
            $($(#[$doc])* $kind,)*
        }

        impl AuditKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name, as it is stored and exported.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// Somebody signed in.
    SignIn = "sign-in",
    /// Somebody tried to sign in and could not.
    SignInFailed = "sign-in-failed",
    /// A browser was signed out.
    SignOut = "sign-out",
    /// The password was set.
    PasswordChanged = "password-changed",
    /// The account got another address.
    EmailChanged = "email-changed",
    /// A passkey was added.
    PasskeyAdded = "passkey-added",
    /// A passkey was removed.
    PasskeyRemoved = "passkey-removed",
    /// Sign-ins ask for a second factor from here on.
    TotpEnabled = "totp-enabled",
    /// Sign-ins ask for a second factor no longer.
    TotpDisabled = "totp-disabled",
    /// The recovery codes were replaced.
    RecoveryCodesRenewed = "recovery-codes-renewed",
    /// A printer was linked.
    PrinterLinked = "printer-linked",
    /// A printer was removed.
    PrinterUnlinked = "printer-unlinked",
    /// A token was issued with which an agent takes the printer's place.
    EnrolmentIssued = "enrolment-issued",
    /// An agent said to be this printer and had another key.
    AgentRefused = "agent-refused",
    /// A printer got another name.
    PrinterRenamed = "printer-renamed",
    /// A printer got another owner.
    PrinterTransferred = "printer-transferred",
    /// Somebody got a role on a printer.
    MemberAdded = "member-added",
    /// Somebody took the role that they were offered.
    MemberJoined = "member-joined",
    /// Somebody gave their role on a printer up.
    MemberLeft = "member-left",
    /// Somebody's role on a printer was taken.
    MemberRemoved = "member-removed",
    /// An app got access to a printer.
    AppConnected = "app-connected",
    /// An app's access to a printer ended.
    AppRevoked = "app-revoked",
    /// An app was allowed to send messages in the printer's own language.
    FullControlGiven = "full-control-given",
    /// An app may no longer send messages in the printer's own language.
    FullControlTaken = "full-control-taken",
    /// An app has sent a message in the printer's own language, from an address that had not done so lately.
    NativeMessageSent = "native-message-sent",
    /// A link to a printer was made.
    ShareCreated = "share-created",
    /// A link to a printer was ended.
    ShareRevoked = "share-revoked",
    /// A link to a printer was opened from an address that had not opened it lately.
    ShareOpened = "share-opened",
    /// A live link was made.
    LiveLinkCreated = "live-link-created",
    /// A live link was ended.
    LiveLinkEnded = "live-link-ended",
    /// A printer's own pages were opened.
    OwnerViewOpened = "owner-view-opened",
    /// A printer was told to do something.
    CommandSent = "command-sent",
    /// The account's data were fetched.
    AccountExported = "account-exported",
    /// An app said where it wants to hear of events.
    WebhookSet = "webhook-set",
    /// An app wants to hear of events no longer.
    WebhookRemoved = "webhook-removed",
}

impl FromStr for AuditKind {
    type Err = StoreError;
    fn from_str(name: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or(StoreError::Invalid("there is no such kind of event"))
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// What.
    pub kind: AuditKind,
    /// The printer that it is about.
    pub printer: Option<PrinterId>,
    /// What else it is about, in words; cut to 200 characters. No secrets.
    pub subject: String,
    /// Where it came from.
    pub address: Option<IpAddr>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its place in the log; grows with time.
    pub id: i64,
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: AuditKind,
    /// The printer that it is about, which may be gone.
    pub printer: Option<PrinterId>,
    /// What else it is about.
    pub subject: String,
    /// Where it came from.
    pub address: Option<IpAddr>,
}

impl Store {
    /// Adds to an account's log.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn audit(&self, account: &AccountId, event: AuditEvent, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "add to an account's log";
        let write = self.write(ATTEMPTED).await?;
        account_row(&*write, account, ATTEMPTED).await?;
        audit::Entity::insert(audit::ActiveModel {
            account_id: Set(account.as_str().to_owned()),
            at: Set(to_milliseconds(now)),
            kind: Set(event.kind.name().to_owned()),
            printer_id: Set(event.printer.map(String::from)),
            subject: Set(cut_foreign_text_to(&event.subject, MAX_SUBJECT_LENGTH)),
            address: Set(event.address.map(|address| address.to_string())),
            ..Default::default()
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        let oldest: Option<i64> = audit::Entity::find()
            .select_only()
            .column(audit::Column::Id)
            .filter(audit::Column::AccountId.eq(account.as_str()))
            .order_by_desc(audit::Column::Id)
            .offset(MAX_ENTRIES)
            .limit(1)
            .into_tuple()
            .one(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if let Some(oldest) = oldest {
            audit::Entity::delete_many()
                .filter(audit::Column::AccountId.eq(account.as_str()))
                .filter(audit::Column::Id.lte(oldest))
                .exec(&*write)
                .await
                .attempt(ATTEMPTED)?;
        }
        write.commit().await
    }

    /// Adds to the log of a printer's owner. A printer that is gone has none, and that is no error.
    pub async fn audit_owner(&self, printer: &PrinterId, event: AuditEvent, now: SystemTime) -> Result<(), StoreError> {
        match self.printer_owner(printer).await? {
            Some(owner) => self.audit(&owner, event, now).await,
            None => Ok(()),
        }
    }

    /// The account that owns a printer.
    pub async fn printer_owner(&self, printer: &PrinterId) -> Result<Option<AccountId>, StoreError> {
        let owner: Option<String> = printer::Entity::find_by_id(printer.as_str())
            .select_only()
            .column(printer::Column::AccountId)
            .into_tuple()
            .one(&self.reader)
            .await
            .attempt("find a printer's owner")?;
        owner.map(|owner| stored(&owner, "printer.account_id")).transpose()
    }

    /// An account's log, newest first: at most `limit` entries, and at most 1000, from before the one with this id.
    pub async fn audit_log(
        &self,
        account: &AccountId,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let mut query = audit::Entity::find().filter(audit::Column::AccountId.eq(account.as_str()));
        if let Some(before) = before {
            query = query.filter(audit::Column::Id.lt(before));
        }
        let rows = query
            .order_by_desc(audit::Column::Id)
            .limit(limit.min(MAX_LIMIT))
            .all(&self.reader)
            .await
            .attempt("read an account's log")?;
        rows.into_iter()
            .map(|row| {
                Ok(AuditEntry {
                    id: row.id,
                    at: from_milliseconds(row.at),
                    kind: stored(&row.kind, "audit.kind")?,
                    printer: row.printer_id.map(|id| stored(&id, "audit.printer_id")).transpose()?,
                    subject: row.subject,
                    address: read_address(row.address.as_deref(), "audit.address")?,
                })
            })
            .collect()
    }
}
