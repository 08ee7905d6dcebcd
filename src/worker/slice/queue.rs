//! The loading half's end of the queue: what has arrived, within the run's share of the memory budget.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Message;
use super::memory_budget::Share;
use crate::load::transaction::PageEnd;
use crate::rows::layout::Layout;
use crate::rows::page::Chunk;

pub(super) struct Queue<'r> {
    receiver: mpsc::Receiver<Message>,
    /// The chunks of the page under way, or of the page that is complete.
    chunks: VecDeque<Chunk>,
    bytes: usize,
    share: Share<'r>,
    /// A page began since a large page was last announced.
    restarted: bool,
    /// Received, and not handled yet.
    pending: Option<Event>,
    /// The sender is gone.
    closed: bool,
}

/// What the loading half has to do next.
pub(super) enum Event {
    /// Load a page that is complete.
    Page(PageEnd),
    /// Load a page in parts: it exceeds the memory budget.
    LargePage,
    /// Store the cursor of a reading that waits for the vendor.
    Park(String),
}

/// The next part of a large page.
pub(super) enum PagePart {
    Chunk(Chunk),
    End(PageEnd),
}

impl<'r> Queue<'r> {
    pub(super) fn new(receiver: mpsc::Receiver<Message>, share: Share<'r>) -> Self {
        Self { receiver, chunks: VecDeque::new(), bytes: 0, share, restarted: false, pending: None, closed: false }
    }

    /// Waits for the next event. Returns `None` at the end of the queue.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            let message = self.receiver.recv().await?;
            self.accept(message);
        }
    }

    /// The next event, if it has arrived.
    fn try_next(&mut self) -> Option<Event> {
        while self.pending.is_none() && self.share.fits(self.bytes) {
            let Ok(message) = self.receiver.try_recv() else { return None };
            self.accept(message);
        }
        self.pending.take().or_else(|| {
            self.restarted = false;
            Some(Event::LargePage)
        })
    }

    /// The end of a complete page, if that is the next event, it has arrived, and `fits` accepts the page's layout.
    pub(super) fn try_next_page(&mut self, fits: impl Fn(&Layout) -> bool) -> Option<PageEnd> {
        match self.try_next() {
            Some(Event::Page(end)) if self.layout().is_some_and(|layout| fits(&layout)) => Some(end),
            other => {
                self.pending = other;
                None
            }
        }
    }

    /// Does `work`, which holds `held` bytes of chunks itself, and receives what fits meanwhile.
    pub(super) async fn receive_during<T>(&mut self, held: usize, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let receives = !self.closed && self.pending.is_none() && self.share.fits(self.bytes + held);
            tokio::select! {
                biased;
                done = &mut work => return done,
                message = self.receiver.recv(), if receives => match message {
                    Some(message) => self.accept(message),
                    None => self.closed = true,
                },
            }
        }
    }

    /// Waits for the next part of the large page. Returns `None` if the page began again or will never end.
    pub(super) async fn next_part(&mut self) -> Option<PagePart> {
        loop {
            if std::mem::take(&mut self.restarted) {
                return None;
            }
            if let Some(chunk) = self.chunks.pop_front() {
                self.bytes -= chunk.weight();
                return Some(PagePart::Chunk(chunk));
            }
            match self.pending.take() {
                Some(Event::Page(end)) => return Some(PagePart::End(end)),
                None => {}
                other => {
                    // The step produced no page: its chunks do not count.
                    self.pending = other;
                    return None;
                }
            }
            let message = self.receiver.recv().await?;
            self.accept(message);
        }
    }

    fn accept(&mut self, message: Message) {
        match message {
            Message::Begin => {
                self.chunks.clear();
                self.bytes = 0;
                self.restarted = true;
            }
            Message::Chunk(chunk) => {
                self.bytes += chunk.weight();
                self.chunks.push_back(chunk);
            }
            Message::End(end) => self.pending = Some(Event::Page(end)),
            Message::Park(cursor) => self.pending = Some(Event::Park(cursor)),
        }
    }

    /// The layout of the last chunk. It has every field of the chunks before.
    pub(super) fn layout(&self) -> Option<Arc<Layout>> {
        self.chunks.back().map(|chunk| Arc::clone(&chunk.layout))
    }

    /// Takes the chunks that have arrived.
    pub(super) fn take_chunks(&mut self) -> VecDeque<Chunk> {
        self.bytes = 0;
        std::mem::take(&mut self.chunks)
    }

    /// The bytes that pages may use now.
    pub(super) fn capacity(&self) -> usize {
        self.share.capacity()
    }

    /// Returns the spare memory unless chunks need it, because nothing has arrived for a while.
    pub(super) fn release_spare(&mut self) {
        self.share.release_spare(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::slice::MemoryBudget;

    /// A chunk whose number of rows identifies it.
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

    /// The numbers of the chunks that follow, and whether the page ended.
    async fn parts(queue: &mut Queue<'_>) -> (Vec<u64>, bool) {
        let mut numbers = Vec::new();
        loop {
            match queue.next_part().await {
                Some(PagePart::Chunk(chunk)) => numbers.push(chunk.rows),
                Some(PagePart::End(_)) => return (numbers, true),
                None => return (numbers, false),
            }
        }
    }

    #[tokio::test]
    async fn p1_only_the_last_attempt_at_a_page_counts() {
        let budget = MemoryBudget::for_runs(1);
        let again = [Message::Begin, chunk(1, 10), Message::Begin, chunk(2, 10), end()];
        let mut queue = Queue::new(sent(again).await, budget.share());
        assert!(matches!(queue.next().await, Some(Event::Page(_))));
        let rows: Vec<u64> = queue.take_chunks().iter().map(|chunk| chunk.rows).collect();
        assert_eq!(rows, [2]);
        assert!(queue.next().await.is_none());
    }

    #[tokio::test]
    async fn p6_a_page_beyond_the_memory_budget_is_loaded_in_parts() {
        let budget = MemoryBudget::for_runs(1);
        let many = (0..20).map(|number| chunk(number, 1 << 20));
        let messages = [Message::Begin].into_iter().chain(many).chain([end()]);
        let mut queue = Queue::new(sent(messages).await, budget.share());
        assert!(matches!(queue.next().await, Some(Event::LargePage)));
        assert!(queue.bytes < 8 << 20, "{}", queue.bytes);
        // Nothing more is received while the budget is used up.
        let before = queue.bytes;
        queue.receive_during(0, while_others_run()).await;
        assert_eq!(queue.bytes, before);
        assert_eq!(parts(&mut queue).await, ((0..20).collect(), true));
        assert!(queue.next().await.is_none());
    }

    #[tokio::test]
    async fn p1_a_large_page_that_begins_again_is_dropped_and_then_loaded_completely() {
        let budget = MemoryBudget::for_runs(1);
        let first = (0..8).map(|number| chunk(number, 1 << 20));
        let messages = [Message::Begin].into_iter().chain(first);
        let (sender, receiver) = mpsc::channel(100);
        let mut queue = Queue::new(receiver, budget.share());
        for message in messages {
            sender.send(message).await.unwrap();
        }
        assert!(matches!(queue.next().await, Some(Event::LargePage)));
        for _ in 0..5 {
            assert!(matches!(queue.next_part().await, Some(PagePart::Chunk(_))));
        }
        // While its first rows are loaded, it begins again.
        for message in [Message::Begin, chunk(100, 10)] {
            sender.send(message).await.unwrap();
        }
        queue.receive_during(0, while_others_run()).await;
        assert_eq!(parts(&mut queue).await, (vec![], false));
        sender.send(end()).await.unwrap();
        assert!(matches!(queue.next().await, Some(Event::Page(_))));
        assert_eq!(queue.take_chunks().len(), 1);
    }

    #[tokio::test]
    async fn p3_a_step_without_a_page_stores_its_cursor_in_any_state() {
        let budget = MemoryBudget::for_runs(1);
        let parked = [Message::Begin, chunk(1, 64 << 20), Message::Park("handle".to_owned())];
        let mut queue = Queue::new(sent(parked).await, budget.share());
        assert!(matches!(queue.next().await, Some(Event::LargePage)));
        assert_eq!(parts(&mut queue).await, (vec![1], false));
        assert!(matches!(queue.next().await, Some(Event::Park(cursor)) if cursor == "handle"));
        // A page whose vendor stops responding ends with the queue.
        let mut queue = Queue::new(sent([Message::Begin, chunk(1, 64 << 20)]).await, budget.share());
        assert!(matches!(queue.next().await, Some(Event::LargePage)));
        assert_eq!(parts(&mut queue).await, (vec![1], false));
        assert!(queue.next().await.is_none());
    }
}
