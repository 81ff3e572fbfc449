//! App Connections and Shared Connections: how they are made, listed and ended.

use std::time::SystemTime;

use model::{AccountId, ConnectionId, Label, PrinterId, Secret, SecretHash};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::accounts::{MAX_ROWS, read_email};
use crate::entity::{account, connection, dead_connection, printer};
use crate::error::{Attempt, StoreError, Subject};
use crate::password::PasswordHash;
use crate::printers::find_printer;
use crate::records::{ChangeSubject, ConnectionKind, ConnectionSummary, Listing};
use crate::store::{Store, Write};
use crate::text::Name;
use crate::time::{from_milliseconds, to_milliseconds};

/// An App Connection with its secrets. They cannot be read again.
#[derive(Clone, Debug)]
pub struct NewAppConnection {
    /// Its id.
    pub id: ConnectionId,
    /// The random part of its host name.
    pub label: Label,
    /// Opens the App APIs for this connection.
    pub app_token: Secret,
    /// User name of the basic pair.
    pub basic_user: String,
    /// Password of the basic pair.
    pub basic_password: Secret,
    /// Bearer token.
    pub bearer: Secret,
    /// The owner's name for the printer.
    pub printer_name: String,
    /// The printer's address on its LAN, if its agent ever said.
    pub printer_lan_ip: Option<String>,
}

/// A Shared Connection.
#[derive(Clone, Debug)]
pub struct NewSharedConnection {
    /// Its id.
    pub id: ConnectionId,
    /// The random part of its host name.
    pub label: Label,
    /// The owner's name for the printer.
    pub printer_name: String,
}

impl Store {
    /// Gives an app access to a printer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such printer, [`StoreError::Invalid`] if the expiry is not in the future.
    pub async fn create_app_connection(
        &self,
        printer: &PrinterId,
        app: &Name,
        expires_at: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<NewAppConnection, StoreError> {
        const ATTEMPTED: &str = "create an app connection";
        check_expiry(expires_at, now)?;
        let write = self.write(ATTEMPTED).await?;
        let printer = find_printer(&write, printer, ATTEMPTED).await?;
        let new = insert_app(&write, printer, App { id: None, name: app }, expires_at, now, ATTEMPTED).await?;
        write.commit().await?;
        Ok(new)
    }

    /// Makes a link to a printer that its owner can hand out.
    ///
    /// # Errors
    /// As [`Store::create_app_connection`].
    pub async fn create_shared_connection(
        &self,
        printer: &PrinterId,
        password: Option<&PasswordHash>,
        expires_at: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<NewSharedConnection, StoreError> {
        const ATTEMPTED: &str = "create a shared connection";
        check_expiry(expires_at, now)?;
        let write = self.write(ATTEMPTED).await?;
        let printer = find_printer(&write, printer, ATTEMPTED).await?;
        let new = insert_shared(&write, printer, password, expires_at, now, ATTEMPTED).await?;
        write.commit().await?;
        Ok(new)
    }

    /// Living connections of one kind, of one printer or of all, oldest first. Expired ones are among them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such printer.
    pub async fn connections(
        &self,
        kind: ConnectionKind,
        printer: Option<&PrinterId>,
    ) -> Result<Listing<ConnectionSummary>, StoreError> {
        const ATTEMPTED: &str = "list the connections";
        let mut query = connection::Entity::find()
            .find_also_related(printer::Entity)
            .find_also(printer::Entity, account::Entity)
            .filter(connection::Column::Kind.eq(kind.stored()));
        if let Some(printer) = printer {
            self.printer(printer).await?;
            query = query.filter(connection::Column::PrinterId.eq(printer.as_str()));
        }
        let rows = query
            .order_by_asc(connection::Column::CreatedAt)
            .order_by_asc(connection::Column::Id)
            .limit(MAX_ROWS as u64 + 1)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        Listing::read(rows, |(connection, printer, account)| {
            let missing = StoreError::Damaged { column: "connection.printer_id" };
            let (Some(printer), Some(account)) = (printer, account) else { return Err(missing) };
            read_summary(connection, printer, &account)
        })
    }

    /// Ends a connection for good.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no living connection of this kind and id.
    pub async fn revoke_connection(
        &self,
        kind: ConnectionKind,
        id: &ConnectionId,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "revoke a connection";
        let write = self.write(ATTEMPTED).await?;
        let dying = connection::Entity::find_by_id(id.as_str())
            .filter(connection::Column::Kind.eq(kind.stored()))
            .one(&*write)
            .await
            .attempt(ATTEMPTED)?
            .ok_or_else(|| StoreError::not_found(subject(kind), id.as_str()))?;
        bury(&*write, vec![dying], dead_connection::Reason::Revoked, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Connection(id.clone()), now).await?;
        write.commit().await
    }
}

/// What an app says of itself.
pub(crate) struct App<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) name: &'a Name,
}

/// Makes an App Connection and records the change.
pub(crate) async fn insert_app(
    write: &Write,
    printer: printer::Model,
    app: App<'_>,
    expires_at: Option<SystemTime>,
    now: SystemTime,
    attempted: &'static str,
) -> Result<NewAppConnection, StoreError> {
    let new = NewAppConnection {
        id: ConnectionId::generate(),
        label: fresh_label(write, attempted).await?,
        app_token: Secret::generate(),
        basic_user: Secret::generate().expose().to_owned(),
        basic_password: Secret::generate(),
        bearer: Secret::generate(),
        printer_name: printer.name,
        printer_lan_ip: Some(printer.lan_ip).filter(|lan_ip| !lan_ip.is_empty()),
    };
    connection::Entity::insert(connection::ActiveModel {
        id: Set(new.id.as_str().to_owned()),
        kind: Set(connection::Kind::App),
        label: Set(new.label.as_str().to_owned()),
        printer_id: Set(printer.id),
        app_name: Set(Some(app.name.as_str().to_owned())),
        basic_user: Set(Some(new.basic_user.clone())),
        basic_password_hash: Set(Some(new.basic_password.hash().as_bytes().to_vec())),
        bearer_hash: Set(Some(new.bearer.hash().as_bytes().to_vec())),
        app_token_hash: Set(Some(new.app_token.hash().as_bytes().to_vec())),
        password_hash: Set(None),
        created_at: Set(to_milliseconds(now)),
        expires_at: Set(expires_at.map(to_milliseconds)),
        last_used_at: Set(None),
        app_id: Set(app.id.map(str::to_owned)),
        bytes_up: Set(0),
        bytes_down: Set(0),
        has_full_control: Set(false),
    })
    .exec_without_returning(&**write)
    .await
    .attempt(attempted)?;
    write.record(ChangeSubject::Connection(new.id.clone()), now).await?;
    Ok(new)
}

/// Makes a Shared Connection and records the change.
pub(crate) async fn insert_shared(
    write: &Write,
    printer: printer::Model,
    password: Option<&PasswordHash>,
    expires_at: Option<SystemTime>,
    now: SystemTime,
    attempted: &'static str,
) -> Result<NewSharedConnection, StoreError> {
    let new = NewSharedConnection {
        id: ConnectionId::generate(),
        label: fresh_label(write, attempted).await?,
        printer_name: printer.name,
    };
    connection::Entity::insert(connection::ActiveModel {
        id: Set(new.id.as_str().to_owned()),
        kind: Set(connection::Kind::Shared),
        label: Set(new.label.as_str().to_owned()),
        printer_id: Set(printer.id),
        app_name: Set(None),
        basic_user: Set(None),
        basic_password_hash: Set(None),
        bearer_hash: Set(None),
        app_token_hash: Set(None),
        password_hash: Set(password.map(|hash| hash.as_stored().to_owned())),
        created_at: Set(to_milliseconds(now)),
        expires_at: Set(expires_at.map(to_milliseconds)),
        last_used_at: Set(None),
        app_id: Set(None),
        bytes_up: Set(0),
        bytes_down: Set(0),
        has_full_control: Set(false),
    })
    .exec_without_returning(&**write)
    .await
    .attempt(attempted)?;
    write.record(ChangeSubject::Connection(new.id.clone()), now).await?;
    Ok(new)
}

pub(crate) async fn connections_of_printer<C: ConnectionTrait>(
    database: &C,
    printer: &PrinterId,
    attempted: &'static str,
) -> Result<Vec<connection::Model>, StoreError> {
    connection::Entity::find()
        .filter(connection::Column::PrinterId.eq(printer.as_str()))
        .all(database)
        .await
        .attempt(attempted)
}

pub(crate) async fn connections_of_account<C: ConnectionTrait>(
    database: &C,
    account: &AccountId,
    attempted: &'static str,
) -> Result<Vec<connection::Model>, StoreError> {
    connection::Entity::find()
        .inner_join(printer::Entity)
        .filter(printer::Column::AccountId.eq(account.as_str()))
        .all(database)
        .await
        .attempt(attempted)
}

/// Moves connections from the living to the dead.
pub(crate) async fn bury<C: ConnectionTrait>(
    database: &C,
    dying: Vec<connection::Model>,
    reason: dead_connection::Reason,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    /// Databases bound the number of values in a statement, SQLite to 32,766.
    const CHUNK: usize = 500;
    for dying in dying.chunks(CHUNK) {
        let dead = dying.iter().map(|connection| dead_connection::ActiveModel {
            id: Set(connection.id.clone()),
            kind: Set(connection.kind),
            label_hash: Set(SecretHash::of(&connection.label).as_bytes().to_vec()),
            app_token_hash: Set(connection.app_token_hash.clone()),
            reason: Set(reason),
            died_at: Set(to_milliseconds(now)),
        });
        dead_connection::Entity::insert_many(dead).exec_without_returning(database).await.attempt(attempted)?;
        connection::Entity::delete_many()
            .filter(connection::Column::Id.is_in(dying.iter().map(|connection| connection.id.as_str())))
            .exec(database)
            .await
            .attempt(attempted)?;
    }
    Ok(())
}

/// A label that no connection has or had.
async fn fresh_label(write: &Write, attempted: &'static str) -> Result<Label, StoreError> {
    loop {
        let label = Label::generate();
        let n_dead = dead_connection::Entity::find()
            .filter(dead_connection::Column::LabelHash.eq(SecretHash::of(label.as_str()).as_bytes().as_slice()))
            .count(&**write)
            .await
            .attempt(attempted)?;
        // That none of the living has it is for the unique index to say; it happens once in 2^160.
        if n_dead == 0 {
            return Ok(label);
        }
    }
}

pub(crate) fn check_expiry(expires_at: Option<SystemTime>, now: SystemTime) -> Result<(), StoreError> {
    match expires_at {
        Some(expires_at) if expires_at <= now => {
            Err(StoreError::Invalid("a connection expires in the future or never"))
        }
        _ => Ok(()),
    }
}

fn subject(kind: ConnectionKind) -> Subject {
    match kind {
        ConnectionKind::App => Subject::AppConnection,
        ConnectionKind::Shared => Subject::SharedConnection,
    }
}

pub(crate) fn read_summary(
    connection: connection::Model,
    printer: printer::Model,
    account: &account::Model,
) -> Result<ConnectionSummary, StoreError> {
    let damaged = |column| StoreError::Damaged { column };
    Ok(ConnectionSummary {
        id: connection.id.parse().map_err(|_| damaged("connection.id"))?,
        kind: ConnectionKind::read(connection.kind),
        label: connection.label.parse().map_err(|_| damaged("connection.label"))?,
        printer: printer.id.parse().map_err(|_| damaged("printer.id"))?,
        printer_name: printer.name,
        owner: read_email(&account.email)?,
        app_name: connection.app_name,
        has_credentials: connection.kind == connection::Kind::App || connection.password_hash.is_some(),
        created_at: from_milliseconds(connection.created_at),
        expires_at: connection.expires_at.map(from_milliseconds),
        last_used_at: connection.last_used_at.map(from_milliseconds),
        app_id: connection.app_id,
        bytes_up: u64::try_from(connection.bytes_up).unwrap_or(0),
        bytes_down: u64::try_from(connection.bytes_down).unwrap_or(0),
        has_full_control: connection.has_full_control,
    })
}
