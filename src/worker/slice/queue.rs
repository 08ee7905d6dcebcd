//! The loading half's end of the queue: what has arrived, and whether there is room for more.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Message;
use super::memory_budget::Part;
use crate::load::transaction::PageEnd;
use crate::rows::layout::Layout;
use crate::rows::page::Chunk;

pub(super) struct Arriving<'r> {
    receiver: mpsc::Receiver<Message>,
    /// Of the page that is under way or complete.
    chunks: VecDeque<Chunk>,
    bytes: usize,
    room: Part<'r>,
    /// The large page that is loaded piece by piece began again.
    again: bool,
    /// What was met and is not dealt with.
    met: Option<Met>,
    /// Nothing more will come.
    closed: bool,
}

/// What the queue came to.
pub(super) enum Met {
    /// A page is complete.
    Page(PageEnd),
    /// A page is larger than what is kept in memory.
    Large,
    Park(String),
}

/// What follows of a large page.
pub(super) enum Piece {
    Chunk(Chunk),
    End(PageEnd),
    /// It begins again, or came to nothing.
    Void,
}

impl<'r> Arriving<'r> {
    pub(super) fn new(receiver: mpsc::Receiver<Message>, room: Part<'r>) -> Self {
        Self { receiver, chunks: VecDeque::new(), bytes: 0, room, again: false, met: None, closed: false }
    }

    /// The next thing to do; none at the end of the queue.
    pub(super) async fn next(&mut self) -> Option<Met> {
        loop {
            if let Some(met) = self.at_hand() {
                return Some(met);
            }
            let message = self.receiver.recv().await?;
            self.take(message);
        }
    }

    /// The next thing to do, if it has arrived.
    pub(super) fn at_hand(&mut self) -> Option<Met> {
        while self.met.is_none() && self.room.fits(self.bytes) {
            let Ok(message) = self.receiver.try_recv() else { return None };
            self.take(message);
        }
        self.met.take().or_else(|| {
            self.again = false;
            Some(Met::Large)
        })
    }

    /// A page that is complete, if it is the next thing to do and `fits`.
    pub(super) fn page_at_hand(&mut self, fits: impl Fn(&Layout) -> bool) -> Option<PageEnd> {
        match self.at_hand() {
            Some(Met::Page(end)) if self.layout().is_some_and(|layout| fits(&layout)) => Some(end),
            other => {
                self.met = other;
                None
            }
        }
    }

    /// Takes what arrives while something else is done that holds so many bytes itself.
    pub(super) async fn meanwhile<T>(&mut self, held: usize, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let takes = !self.closed && self.met.is_none() && self.room.fits(self.bytes + held);
            tokio::select! {
                biased;
                done = &mut work => return done,
                message = self.receiver.recv(), if takes => match message {
                    Some(message) => self.take(message),
                    None => self.closed = true,
                },
            }
        }
    }

    /// What follows of the page under way.
    pub(super) async fn piece(&mut self) -> Piece {
        loop {
            if std::mem::take(&mut self.again) {
                return Piece::Void;
            }
            if let Some(chunk) = self.chunks.pop_front() {
                self.bytes -= chunk.weight();
                return Piece::Chunk(chunk);
            }
            match self.met.take() {
                Some(Met::Page(end)) => return Piece::End(end),
                None => {}
                other => {
                    // A step that came to nothing hands no records over.
                    self.met = other;
                    return Piece::Void;
                }
            }
            let Some(message) = self.receiver.recv().await else { return Piece::Void };
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Begin => {
                self.chunks.clear();
                self.bytes = 0;
                self.again = true;
            }
            Message::Chunk(chunk) => {
                self.bytes += chunk.weight();
                self.chunks.push_back(chunk);
            }
            Message::End(end) => self.met = Some(Met::Page(end)),
            Message::Park(cursor) => self.met = Some(Met::Park(cursor)),
        }
    }

    /// The layout of the last chunk, which has every field that those before it have.
    pub(super) fn layout(&self) -> Option<Arc<Layout>> {
        self.chunks.back().map(|chunk| Arc::clone(&chunk.layout))
    }

    /// The chunks so far.
    pub(super) fn chunks(&mut self) -> VecDeque<Chunk> {
        self.bytes = 0;
        std::mem::take(&mut self.chunks)
    }

    /// What there is room for by now.
    pub(super) fn room(&self) -> usize {
        self.room.bytes()
    }

    /// Nothing comes for now.
    pub(super) fn rest(&mut self) {
        self.room.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::slice::Room;

    /// A chunk that says which one it is by its rows.
    fn chunk(number: u64, bytes: usize) -> Message {
        let mut chunk = Chunk { rows: number, ..Chunk::default() };
        chunk.data.resize(bytes, 0);
        Message::Chunk(chunk)
    }

    fn end() -> Message {
        Message::End(PageEnd { next: None, bytes: 0 })
    }

    async fn sent(messages: impl IntoIterator<Item = Message>) -> mpsc::Receiver<Message> {
        let (sender, receiver) = mpsc::channel(100);
        for message in messages {
            sender.send(message).await.unwrap();
        }
        receiver
    }

    async fn while_others_run() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// What follows, as numbers of chunks; then whether the page ended.
    async fn pieces(arriving: &mut Arriving<'_>) -> (Vec<u64>, bool) {
        let mut numbers = Vec::new();
        loop {
            match arriving.piece().await {
                Piece::Chunk(chunk) => numbers.push(chunk.rows),
                Piece::End(_) => return (numbers, true),
                Piece::Void => return (numbers, false),
            }
        }
    }

    #[tokio::test]
    async fn p1_of_a_page_that_begins_again_only_what_came_last_counts() {
        let room = Room::of(1);
        let again = [Message::Begin, chunk(1, 10), Message::Begin, chunk(2, 10), end()];
        let mut arriving = Arriving::new(sent(again).await, room.part());
        assert!(matches!(arriving.next().await, Some(Met::Page(_))));
        let rows: Vec<u64> = arriving.chunks().iter().map(|chunk| chunk.rows).collect();
        assert_eq!(rows, [2]);
        assert!(arriving.next().await.is_none());
    }

    #[tokio::test]
    async fn p6_a_page_beyond_its_room_comes_piece_by_piece() {
        let room = Room::of(1);
        let many = (0..20).map(|number| chunk(number, 1 << 20));
        let messages = [Message::Begin].into_iter().chain(many).chain([end()]);
        let mut arriving = Arriving::new(sent(messages).await, room.part());
        assert!(matches!(arriving.next().await, Some(Met::Large)));
        assert!(arriving.bytes < 8 << 20, "{}", arriving.bytes);
        // Nothing more is taken while what has arrived is all there is room for.
        let before = arriving.bytes;
        arriving.meanwhile(0, while_others_run()).await;
        assert_eq!(arriving.bytes, before);
        assert_eq!(pieces(&mut arriving).await, ((0..20).collect(), true));
        assert!(arriving.next().await.is_none());
    }

    #[tokio::test]
    async fn p1_a_large_page_that_begins_again_is_void_and_then_comes_whole() {
        let room = Room::of(1);
        let first = (0..8).map(|number| chunk(number, 1 << 20));
        let messages = [Message::Begin].into_iter().chain(first);
        let (sender, receiver) = mpsc::channel(100);
        let mut arriving = Arriving::new(receiver, room.part());
        for message in messages {
            sender.send(message).await.unwrap();
        }
        assert!(matches!(arriving.next().await, Some(Met::Large)));
        for _ in 0..5 {
            assert!(matches!(arriving.piece().await, Piece::Chunk(_)));
        }
        // While its first rows are sent, it breaks off.
        for message in [Message::Begin, chunk(100, 10)] {
            sender.send(message).await.unwrap();
        }
        arriving.meanwhile(0, while_others_run()).await;
        assert_eq!(pieces(&mut arriving).await, (vec![], false));
        sender.send(end()).await.unwrap();
        assert!(matches!(arriving.next().await, Some(Met::Page(_))));
        assert_eq!(arriving.chunks().len(), 1);
    }

    #[tokio::test]
    async fn p3_a_step_that_comes_to_nothing_is_parked_whatever_was_under_way() {
        let room = Room::of(1);
        let parked = [Message::Begin, chunk(1, 64 << 20), Message::Park("handle".to_owned())];
        let mut arriving = Arriving::new(sent(parked).await, room.part());
        assert!(matches!(arriving.next().await, Some(Met::Large)));
        assert_eq!(pieces(&mut arriving).await, (vec![1], false));
        assert!(matches!(arriving.next().await, Some(Met::Park(cursor)) if cursor == "handle"));
        // And one whose vendor fell silent ends with the queue.
        let mut arriving = Arriving::new(sent([Message::Begin, chunk(1, 64 << 20)]).await, room.part());
        assert!(matches!(arriving.next().await, Some(Met::Large)));
        assert_eq!(pieces(&mut arriving).await, (vec![1], false));
        assert!(arriving.next().await.is_none());
    }
}
