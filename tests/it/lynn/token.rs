//! The shared token.

use futures_util::future::join_all;
use simulator::{Action, Fault, Match, Options, Wording};
use tidegate::connector::StepError;

use super::*;

const LOGIN: &str = "create_token";

#[tokio::test]
async fn many_concurrent_steps_mint_one_token() {
    let (_bench, control, client) = start().await;
    let days: Vec<Window> = (1..=8).map(day).collect();
    let readings = join_all(days.iter().map(|day| client.read(MARKS, *day))).await;
    for (day, reading) in days.iter().zip(readings) {
        assert_eq!(reading.unwrap().rows, truth(&control, *day));
    }
    assert_eq!((control.stats().calls[LOGIN], control.stats().calls["execute_report"]), (1, 24));
}

#[tokio::test]
async fn a_token_is_minted_when_it_is_needed_and_log_in_sends_nothing_else() {
    let (_bench, control, client) = start().await;
    assert_eq!(control.stats().calls.len(), 0, "lazily");
    for _ in 0..3 {
        client.log_in().await.unwrap();
    }
    assert_eq!(control.stats().calls.into_iter().collect::<Vec<_>>(), [(LOGIN.to_owned(), 1)]);
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_for_all_who_share_it() {
    let (_bench, control, client) = start().await;
    first_page(&client).await.unwrap();
    control.expire_tokens();
    let days: Vec<Window> = (1..=6).map(day).collect();
    for reading in join_all(days.iter().map(|day| client.read(MARKS, *day))).await {
        reading.unwrap();
    }
    assert_eq!(control.stats().tokens_minted, 2);
}

#[tokio::test]
async fn a_401_is_fatal_after_one_renewal() {
    let (_bench, control, client) = start().await;
    control.mischief(Fault::new(Match::report(MARKS), Action::Unauthorized).times(9));
    let error = first_page(&client).await.unwrap_err();
    assert!(matches!(error, StepError::Credentials), "{error:?}");
    assert_eq!((control.stats().tokens_minted, control.stats().calls["execute_report"]), (2, 2));
}

#[tokio::test]
async fn a_token_that_expires_between_pages_loses_no_page() {
    let (_bench, control, client) = start().await;
    control.next(Match::report(MARKS).page(2), Action::TokenExpired);
    let reading = client.read(MARKS, day(1)).await.unwrap();
    assert_eq!(reading.rows, truth(&control, day(1)));
    assert_eq!((control.stats().tokens_minted, control.stats().calls["execute_report"]), (2, 4));
}

#[tokio::test]
async fn a_short_lifetime_of_a_token_is_ignored() {
    // If a token states a lifetime of ten seconds, the clocks may differ; it is used until a 401.
    let (_bench, control, client) = start_with(Options { token_lifetime: 10 * SECOND, ..free() }).await;
    client.read(MARKS, day(1)).await.unwrap();
    assert_eq!(control.stats().tokens_minted, 1, "not one for each page");
}

#[tokio::test]
async fn wrong_credentials_are_tried_once_however_many_streams_ask() {
    let (mut bench, control, _) = start().await;
    bench.settings.account.access_token_secret = "another".into();
    bench.limits[0] = limit(LOGIN, Calls::Login, Unit::Calls, 3, Duration::from_mins(1));
    let client = bench.client().await;
    for outcome in join_all((1..=8).map(|number| client.read(MARKS, day(number)))).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StepError::Credentials), "{error:?}");
    }
    assert!(matches!(first_page(&client).await.unwrap_err(), StepError::Credentials));
    assert_eq!(control.stats().calls.into_iter().collect::<Vec<_>>(), [(LOGIN.to_owned(), 1)]);
}

#[tokio::test]
async fn a_refusal_of_create_token_is_named_and_not_repeated() {
    let (bench, control, _) = start().await;
    for (number, action) in [Action::SubscriptionKey, Action::Forbidden, Action::EmptyBody].into_iter().enumerate() {
        let client = bench.client().await;
        control.next(Match::endpoint(LOGIN), action.clone());
        let error = first_page(&client).await.unwrap_err();
        let named = match action {
            Action::SubscriptionKey => is_of_subscription_key(&error),
            Action::Forbidden => matches!(error, StepError::Forbidden),
            _ => matches!(error, StepError::Missing("token")),
        };
        assert!(named, "{action:?}: {error:?}");
        assert_eq!(control.stats().calls[LOGIN], number as u64 + 1);
    }
    assert_eq!(control.stats().calls.len(), 1, "no report was asked for");
}

#[tokio::test]
async fn after_a_429_create_token_is_called_at_the_pace_of_its_own_limit() {
    let (mut bench, control, _) = start().await;
    // 3 per 9 s: 3 s apart, as 3 per 60 s are 20 s apart.
    bench.limits[0] = limit(LOGIN, Calls::Login, Unit::Calls, 3, 9 * SECOND);
    let client = bench.client().await;
    control.next(Match::endpoint(LOGIN), Action::TooMany { seconds: 1, wording: Wording::Text, header: false });
    let begun = std::time::Instant::now();
    first_page(&client).await.unwrap();
    assert!(begun.elapsed() >= 3 * SECOND, "{:?}", begun.elapsed());
    assert_eq!((control.stats().calls[LOGIN], blocked(&client, "requests").await), (2, None));
}
