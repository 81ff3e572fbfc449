//! Opening the database, and the one way to write to it.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sea_orm::sea_query::ExprTrait;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    QueryFilter, RuntimeErr, SqliteTransactionMode, SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigratorTrait, SchemaManager, seaql_migrations};
use tracing::log::LevelFilter;

use crate::database_url::{DatabaseUrl, Location};
use crate::entity::{change, change_counter};
use crate::error::{Attempt, StoreError};
use crate::migration::Migrator;
use crate::records::ChangeSubject;
use crate::sealing::SealingKey;
use crate::time::to_milliseconds;

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    /// Cannot write, so that a write which bypasses `writer` fails in the first test that meets it.
    pub(crate) reader: DatabaseConnection,
    /// Writes queue here, in order, before they queue for the database's own lock, which is not fair.
    writer: DatabaseConnection,
    pub(crate) sealing: Arc<SealingKey>,
}

/// SQLite reads on one thread per connection. A lookup takes some ten microseconds, so a few of them saturate a small
/// machine, and each costs a thread and a page cache of up to 2 MiB.
const N_READERS: u32 = 4;
/// How long one process waits for another's write. Writes take milliseconds, so this is passed only when the disk hangs
/// or somebody holds the database with a tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for its turn within this process: two calls that each use up [`BUSY_TIMEOUT`], and then it is
/// better to say that the database does not answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

impl Store {
    /// Opens the database, makes it if it is not there, and brings its layout up to date.
    ///
    /// A new directory is readable by its owner only (0700), and so are the file (0600) and that of the key beside it.
    ///
    /// # Errors
    /// [`StoreError::NewerLayout`] if a newer version of the program has changed the layout.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let store = match url.location() {
            Location::Sqlite(path) => open_sqlite(path).await?,
        };
        store.migrate().await?;
        store.seal_second_factors().await?;
        Ok(store)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.latest_change().await.map(drop)
    }

    /// Closes the connections after the calls under way. Not needed for safety, only to leave no log file of SQLite's
    /// behind.
    pub async fn close(&self) {
        // Errors on closing concern nobody: everything acknowledged is on disk.
        let _ = self.reader.close_by_ref().await;
        let _ = self.writer.close_by_ref().await;
    }

    /// Begins a write. Dropped without [`Write::commit`], it leaves no trace.
    pub(crate) async fn write(&self, attempted: &'static str) -> Result<Write, StoreError> {
        // Immediate, because a transaction that reads first and then wants to write fails at once if another process
        // wrote in between, however long the busy timeout.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.writer.begin_with_options(options).await.attempt(attempted)?;
        Ok(Write { transaction, attempted })
    }

    /// Brings the log into the database and empties it, so that neither has what was overwritten.
    pub(crate) async fn forget_what_was_overwritten(&self) -> Result<(), StoreError> {
        self.writer.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.attempt("empty its log").map(drop)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "bring its layout up to date";
        if self.missing_migrations(&self.reader).await?.is_empty() {
            return Ok(());
        }
        // One transaction for all steps: another process that opens the same new database waits for it, and a crash
        // in the middle leaves the layout as it was.
        let write = self.write(ATTEMPTED).await?;
        for migration in self.missing_migrations(&*write).await? {
            tracing::info!(migration, "changing the layout of the database");
        }
        Migrator::up(&*write, None).await.attempt(ATTEMPTED)?;
        write.commit().await
    }

    /// Names of the steps that this database lacks.
    async fn missing_migrations<C>(&self, connection: &C) -> Result<Vec<String>, StoreError>
    where
        C: sea_orm::ConnectionTrait,
        for<'c> &'c C: sea_orm_migration::IntoSchemaManagerConnection<'c>,
    {
        const ATTEMPTED: &str = "say which layout it has";
        let is_new = !SchemaManager::new(connection).has_table("seaql_migrations").await.attempt(ATTEMPTED)?;
        let applied = if is_new {
            Vec::new()
        } else {
            seaql_migrations::Entity::find().all(connection).await.attempt(ATTEMPTED)?
        };
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        if let Some(newer) = applied.iter().find(|row| !known.contains(&row.version)) {
            return Err(StoreError::NewerLayout { migration: newer.version.clone() });
        }
        Ok(known.into_iter().filter(|name| applied.iter().all(|row| row.version != *name)).collect())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// A write under way: a transaction that no other writer can get in between.
pub(crate) struct Write {
    transaction: DatabaseTransaction,
    attempted: &'static str,
}

impl Write {
    /// Tells every service on this database what was changed, once the write is committed.
    pub(crate) async fn record(&self, subject: ChangeSubject, now: SystemTime) -> Result<(), StoreError> {
        // The update comes first: it takes the counter's lock on databases that lock by row.
        change_counter::Entity::update_many()
            .col_expr(change_counter::Column::LastSeq, change_counter::Column::LastSeq.into_expr().add(1))
            .filter(change_counter::Column::Id.eq(change_counter::ONLY_ID))
            .exec(&self.transaction)
            .await
            .attempt(self.attempted)?;
        let counter = change_counter::Entity::find_by_id(change_counter::ONLY_ID)
            .one(&self.transaction)
            .await
            .attempt(self.attempted)?
            .ok_or(StoreError::Damaged { column: "change_counter.id" })?;
        let (subject, subject_key) = match subject {
            ChangeSubject::Account(id) => (change::Subject::Account, id.into()),
            ChangeSubject::Plan(name) => (change::Subject::Plan, name),
            ChangeSubject::Printer(id) => (change::Subject::Printer, id.into()),
            ChangeSubject::Session(id) => (change::Subject::Session, id.into()),
            ChangeSubject::Connection(id) => (change::Subject::Connection, id.into()),
        };
        change::Entity::insert(change::ActiveModel {
            seq: Set(counter.last_seq),
            subject: Set(subject),
            subject_key: Set(subject_key),
            changed_at: Set(to_milliseconds(now)),
        })
        .exec_without_returning(&self.transaction)
        .await
        .attempt(self.attempted)
        .map(drop)
    }

    /// Makes the write durable.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.attempt(self.attempted)
    }
}

impl Deref for Write {
    type Target = DatabaseTransaction;
    fn deref(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}

async fn open_sqlite(path: &Path) -> Result<Store, StoreError> {
    const ATTEMPTED: &str = "be opened";
    let unavailable = |error| StoreError::Unavailable { attempted: ATTEMPTED, source: Box::new(error) };
    prepare_file(path).map_err(unavailable)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let sealing = SealingKey::of_directory(directory).map_err(unavailable)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode, NORMAL would lose the last commits in a power cut.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What was deleted or replaced is overwritten, not only left to be used again.
        .pragma("secure_delete", "ON")
        .log_statements(LevelFilter::Trace);
    let writer = connect(options.clone(), 1).await.attempt(ATTEMPTED)?;
    let reader = connect(options.pragma("query_only", "ON"), N_READERS).await.attempt(ATTEMPTED)?;
    Ok(Store { reader, writer, sealing: Arc::new(sealing) })
}

/// Makes directory and file with tight permissions. SQLite gives its log files those of the database.
fn prepare_file(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        if let Some(above) = directory.parent() {
            fs::create_dir_all(above)?;
        }
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !directory.is_dir() => return Err(error),
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Turning a new file to WAL needs it alone and does not wait for others, so that several processes which start at once
/// get in each other's way for some milliseconds.
async fn connect(options: SqliteConnectOptions, n_connections: u32) -> Result<DatabaseConnection, DbErr> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let pool = SqlitePoolOptions::new()
            .max_connections(n_connections)
            // All at once: later there may be no descriptors left.
            .min_connections(n_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            // A file does not hang up.
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await;
        match pool {
            Ok(pool) => return Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)),
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(DbErr::Conn(RuntimeErr::SqlxError(error.into()))),
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    // The low byte of SQLite's extended code is the plain code; 5 is SQLITE_BUSY.
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}
