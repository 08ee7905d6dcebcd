//! The places of the status port: how many connections there are, and which one ends if another client needs its place.
//!
//! The head of every request is read before anything about it is decided, and then the body of a POST with a login.
//! After that the request takes a seat, unless it is a probe or is refused: at most [`SEATS_MAX`] of the [`PLACES_MAX`]
//! places have one. The other places become free soon. A client that has not sent its request or its body is
//! disconnected when all places are taken, and responses to probes and refusals are so small that the socket's buffer
//! holds them. So probes are served regardless of the number of slow clients, and clients that connect meanwhile wait
//! in the queue of the listening socket, which is read in order.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::body::BODY_READ_MAX;
use super::listen::HEADER_READ_MAX;
use super::pages;

/// Connections at the same time: enough for probes, a scraper and a few people.
const PLACES_MAX: usize = 128;
/// Requests that are served at the same time, apart from probes.
const SEATS_MAX: usize = 48;
/// Requests of one address that are served at the same time: others are served too, however many it sends.
const SEATS_OF_ADDRESS_MAX: usize = 32;
/// When all places are taken, a client that has been connected for this time without sending a request, or whose body
/// has been expected for this time, gives way.
const SILENT_MAX: Duration = Duration::from_millis(200);
/// When all seats are taken, a client that needs longer than this to receive its response gives way.
const SLOW_MAX: Duration = Duration::from_secs(1);
/// A client that has not received any byte of its response for this time is disconnected.
const STUCK_MAX: Duration = Duration::from_secs(5);
/// A client that needs longer than this to receive its response is disconnected.
const RESPONSE_MAX: Duration = Duration::from_secs(10);
/// From accept to the last byte: as long as all parts of the slowest request, an action, may take together, so that
/// each part ends with a response of its own.
const CONNECTION_MAX: Duration =
    HEADER_READ_MAX.saturating_add(BODY_READ_MAX).saturating_add(pages::ACTION_MAX).saturating_add(RESPONSE_MAX);
/// How often a connection is checked for a client that is too slow.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How often a client is searched that gives way.
const SEARCH_EVERY: Duration = Duration::from_millis(10);

/// All places that are taken.
#[derive(Default)]
pub(super) struct Places {
    /// The oldest first.
    taken: Mutex<Vec<Weak<Place>>>,
    freed: Notify,
}

/// The place of one connection, until it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    state: Mutex<State>,
    /// Cancelled when it must give way.
    gives_way: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Since when the client has been expected to send its request.
    silent_since: Option<Instant>,
    /// Whether its request has arrived, as far as it is read.
    has_asked: bool,
    has_seat: bool,
    /// Whether its action is under way.
    acts: bool,
    /// When its action ended.
    acted_at: Option<Instant>,
    /// When its response could first not be sent at once.
    slow_since: Option<Instant>,
    /// Since when it has not received a byte, although there are some to be sent.
    stuck_since: Option<Instant>,
}

impl Places {
    /// Waits until a place is free, and takes it for a client of this address.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr) -> Arc<Place> {
        loop {
            if let Some(place) = self.try_take(address) {
                return place;
            }
            let _freed_or_later = timeout(SEARCH_EVERY, self.freed.notified()).await;
        }
    }

    /// Takes a place. If none is free, disconnects a client that gives way and returns `None`.
    fn try_take(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Place>> {
        let mut taken = lock(&self.taken);
        let open = open(&mut taken);
        if open.len() < PLACES_MAX {
            let place = Arc::new(Place {
                places: Arc::clone(self),
                address,
                state: Mutex::default(),
                gives_way: CancellationToken::new(),
            });
            taken.push(Arc::downgrade(&place));
            return Some(place);
        }
        // If one is already giving way, its place will be free in a moment.
        if open.iter().all(|place| !place.is_leaving())
            && let Some((_, idle)) =
                open.iter().filter_map(|place| Some((place.idle_for()?, place))).max_by_key(|(idle_for, _)| *idle_for)
        {
            idle.gives_way.cancel();
        }
        None
    }
}

impl Place {
    /// The request has arrived.
    pub(super) fn asked(&self) {
        lock(&self.state).has_asked = true;
    }

    /// The head of the request has arrived, and its body is read next.
    pub(super) fn asks_further(&self) {
        let mut state = lock(&self.state);
        (state.has_asked, state.silent_since) = (false, None);
    }

    /// Its action begins.
    pub(super) fn acts(&self) {
        lock(&self.state).acts = true;
    }

    /// Its action has ended, and the response is sent next.
    pub(super) fn acted(&self) {
        let mut state = lock(&self.state);
        (state.acts, state.acted_at) = (false, Some(Instant::now()));
    }

    /// Waits for the end of its action, if one is under way, and this long for the response to be sent.
    pub(super) async fn answered(&self, sending_max: Duration) {
        let is_answering = || {
            let state = lock(&self.state);
            state.acts || state.acted_at.is_some_and(|at| at.elapsed() < sending_max)
        };
        while is_answering() {
            sleep(CHECK_EVERY).await;
        }
    }

    /// Takes a seat, if necessary from a slow client. Returns `false` if there is none.
    pub(super) fn take_seat(&self) -> bool {
        // Locked until the seat is taken, so that no other request takes the same one.
        let mut taken = lock(&self.places.taken);
        let mut seated = open(&mut taken);
        seated.retain(|place| place.has_seat());
        let is_own = |place: &Arc<Place>| place.address == self.address;
        let has_its_share = seated.iter().filter(|place| is_own(place)).count() >= SEATS_OF_ADDRESS_MAX;
        if has_its_share {
            seated.retain(is_own);
        }
        if has_its_share || seated.len() >= SEATS_MAX {
            let Some(slow) = slow_one(&seated, self.address) else { return false };
            slow.gives_way.cancel();
        }
        lock(&self.state).has_seat = true;
        true
    }

    /// Waits until the connection must end. Returns why.
    pub(super) async fn overdue(&self) -> &'static str {
        tokio::select! {
            () = self.until_it_leaves() => "another client needed its place",
            () = self.until_too_slow() => "it does not take its response",
            () = sleep(CONNECTION_MAX) => "it took too long",
        }
    }

    async fn until_it_leaves(&self) {
        self.gives_way.cancelled().await;
        while !self.is_leaving() {
            sleep(CHECK_EVERY).await;
        }
    }

    /// Whether it gives way. Not a client whose request has arrived in the meantime: it is served, unless it does not
    /// take its response.
    fn is_leaving(&self) -> bool {
        let state = lock(&self.state);
        self.gives_way.is_cancelled() && (!state.has_asked || state.slow_since.is_some())
    }

    async fn until_too_slow(&self) {
        while !lock(&self.state).is_too_slow() {
            sleep(CHECK_EVERY).await;
        }
    }

    fn has_seat(&self) -> bool {
        !self.is_leaving() && lock(&self.state).has_seat
    }

    /// How long the client has not sent its request, or not taken a response that needs no seat. `None` if that is not
    /// long.
    fn idle_for(&self) -> Option<Duration> {
        let state = lock(&self.state);
        let since = if state.has_asked { state.slow_since } else { state.silent_since };
        since.filter(|_| !state.has_seat).map(|since| since.elapsed()).filter(|idle_for| *idle_for >= SILENT_MAX)
    }

    fn slow_for(&self) -> Option<Duration> {
        lock(&self.state).slow_since.map(|since| since.elapsed())
    }

    /// More of the request is expected.
    fn waits_for_client(&self) {
        let mut state = lock(&self.state);
        if !state.has_asked {
            state.silent_since.get_or_insert_with(Instant::now);
        }
    }

    /// The result of sending a part of the response.
    fn sent(&self, sent: &Poll<io::Result<usize>>) {
        let mut state = lock(&self.state);
        if sent.is_pending() {
            let now = Instant::now();
            state.slow_since.get_or_insert(now);
            state.stuck_since.get_or_insert(now);
        } else {
            state.stuck_since = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.freed.notify_one();
    }
}

impl State {
    fn is_too_slow(&self) -> bool {
        let lasts = |since: Option<Instant>, most: Duration| since.is_some_and(|since| since.elapsed() >= most);
        lasts(self.stuck_since, STUCK_MAX) || lasts(self.slow_since, RESPONSE_MAX)
    }
}

/// The places that are taken.
fn open(taken: &mut Vec<Weak<Place>>) -> Vec<Arc<Place>> {
    taken.retain(|place| place.strong_count() > 0);
    taken.iter().filter_map(Weak::upgrade).collect()
}

/// The client that gives way to one of the address `of`: one of the address with the most seats, the slowest first. If
/// its address has more seats than the other will have, it need not have been slow for long.
fn slow_one(seated: &[Arc<Place>], of: IpAddr) -> Option<&Arc<Place>> {
    let seats = |address: IpAddr| seated.iter().filter(|place| place.address == address).count();
    let own = seats(of) + 1;
    let slow = seated.iter().filter_map(|place| {
        let (slow_for, seats) = (place.slow_for()?, seats(place.address));
        (slow_for >= SLOW_MAX || seats > own).then_some(((seats, slow_for), place))
    });
    slow.max_by_key(|(rank, _)| *rank).map(|(_, place)| place)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream that records in its place how the client sends and receives.
pub(super) struct Watched {
    stream: TcpStream,
    place: Arc<Place>,
}

impl Watched {
    pub(super) const fn new(stream: TcpStream, place: Arc<Place>) -> Self {
        Self { stream, place }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        if read.is_pending() {
            self.place.waits_for_client();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.place.sent(&sent);
        sent
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.place.sent(&sent);
        sent
    }

    /// So that a text that several clients share is sent without a copy of it for each.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const THIRD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));

    fn take(places: &Arc<Places>, count: usize) -> Vec<Arc<Place>> {
        (0..count).map(|_| places.try_take(ONE).unwrap()).collect()
    }

    /// As if the client had received its response too slowly for this time.
    fn slow(place: &Place, lasts: Duration) {
        lock(&place.state).slow_since = Instant::now().checked_sub(lasts);
    }

    #[tokio::test]
    async fn a_place_becomes_free_when_a_silent_client_gives_way_and_never_by_one_whose_request_may_be_there() {
        let places = Arc::<Places>::default();
        let mut taken = take(&places, PLACES_MAX);
        assert!(places.try_take(OTHER).is_none());
        assert!(taken.iter().all(|place| !place.gives_way.is_cancelled()), "nothing was read from them");
        taken[5].waits_for_client();
        taken[7].waits_for_client();
        taken[7].asked();
        assert!(places.try_take(OTHER).is_none() && !taken[5].gives_way.is_cancelled(), "not for long");
        sleep(SILENT_MAX).await;
        for _ in 0..3 {
            assert!(places.try_take(OTHER).is_none());
        }
        let gone: Vec<usize> = (0..PLACES_MAX).filter(|place| taken[*place].gives_way.is_cancelled()).collect();
        assert_eq!(gone, [5]);
        assert_eq!(taken.remove(5).overdue().await, "another client needed its place");
        assert!(places.try_take(OTHER).is_some());
    }

    #[tokio::test]
    async fn a_client_whose_request_arrives_at_the_last_moment_is_served_and_another_gives_way() {
        let places = Arc::<Places>::default();
        let taken = take(&places, PLACES_MAX);
        for place in &taken[5..7] {
            place.waits_for_client();
            sleep(Duration::from_millis(10)).await;
        }
        sleep(SILENT_MAX).await;
        assert!(places.try_take(OTHER).is_none() && taken[5].gives_way.is_cancelled());
        taken[5].asked();
        assert!(timeout(SILENT_MAX, taken[5].overdue()).await.is_err());
        assert!(places.try_take(OTHER).is_none() && taken[6].gives_way.is_cancelled());
        assert_eq!(taken[6].overdue().await, "another client needed its place");
    }

    #[tokio::test]
    async fn a_client_that_does_not_send_its_body_gives_way_like_one_that_sends_nothing() {
        let places = Arc::<Places>::default();
        let taken = take(&places, PLACES_MAX);
        for place in &taken {
            place.waits_for_client();
            place.asked();
        }
        sleep(SILENT_MAX).await;
        taken[3].asks_further();
        taken[4].asks_further();
        assert!(places.try_take(OTHER).is_none(), "the time before the head arrived does not count");
        taken[3].waits_for_client();
        taken[4].waits_for_client();
        taken[4].asked();
        sleep(SILENT_MAX).await;
        assert!(places.try_take(OTHER).is_none());
        let gone: Vec<usize> = (0..PLACES_MAX).filter(|place| taken[*place].gives_way.is_cancelled()).collect();
        assert_eq!(gone, [3]);
    }

    #[tokio::test]
    async fn slow_clients_leave_places_for_probes_and_give_their_seats_to_others() {
        let places = Arc::<Places>::default();
        let mut taken = take(&places, SEATS_MAX / 2);
        taken.extend((0..SEATS_MAX / 2).map(|_| places.try_take(THIRD).unwrap()));
        assert!(taken.iter().all(|place| place.take_seat()));
        let (same, other) = (places.try_take(ONE).unwrap(), places.try_take(OTHER).unwrap());
        assert!(!same.take_seat() && !other.take_seat(), "all of them work");
        slow(&taken[3], SLOW_MAX / 4);
        assert!(!same.take_seat(), "not for long");
        assert!(other.take_seat() && taken[3].gives_way.is_cancelled(), "its address has fewer seats");
        slow(&taken[4], SLOW_MAX * 2);
        slow(&taken[5], SLOW_MAX * 3);
        slow(&other, SLOW_MAX * 4);
        assert!(same.take_seat() && taken[5].gives_way.is_cancelled() && !other.gives_way.is_cancelled());
        let seats = open(&mut lock(&places.taken)).iter().filter(|place| place.has_seat()).count();
        assert_eq!(seats, SEATS_MAX);
    }

    #[tokio::test]
    async fn the_requests_of_one_address_leave_seats_for_others() {
        let places = Arc::<Places>::default();
        let taken = take(&places, SEATS_OF_ADDRESS_MAX);
        assert!(taken.iter().all(|place| place.take_seat()));
        let (same, other) = (places.try_take(ONE).unwrap(), places.try_take(OTHER).unwrap());
        assert!(!same.take_seat() && other.take_seat());
        slow(&other, SLOW_MAX * 2);
        assert!(!same.take_seat(), "one of another address does not give way to it");
        slow(&taken[3], SLOW_MAX * 2);
        assert!(same.take_seat() && taken[3].gives_way.is_cancelled() && !other.gives_way.is_cancelled());
    }

    #[tokio::test]
    async fn p7_an_action_that_is_under_way_is_waited_for_and_its_response_too() {
        let places = Arc::<Places>::default();
        let place = places.try_take(ONE).unwrap();
        let ends = async |sending: Duration| timeout(SILENT_MAX, place.answered(sending)).await.is_ok();
        assert!(ends(RESPONSE_MAX).await, "it has not begun");
        place.acts();
        assert!(!ends(Duration::ZERO).await);
        place.acted();
        assert!(!ends(RESPONSE_MAX).await && ends(Duration::ZERO).await);
    }

    #[test]
    fn a_client_that_receives_nothing_is_too_slow_earlier_than_one_that_receives_a_little() {
        let places = Arc::<Places>::default();
        let place = places.try_take(ONE).unwrap();
        place.sent(&Poll::Pending);
        assert!(!lock(&place.state).is_too_slow());
        lock(&place.state).stuck_since = Instant::now().checked_sub(STUCK_MAX);
        assert!(lock(&place.state).is_too_slow());
        place.sent(&Poll::Ready(Ok(1)));
        assert!(!lock(&place.state).is_too_slow());
        slow(&place, RESPONSE_MAX);
        assert!(lock(&place.state).is_too_slow());
    }
}
