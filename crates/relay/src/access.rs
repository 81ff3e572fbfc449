//! Who gets in at a connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, Uri, header};
use model::{Label, RelayError, SecretHash, wire};
use moka::sync::Cache;
use store::{ConnectionCredentials, ConnectionKind, ConnectionLookup, ConnectionRecord, Store};
use subtle::ConstantTimeEq;

use crate::guesses::Guesses;
use crate::respond::Failure;
use crate::shared_password::SharedPasswords;

/// Connections in the cache; at about 1 KiB each, some ten megabytes.
const MAX_CACHED: u64 = 10_000;
/// How long a change can go unnoticed where its announcement was lost.
const CACHE_TIME: Duration = Duration::from_secs(30);
/// A store that takes longer has not answered.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// Base64 of a user and a password as long as ours, for [`AppKeys::open_to_nothing`].
const PLACEHOLDER: &str = "dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXU6cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=";

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A request's claim to be let in.
pub(crate) struct Claim<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) uri: &'a Uri,
    pub(crate) is_websocket: bool,
    /// Whether no page of another host makes the request. Sibling hosts are one site to a browser, which lends a page
    /// of one printer the cookies of another.
    pub(crate) is_own_page: bool,
    pub(crate) address: IpAddr,
}

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) connection: Arc<ConnectionRecord>,
    /// Whether `Authorization` opened the door and must not travel on.
    pub(crate) used_authorization: bool,
}

/// Decides about requests, with the store's answers cached.
pub(crate) struct Access {
    store: Store,
    unknown_until: Option<SystemTime>,
    cache: Cache<(ConnectionKind, Label), Arc<ConnectionRecord>>,
    /// Counts invalidations, so that an answer from before one is not cached after it.
    invalidations: AtomicU64,
    guesses: Guesses,
    passwords: SharedPasswords,
}

impl Access {
    pub(crate) fn new(store: Store, unknown_until: Option<SystemTime>) -> Self {
        Self {
            store,
            unknown_until,
            cache: Cache::builder().max_capacity(MAX_CACHED).time_to_live(CACHE_TIME).build(),
            invalidations: AtomicU64::new(0),
            guesses: Guesses::default(),
            passwords: SharedPasswords::default(),
        }
    }

    pub(crate) fn passwords(&self) -> &SharedPasswords {
        &self.passwords
    }

    pub(crate) fn guesses(&self) -> &Guesses {
        &self.guesses
    }

    /// Something in the store has changed.
    pub(crate) fn invalidate(&self) {
        self.invalidations.fetch_add(1, Ordering::AcqRel);
        self.cache.invalidate_all();
    }

    /// What a name means that the store does not know. Apps forget a connection on 603 for good, so after a backup was
    /// restored, which lacks what was made after it, the operator may have it not said for a while.
    pub(crate) fn unknown_name(&self, now: SystemTime) -> RelayError {
        match self.unknown_until {
            Some(until) if now < until => RelayError::Unknown,
            _ => RelayError::ConnectionNotFound,
        }
    }

    /// Finds a connection that is alive at `now`: steps 1 and 2 of the order of checks.
    ///
    /// What makes apps forget a connection is said on a fresh answer of the store only, never on a cached one; where
    /// the store does not answer it is 600.
    pub(crate) async fn find(
        &self,
        kind: ConnectionKind,
        label: &Label,
        address: IpAddr,
        now: SystemTime,
    ) -> Result<Arc<ConnectionRecord>, Failure> {
        let key = (kind, label.clone());
        if let Some(cached) = self.cache.get(&key)
            && !has_expired(&cached, now)
        {
            return Ok(cached);
        }
        self.find_fresh(key, now).await.map_err(|error| match error {
            RelayError::ConnectionNotFound => self.after_wrong_guess(error, address),
            error => error.into(),
        })
    }

    async fn find_fresh(
        &self,
        key: (ConnectionKind, Label),
        now: SystemTime,
    ) -> Result<Arc<ConnectionRecord>, RelayError> {
        let invalidations = self.invalidations.load(Ordering::Acquire);
        let lookup = match tokio::time::timeout(STORE_LIMIT, self.store.connection_by_label(key.0, &key.1)).await {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(error)) => {
                tracing::error!(%error, "the store did not answer");
                return Err(RelayError::Unknown);
            }
            Err(_) => {
                tracing::error!("the store did not answer in time");
                return Err(RelayError::Unknown);
            }
        };
        match lookup {
            ConnectionLookup::Unknown => Err(self.unknown_name(now)),
            ConnectionLookup::Dead(_) => Err(RelayError::ConnectionRevoked),
            ConnectionLookup::Alive(record) if has_expired(&record, now) => Err(RelayError::ConnectionRevoked),
            ConnectionLookup::Alive(record) => {
                let record = Arc::from(record);
                self.cache.insert(key.clone(), Arc::clone(&record));
                // An invalidation since the question was asked may have come before the insertion and missed it.
                if self.invalidations.load(Ordering::Acquire) != invalidations {
                    self.cache.invalidate(&key);
                }
                self.note_use(&record, now);
                Ok(record)
            }
        }
    }

    /// Steps 3 and 4: credentials and plan. A refusal by a cached answer is checked against a fresh one.
    pub(crate) async fn admit(
        &self,
        connection: Arc<ConnectionRecord>,
        claim: Claim<'_>,
        now: SystemTime,
    ) -> Result<Admitted, Failure> {
        let checked = self.check_credentials(&connection, &claim).await;
        if let Ok(used_authorization) = checked
            && connection.plan.supporter
        {
            return Ok(Admitted { connection, used_authorization });
        }
        let fresh = self.find_fresh((connection.kind, connection.label.clone()), now).await?;
        let same_password = match (&connection.credentials, &fresh.credentials) {
            (ConnectionCredentials::Password(cached), ConnectionCredentials::Password(fresh)) => cached == fresh,
            _ => false,
        };
        // Hashing a password again would double its cost and count the try twice.
        let checked = if same_password { checked } else { self.check_credentials(&fresh, &claim).await };
        let used_authorization = match checked {
            Ok(used_authorization) => used_authorization,
            Err(failure) if failure.error == RelayError::InvalidCredentials => {
                return Err(self.after_wrong_guess(failure.error, claim.address));
            }
            Err(failure) => return Err(failure),
        };
        if !fresh.plan.supporter {
            return Err(RelayError::NotSupporter.into());
        }
        Ok(Admitted { connection: fresh, used_authorization })
    }

    /// Whether the claim opens the connection, and if so, whether `Authorization` did.
    async fn check_credentials(&self, connection: &ConnectionRecord, claim: &Claim<'_>) -> Result<bool, Failure> {
        let authorization = read_authorization(claim.headers);
        let api_key = if claim.is_websocket { read_api_key(claim.uri) } else { None };
        match &connection.credentials {
            ConnectionCredentials::Open => Ok(false),
            ConnectionCredentials::App { basic_user, basic_password, bearer } => {
                let keys = AppKeys { basic_user, basic_password, bearer };
                keys.check(authorization.as_ref(), api_key.as_ref())
                    .ok_or_else(|| RelayError::InvalidCredentials.into())
            }
            ConnectionCredentials::Password(hash) => {
                if claim.is_own_page && self.passwords.cookie_opens(connection, hash, claim.headers, SystemTime::now())
                {
                    return Ok(false);
                }
                let from_header = match authorization {
                    Some(Ok(Credential::Basic(_, password))) => Some(password),
                    _ => None,
                };
                let used_authorization = from_header.is_some();
                let password = from_header.or_else(|| api_key.and_then(ApiKey::into_password));
                let Some(password) = password else { return Err(RelayError::InvalidCredentials.into()) };
                self.passwords
                    .check(connection, hash, password, claim.address, &self.guesses)
                    .await
                    .map(|()| used_authorization)
            }
        }
    }

    /// The answer to a wrong secret, which costs the guesser something.
    pub(crate) fn after_wrong_guess(&self, error: RelayError, address: IpAddr) -> Failure {
        match self.guesses.handle_wrong_secret(address, Instant::now()) {
            Ok(()) => error.into(),
            Err(seconds) => Failure::retry_after(RelayError::Unknown, seconds),
        }
    }

    /// Notes the last use, as often as the cache asks the store anyway.
    fn note_use(&self, connection: &ConnectionRecord, now: SystemTime) {
        let (store, id) = (self.store.clone(), connection.id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.touch_connection(&id, now).await {
                tracing::debug!(%error, "the last use of a connection was not noted");
            }
        });
    }
}

fn has_expired(connection: &ConnectionRecord, now: SystemTime) -> bool {
    connection.expires_at.is_some_and(|at| at <= now)
}

/// What opens an App Connection.
pub(crate) struct AppKeys<'a> {
    pub(crate) basic_user: &'a str,
    pub(crate) basic_password: &'a SecretHash,
    pub(crate) bearer: &'a SecretHash,
}

impl AppKeys<'_> {
    /// Whether what a request shows opens the connection, and if so, whether `Authorization` did. Of two credentials
    /// both must be right.
    pub(crate) fn check(
        &self,
        authorization: Option<&Result<Credential, Unusable>>,
        api_key: Option<&ApiKey>,
    ) -> Option<bool> {
        let header_opens = authorization.map(|read| match read {
            Ok(credential) => self.open_to(credential),
            Err(Unusable) => self.open_to_nothing(),
        });
        let key_opens = api_key.map(|key| key.readings().iter().any(|credential| self.open_to(credential)));
        match (header_opens, key_opens) {
            (None, None) => {
                self.open_to_nothing();
                None
            }
            (Some(false), _) | (_, Some(false)) => None,
            (header, _) => Some(header.is_some()),
        }
    }

    fn open_to(&self, credential: &Credential) -> bool {
        match credential {
            Credential::Basic(user, password) => {
                let user_is_right = user.as_bytes().ct_eq(self.basic_user.as_bytes());
                bool::from(user_is_right & self.basic_password.ct_eq(&SecretHash::of(password)))
            }
            Credential::Bearer(token) => self.bearer.matches(token),
        }
    }

    /// Something is always decoded and compared, so that a missing credential takes as long as a wrong one.
    fn open_to_nothing(&self) -> bool {
        let opened = decode_basic(std::hint::black_box(PLACEHOLDER)).map(|credential| self.open_to(&credential));
        std::hint::black_box(opened);
        false
    }
}

/// What a client shows to get in. Kept from logs by having no `Debug`.
pub(crate) enum Credential {
    Basic(String, String),
    Bearer(String),
}

/// A header that is there but says nothing that can be used.
pub(crate) struct Unusable;

pub(crate) fn read_authorization(headers: &HeaderMap) -> Option<Result<Credential, Unusable>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some(Err(Unusable));
    }
    let credential = value.to_str().ok().and_then(|value| value.split_once(' ')).and_then(|(scheme, rest)| {
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            decode_basic(rest)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Some(Credential::Bearer(rest.to_owned()))
        } else {
            None
        }
    });
    Some(credential.ok_or(Unusable))
}

fn decode_basic(encoded: &str) -> Option<Credential> {
    let decoded = STANDARD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded)).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credential::Basic(user.to_owned(), password.to_owned()))
}

/// The value of `oe_api_key`: a bearer token, or base64 of `user:password`.
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// The bearer reading comes first: a token may happen to be base64.
    pub(crate) fn readings(&self) -> Vec<Credential> {
        let mut readings = vec![Credential::Bearer(self.0.clone())];
        readings.extend(decode_basic(&self.0));
        readings
    }

    pub(crate) fn into_password(self) -> Option<String> {
        match decode_basic(&self.0) {
            Some(Credential::Basic(_, password)) => Some(password),
            _ => None,
        }
    }
}

pub(crate) fn read_api_key(uri: &Uri) -> Option<ApiKey> {
    uri.query()?.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let decode =
            |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        (decode(name)? == wire::API_KEY_QUERY).then(|| decode(value)).flatten().map(ApiKey)
    })
}

#[cfg(test)]
mod tests;
