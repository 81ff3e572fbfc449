//! Whether the time that a refusal takes tells what was wrong.

use std::hint::black_box;

use http::HeaderValue;
use model::Secret;

use super::*;

/// Measurements of each of two classes.
const PAIRS: usize = 100_000;
/// Credentials of a class, so that no single one decides.
const CREDENTIALS: usize = 500;
/// The share of the slowest measurements that is left out: they tell of the machine.
const CROPPED: f64 = 0.1;
/// The usual threshold of a leak test by Welch's t: chance exceeds it once in 10^5 times.
const THRESHOLD: f64 = 4.5;
/// A busy machine may spoil a try in either direction; a leak shows in each, and in the same direction.
const TRIES: usize = 3;

/// Values of `Authorization`.
type Class<'a> = &'a dyn Fn() -> String;

struct Keys {
    user: Secret,
    password: Secret,
    bearer: Secret,
}

impl Keys {
    fn generate() -> Self {
        Self { user: Secret::generate(), password: Secret::generate(), bearer: Secret::generate() }
    }

    fn refuses(&self, hashes: &(SecretHash, SecretHash), headers: &HeaderMap) -> bool {
        let keys = AppKeys { basic_user: self.user.expose(), basic_password: &hashes.0, bearer: &hashes.1 };
        keys.check(read_authorization(headers).as_ref(), None).is_none()
    }
}

fn basic(user: &Secret, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", user.expose(), password.expose())))
}

fn bearer(token: &Secret) -> String {
    format!("Bearer {}", token.expose())
}

/// A token that agrees with `secret` but for one letter.
fn altered(secret: &Secret, at: usize) -> Secret {
    let mut text = secret.expose().to_owned().into_bytes();
    text[at] = if text[at] == b'a' { b'b' } else { b'a' };
    Secret::new(String::from_utf8(text).expect("it is ASCII"))
}

/// Welch's t of the times that two classes of requests take, each pair in random order and the slowest left out.
fn welch_t(check: impl Fn(&HeaderMap) -> bool, classes: [Class<'_>; 2]) -> f64 {
    let credentials = classes.map(|class| (0..CREDENTIALS).map(|_| class()).collect::<Vec<String>>());
    let mut headers = HeaderMap::new();
    let mut times = [Vec::with_capacity(PAIRS), Vec::with_capacity(PAIRS)];
    let mut random = 1u32;
    for pair in 0..PAIRS {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let first = (random >> 16) as usize & 1;
        for class in [first, 1 - first] {
            // Removed first, so that both classes lie in the same place in memory.
            headers.remove(header::AUTHORIZATION);
            let value = HeaderValue::from_str(&credentials[class][pair % CREDENTIALS]);
            headers.insert(header::AUTHORIZATION, value.expect("credentials are visible ASCII"));
            let start = Instant::now();
            let refused = black_box(check(black_box(&headers)));
            times[class].push(start.elapsed().as_nanos() as f64);
            assert!(refused);
        }
    }
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let slowest = all[(all.len() as f64 * (1.0 - CROPPED)) as usize];
    let [(mean_a, error_a), (mean_b, error_b)] = times.map(|times| {
        let kept: Vec<f64> = times.into_iter().filter(|time| *time <= slowest).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (mean_a - mean_b) / (error_a + error_b).sqrt()
}

/// The two classes of a comparison: credentials made of unrelated keys, and the same made of the right ones.
///
/// Both must have the same shape. Many different texts take measurably longer than one that is repeated, whatever it
/// has to do with the secret, because the processor has seen the repeated one before.
type Shape = fn(&Keys) -> String;

#[test]
fn the_time_of_a_refusal_does_not_tell_what_was_wrong() {
    let check = |name: &str, shape: Shape| {
        let mut tries: Vec<f64> = Vec::new();
        let in_one_direction =
            |tries: &[f64]| tries.iter().all(|t| *t >= THRESHOLD) || tries.iter().all(|t| *t <= -THRESHOLD);
        while tries.len() < TRIES && in_one_direction(&tries) {
            // New ones for each try: what two texts happen to cost must not look like a leak three times.
            let (keys, unrelated) = (Keys::generate(), Keys::generate());
            let hashes = (keys.password.hash(), keys.bearer.hash());
            let refuses = |headers: &HeaderMap| keys.refuses(&hashes, headers);
            tries.push(welch_t(refuses, [&|| shape(&unrelated), &|| shape(&keys)]));
        }
        assert!(!in_one_direction(&tries), "{name} shows in the time of a refusal: t = {tries:?}");
    };
    check("a right user", |keys| basic(&keys.user, &Secret::generate()));
    check("a right password", |keys| basic(&Secret::generate(), &keys.password));
    check("a nearly right pair", |keys| basic(&altered(&keys.user, 31), &altered(&keys.password, 31)));
    check("a nearly right token", |keys| bearer(&altered(&keys.bearer, 31)));
}

/// There is nothing secret in whether a credential was sent, so that this need not be as exact.
#[test]
fn a_missing_credential_takes_as_long_as_a_wrong_one() {
    let keys = Keys::generate();
    let hashes = (keys.password.hash(), keys.bearer.hash());
    let median = |headers: &HeaderMap| {
        let mut times: Vec<Duration> = (0..10_000)
            .map(|_| {
                let start = Instant::now();
                assert!(black_box(keys.refuses(&hashes, black_box(headers))));
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let mut wrong = HeaderMap::new();
    let value = HeaderValue::from_str(&basic(&Secret::generate(), &Secret::generate()));
    wrong.insert(header::AUTHORIZATION, value.expect("credentials are visible ASCII"));
    let mut unusable = HeaderMap::new();
    unusable.insert(header::AUTHORIZATION, HeaderValue::from_static("Digest x"));
    let ratios: Vec<[f64; 2]> = (0..TRIES)
        .map(|_| {
            let wrong = median(&wrong);
            [median(&HeaderMap::new()) / wrong, median(&unusable) / wrong]
        })
        .collect();
    let is_close = |ratio: &f64| (0.75..1.33).contains(ratio);
    assert!(ratios.iter().any(|ratios| ratios.iter().all(is_close)), "{ratios:?}");
}
