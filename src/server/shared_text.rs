//! A large text that all clients of a moment share, so that their number costs neither work nor memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Mutex;

/// A text younger than this is returned again instead of being made anew.
const FRESH: Duration = Duration::from_secs(1);

/// A text, or why it could not be made. At most two texts exist at the same time: while the one before the newest is
/// still being sent to slow clients, no other is made. So the newest may be as old as the time that a client has for
/// its response ([`super::places`]).
pub(super) struct SharedText<E>(Mutex<Texts<E>>);

struct Texts<E> {
    newest: Option<(Instant, Result<Bytes, E>)>,
    /// The text before the newest, if it is still being sent.
    previous: Option<Bytes>,
}

impl<E: Clone> SharedText<E> {
    pub(super) const fn new() -> Self {
        Self(Mutex::const_new(Texts { newest: None, previous: None }))
    }

    /// The newest text, or the one that `make` returns. One request makes it, the others wait for it.
    pub(super) async fn get(&self, make: impl Future<Output = Result<String, E>>) -> Result<Bytes, E> {
        let mut texts = self.0.lock().await;
        let is_sent = |text: &Bytes| !text.is_unique();
        texts.previous = texts.previous.take().filter(is_sent);
        if let Some((since, newest)) = &texts.newest
            && (since.elapsed() < FRESH || newest.is_ok() && texts.previous.is_some())
        {
            return newest.clone();
        }
        let made = make.await.map(|mut text| {
            text.shrink_to_fit();
            Bytes::from(text)
        });
        if let Some((_, Ok(replaced))) = texts.newest.replace((Instant::now(), made.clone())) {
            texts.previous = Some(replaced).filter(is_sent);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    async fn get(shared: &SharedText<&'static str>, made: Result<&str, &'static str>) -> Result<Bytes, &'static str> {
        shared.get(async { made.map(str::to_owned) }).await
    }

    #[tokio::test]
    async fn clients_share_a_text_and_slow_ones_cause_no_more_than_two() {
        let shared = SharedText::new();
        let first = get(&shared, Ok("first")).await.unwrap();
        let same = get(&shared, Ok("never made")).await.unwrap();
        assert_eq!((&*first, first.as_ptr()), (&b"first"[..], same.as_ptr()));
        sleep(FRESH).await;
        let second = get(&shared, Ok("second")).await.unwrap();
        assert_eq!(&*second, b"second");
        sleep(FRESH).await;
        // Both are still being sent.
        assert_eq!(get(&shared, Ok("third")).await.unwrap().as_ptr(), second.as_ptr());
        drop(first);
        assert_eq!(get(&shared, Ok("third")).await.unwrap().as_ptr(), second.as_ptr());
        drop(same);
        assert_eq!(&*get(&shared, Ok("third")).await.unwrap(), b"third");
    }

    #[tokio::test]
    async fn a_failure_is_shared_for_a_moment_and_does_not_stay() {
        let shared = SharedText::new();
        let first = get(&shared, Ok("first")).await.unwrap();
        sleep(FRESH).await;
        assert_eq!(get(&shared, Err("refused")).await, Err("refused"));
        assert_eq!(get(&shared, Ok("never made")).await, Err("refused"));
        sleep(FRESH).await;
        assert_eq!(&*get(&shared, Ok("second")).await.unwrap(), b"second");
        assert_eq!(&*first, b"first");
    }
}
