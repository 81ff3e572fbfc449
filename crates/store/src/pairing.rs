//! How an agent without a token gets its printer: it shows a code, and somebody who is signed in types it.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use model::secret::random_code;
use model::{AccountId, Label, PrinterId, Secret, SecretHash};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter};

use crate::entity::pairing::{self, State};
use crate::entity::printer;
use crate::error::{Attempt, StoreError, stored};
use crate::profile::account_row;
use crate::records::ChangeSubject;
use crate::sessions::read_address;
use crate::store::Store;
use crate::text::{Name, cut_foreign_text};
use crate::time::{from_milliseconds, to_milliseconds};

/// RFC 8628 §6.1 trades length against guessing: eight of 32 are 40 bits, of which the rate limits on typing leave
/// nothing to try within a quarter of an hour.
const CODE_LENGTH: usize = 8;
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// An agent that was asleep when its code was typed learns of it for this long.
const OUTCOME_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Everybody can start one, and each is a row of at most a kilobyte.
const MAX_OPEN: u64 = 10_000;
/// More than a person owns; adding printers beyond it is for the operator.
const MAX_PRINTERS: u64 = 1000;

/// An agent that wants to be somebody's.
#[derive(Clone, Debug)]
pub struct NewPairing<'a> {
    /// What becomes the printer's key.
    pub key: &'a Secret,
    /// The id that the printer is to have, where the agent's software names its printer itself.
    pub printer: Option<PrinterId>,
    /// Name of the machine, as it says.
    pub host: String,
    /// The printer's software, as it says.
    pub software: String,
    /// Version of the printer's software.
    pub software_version: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Its address on its LAN.
    pub lan_ip: String,
    /// Where it came from.
    pub address: Option<IpAddr>,
}

/// A code that links whichever agent shows it. Keep it out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode(Secret);

impl PairingCode {
    /// The code as people see it.
    pub fn as_str(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingCode(…)")
    }
}

/// An agent that waits, as it described itself. Texts are from strangers, on one line and of bounded length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingRecord {
    /// Name of the machine.
    pub host: String,
    /// The printer's software.
    pub software: String,
    /// Version of the printer's software.
    pub software_version: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Its address on its LAN.
    pub lan_ip: String,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// When it asked.
    pub created_at: SystemTime,
    /// Until when it waits.
    pub expires_at: SystemTime,
}

/// What became of an agent's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingState {
    /// Nobody has typed the code yet.
    Pending,
    /// Its key is a printer's.
    Linked {
        /// The printer.
        printer: PrinterId,
        /// The owner's name for it.
        name: String,
    },
    /// Somebody typed the code and refused.
    Denied,
    /// There is no such wish, or its time is over.
    Unknown,
}

impl Store {
    /// Notes an agent that wants to be linked. A code that its key had before is worthless from here on.
    ///
    /// # Errors
    /// [`StoreError::Full`] if too many agents wait.
    pub async fn start_pairing(&self, new: NewPairing<'_>, now: SystemTime) -> Result<PairingCode, StoreError> {
        const ATTEMPTED: &str = "begin to link an agent";
        let write = self.write(ATTEMPTED).await?;
        let key_hash = new.key.hash().as_bytes().to_vec();
        pairing::Entity::delete_by_id(key_hash.clone()).exec(&*write).await.attempt(ATTEMPTED)?;
        pairing::Entity::delete_many()
            .filter(pairing::Column::ExpiresAt.lte(to_milliseconds(now)))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if pairing::Entity::find().count(&*write).await.attempt(ATTEMPTED)? >= MAX_OPEN {
            return Err(StoreError::Full("agents that wait to be linked"));
        }
        let mut code = random_code(CODE_LENGTH);
        while is_taken(&*write, &code, ATTEMPTED).await? {
            code = random_code(CODE_LENGTH);
        }
        pairing::Entity::insert(pairing::ActiveModel {
            key_hash: Set(key_hash),
            code_hash: Set(code.hash().as_bytes().to_vec()),
            state: Set(State::Pending),
            printer_id: Set(None),
            wanted_printer_id: Set(new.printer.as_ref().map(|printer| printer.as_str().to_owned())),
            host: Set(cut_foreign_text(&new.host)),
            software: Set(cut_foreign_text(&new.software)),
            software_version: Set(cut_foreign_text(&new.software_version)),
            agent_version: Set(cut_foreign_text(&new.agent_version)),
            lan_ip: Set(cut_foreign_text(&new.lan_ip)),
            address: Set(new.address.map(|address| address.to_string())),
            created_at: Set(to_milliseconds(now)),
            expires_at: Set(to_milliseconds(now + LIFETIME)),
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(PairingCode(code))
    }

    /// The agent that shows a code, if it still waits. Letter case, spaces and dashes do not matter.
    pub async fn pairing_by_code(&self, code: &str, now: SystemTime) -> Result<Option<PairingRecord>, StoreError> {
        let Some(hash) = code_hash(code) else { return Ok(None) };
        let Some(row) = find(&self.reader, &hash, now, "look up an agent's code").await? else { return Ok(None) };
        Ok(Some(PairingRecord {
            address: read_address(row.address.as_deref(), "pairing.address")?,
            host: row.host,
            software: row.software,
            software_version: row.software_version,
            agent_version: row.agent_version,
            lan_ip: row.lan_ip,
            created_at: from_milliseconds(row.created_at),
            expires_at: from_milliseconds(row.expires_at),
        }))
    }

    /// Makes the agent that shows a code a new printer of an account; none if no agent waits with it, or the printer's
    /// id is taken.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Full`] if it has too many printers.
    pub async fn claim_pairing(
        &self,
        code: &str,
        account: &AccountId,
        name: &Name,
        now: SystemTime,
    ) -> Result<Option<PrinterId>, StoreError> {
        const ATTEMPTED: &str = "link an agent";
        let Some(hash) = code_hash(code) else { return Ok(None) };
        // Whoever guesses codes does not get as far as the write lock.
        if find(&self.reader, &hash, now, ATTEMPTED).await?.is_none() {
            return Ok(None);
        }
        let write = self.write(ATTEMPTED).await?;
        let Some(row) = find(&*write, &hash, now, ATTEMPTED).await? else { return Ok(None) };
        account_row(&*write, account, ATTEMPTED).await?;
        let n_printers = printer::Entity::find()
            .filter(printer::Column::AccountId.eq(account.as_str()))
            .count(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if n_printers >= MAX_PRINTERS {
            return Err(StoreError::Full("an account links at most 1000 printers"));
        }
        let id = match &row.wanted_printer_id {
            None => PrinterId::generate(),
            Some(wanted) => {
                // Somebody else's by now: whoever comes with the wrong key is told so when it connects.
                if printer::Entity::find_by_id(wanted).one(&*write).await.attempt(ATTEMPTED)?.is_some() {
                    return Ok(None);
                }
                stored(wanted, "pairing.wanted_printer_id")?
            }
        };
        printer::Entity::insert(printer::ActiveModel {
            id: Set(id.as_str().to_owned()),
            account_id: Set(account.as_str().to_owned()),
            name: Set(name.as_str().to_owned()),
            key_hash: Set(Some(row.key_hash.clone())),
            created_at: Set(to_milliseconds(now)),
            last_connected_at: Set(None),
            last_disconnected_at: Set(None),
            agent_version: Set(row.agent_version),
            software: Set(row.software),
            software_version: Set(row.software_version),
            lan_ip: Set(row.lan_ip),
            owner_label: Set(Label::generate().as_str().to_owned()),
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        let columns = pairing::ActiveModel {
            state: Set(State::Linked),
            printer_id: Set(Some(id.as_str().to_owned())),
            expires_at: Set(to_milliseconds(now + OUTCOME_KEPT)),
            ..Default::default()
        };
        if !settle(&*write, row.key_hash, columns, ATTEMPTED).await? {
            return Ok(None);
        }
        write.record(ChangeSubject::Printer(id.clone()), now).await?;
        write.commit().await?;
        Ok(Some(id))
    }

    /// Refuses the agent that shows a code. Whether one waited.
    pub async fn deny_pairing(&self, code: &str, now: SystemTime) -> Result<bool, StoreError> {
        const ATTEMPTED: &str = "refuse an agent";
        let Some(hash) = code_hash(code) else { return Ok(false) };
        if find(&self.reader, &hash, now, ATTEMPTED).await?.is_none() {
            return Ok(false);
        }
        let write = self.write(ATTEMPTED).await?;
        let Some(row) = find(&*write, &hash, now, ATTEMPTED).await? else { return Ok(false) };
        let columns = pairing::ActiveModel { state: Set(State::Denied), ..Default::default() };
        let settled = settle(&*write, row.key_hash, columns, ATTEMPTED).await?;
        write.commit().await?;
        Ok(settled)
    }

    /// What became of the agent with this key.
    pub async fn pairing_state(&self, key: &Secret, now: SystemTime) -> Result<PairingState, StoreError> {
        const ATTEMPTED: &str = "look up an agent's wish to be linked";
        let row = pairing::Entity::find_by_id(key.hash().as_bytes().to_vec())
            .filter(pairing::Column::ExpiresAt.gt(to_milliseconds(now)))
            .one(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let Some(row) = row else { return Ok(PairingState::Unknown) };
        match (row.state, row.printer_id) {
            (State::Pending, _) => Ok(PairingState::Pending),
            (State::Denied, _) => Ok(PairingState::Denied),
            (State::Linked, None) => Err(StoreError::Damaged { column: "pairing.printer_id" }),
            (State::Linked, Some(printer)) => {
                let printer = printer::Entity::find_by_id(printer).one(&self.reader).await.attempt(ATTEMPTED)?;
                // Removed meanwhile, and the wish with it.
                let Some(printer) = printer else { return Ok(PairingState::Unknown) };
                Ok(PairingState::Linked { printer: stored(&printer.id, "printer.id")?, name: printer.name })
            }
        }
    }
}

/// The hash of a code as somebody typed it; none if it cannot be one.
fn code_hash(typed: &str) -> Option<SecretHash> {
    /// With all the dashes and spaces that somebody may type.
    const MAX_TYPED: usize = 64;
    if typed.len() > MAX_TYPED {
        return None;
    }
    let code: String =
        typed.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
    (code.len() == CODE_LENGTH).then(|| SecretHash::of(&code))
}

/// An agent that waits with this code.
async fn find<C: ConnectionTrait>(
    database: &C,
    code: &SecretHash,
    now: SystemTime,
    attempted: &'static str,
) -> Result<Option<pairing::Model>, StoreError> {
    pairing::Entity::find()
        .filter(pairing::Column::CodeHash.eq(code.as_bytes().as_slice()))
        .filter(pairing::Column::State.eq(State::Pending))
        .filter(pairing::Column::ExpiresAt.gt(to_milliseconds(now)))
        .one(database)
        .await
        .attempt(attempted)
}

async fn is_taken<C: ConnectionTrait>(
    database: &C,
    code: &Secret,
    attempted: &'static str,
) -> Result<bool, StoreError> {
    let n_codes = pairing::Entity::find()
        .filter(pairing::Column::CodeHash.eq(code.hash().as_bytes().as_slice()))
        .count(database)
        .await
        .attempt(attempted)?;
    Ok(n_codes > 0)
}

/// Ends the waiting; false if somebody else did.
async fn settle<C: ConnectionTrait>(
    database: &C,
    key_hash: Vec<u8>,
    columns: pairing::ActiveModel,
    attempted: &'static str,
) -> Result<bool, StoreError> {
    let updated = pairing::Entity::update_many()
        .set(columns)
        .filter(pairing::Column::KeyHash.eq(key_hash))
        .filter(pairing::Column::State.eq(State::Pending))
        .exec(database)
        .await
        .attempt(attempted)?;
    Ok(updated.rows_affected == 1)
}
