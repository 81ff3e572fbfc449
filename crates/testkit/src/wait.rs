//! Waiting for conditions.

use std::time::Duration;

/// Long enough for a busy machine; a test that waits this long has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    wait_for(what, || condition().then_some(())).await;
}

/// Waits until `probe` finds something.
pub async fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    wait_for_answer(what, async || probe()).await
}

/// Waits until `probe`, which may ask somebody, finds something.
pub async fn wait_for_answer<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(LIMIT, waiting).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for: {what}"),
    }
}
