//! A session with a plugin, as the task that drives its connection and the visitors' tasks share it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use octo::session::SessionError;
use octo::{Event, Introduction, ResponseHead, Session, StreamEnd, StreamId};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::backlog::{Backlog, Ended};
use super::failed_openings::FailedOpenings;
use super::frame_queue::FrameQueue;
use super::spill::SpillArea;
use super::visitor_frames::message_frame;
use crate::link::LinkError;

/// Bytes towards the plugin that may wait. Uploads and visitors' messages wait for room; what is small does not.
pub(crate) const HIGH_WATER: usize = 1024 * 1024;
/// Pongs that may wait; a plugin has one ping under way.
const MAX_PONGS: usize = 16;

/// See the module.
pub(crate) struct Shared {
    session: Mutex<Session>,
    slots: Mutex<HashMap<StreamId, Arc<Slot>>>,
    pongs: Mutex<VecDeque<Bytes>>,
    openings: Mutex<FailedOpenings>,
    area: SpillArea,
    /// There is something to send.
    outgoing: Notify,
    /// There is room for more to send.
    room: Notify,
    /// The session may have to wake earlier.
    earlier: Notify,
    /// The connection should end, at once or when its streams are over.
    closing: Notify,
    is_closing: AtomicBool,
    is_ending: AtomicBool,
}

/// A visitor's end of a stream.
pub(crate) struct Slot {
    /// Who waits for the response's head.
    head: Mutex<Option<oneshot::Sender<Result<ResponseHead, LinkError>>>>,
    pub(crate) backlog: Backlog,
    /// Who waits to send a message.
    pub(crate) writer: AtomicWaker,
    /// Of a WebSocket: its path, and whether the printer is known to have accepted it.
    websocket: Option<(String, AtomicBool)>,
    /// Whether the message that is coming has begun.
    is_in_message: AtomicBool,
}

/// Ends a stream when its visitor lets go of it.
pub(crate) struct StreamGuard {
    shared: Arc<Shared>,
    pub(crate) id: StreamId,
    pub(crate) slot: Arc<Slot>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.shared.slots.lock().remove(&self.id);
        self.shared.session.lock().close(self.id);
        self.shared.outgoing.notify_one();
        self.shared.end_if_idle();
    }
}

impl Shared {
    pub(crate) fn new(session: Session, area: SpillArea) -> Self {
        Self {
            session: Mutex::new(session),
            slots: Mutex::default(),
            pongs: Mutex::default(),
            openings: Mutex::default(),
            area,
            outgoing: Notify::new(),
            room: Notify::new(),
            earlier: Notify::new(),
            closing: Notify::new(),
            is_closing: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Gives the session a command, and sends what comes of it.
    pub(crate) fn command<T>(&self, command: impl FnOnce(&mut Session) -> T) -> T {
        let result = command(&mut self.session.lock());
        self.outgoing.notify_one();
        result
    }

    /// Opens a stream with a place for what comes of it.
    pub(crate) fn open<E>(
        self: &Arc<Self>,
        head: Option<oneshot::Sender<Result<ResponseHead, LinkError>>>,
        websocket: Option<String>,
        open: impl FnOnce(&mut Session) -> Result<StreamId, E>,
    ) -> Result<StreamGuard, E> {
        let slot = Arc::new(Slot {
            head: Mutex::new(head),
            backlog: Backlog::new(&self.area),
            writer: AtomicWaker::new(),
            websocket: websocket.map(|path| (path, AtomicBool::new(false))),
            is_in_message: AtomicBool::new(false),
        });
        let id = {
            // Together, so that nothing can come of the stream before its place is there.
            let mut session = self.session.lock();
            let id = open(&mut session)?;
            self.slots.lock().insert(id, Arc::clone(&slot));
            id
        };
        self.outgoing.notify_one();
        self.earlier.notify_one();
        Ok(StreamGuard { shared: Arc::clone(self), id, slot })
    }

    /// Streams that are open.
    pub(crate) fn open_streams(&self) -> usize {
        self.session.lock().open_streams()
    }

    /// Waits until more may be sent.
    pub(crate) async fn room(&self) {
        loop {
            let notified = self.room.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            if self.has_room() {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.session.lock().waiting_bytes() < HIGH_WATER
    }

    pub(crate) fn openings(&self) -> &Mutex<FailedOpenings> {
        &self.openings
    }

    /// Takes in a message, and hands on what comes of it. May take a while with a large one.
    pub(crate) fn handle_message(&self, message: &Bytes) -> Result<Option<Box<Introduction>>, SessionError> {
        let handled = self.session.lock().handle_message(message, Instant::now());
        let introduction = self.hand_on();
        self.outgoing.notify_one();
        handled.map(|()| introduction)
    }

    /// Something else than a message came.
    pub(crate) fn handle_activity(&self, ping: Option<Bytes>) {
        self.session.lock().handle_activity(Instant::now());
        if let Some(ping) = ping {
            let mut pongs = self.pongs.lock();
            if pongs.len() < MAX_PONGS {
                pongs.push_back(ping);
            }
            self.outgoing.notify_one();
        }
    }

    pub(crate) fn handle_timeout(&self) -> Result<(), SessionError> {
        let handled = self.session.lock().handle_timeout(Instant::now());
        self.hand_on();
        handled
    }

    /// The connection is gone.
    pub(crate) fn handle_disconnect(&self) {
        self.session.lock().handle_disconnect();
        self.hand_on();
        self.room.notify_waiters();
    }

    /// When the session wants to be woken.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.session.lock().poll_timeout()
    }

    /// Waits until the session may want to be woken earlier than it said.
    pub(crate) async fn earlier(&self) {
        self.earlier.notified().await;
    }

    /// The next thing to send.
    pub(crate) fn take_outgoing(&self) -> Option<Outgoing> {
        if let Some(pong) = self.pongs.lock().pop_front() {
            return Some(Outgoing::Pong(pong));
        }
        let (message, has_room) = {
            let mut session = self.session.lock();
            (session.poll_transmit(), session.waiting_bytes() < HIGH_WATER)
        };
        if has_room {
            self.room.notify_waiters();
            for slot in self.slots.lock().values() {
                slot.writer.wake();
            }
        }
        message.map(Outgoing::Message)
    }

    /// Waits until there is something to send.
    pub(crate) async fn outgoing(&self) {
        self.outgoing.notified().await;
    }

    /// Ends the connection at once.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        self.closing.notify_one();
    }

    /// Whether the service has ended it.
    pub(crate) fn is_closed_here(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Ends the connection when no stream is open.
    pub(crate) fn close_when_idle(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.end_if_idle();
    }

    fn end_if_idle(&self) {
        if self.is_ending.load(Ordering::Relaxed) && self.open_streams() == 0 {
            self.close();
        }
    }

    /// Waits until the connection should end.
    pub(crate) async fn closing(&self) {
        while !self.is_closing.load(Ordering::Relaxed) {
            self.closing.notified().await;
        }
    }

    /// Hands on what has happened, piece by piece: between two of them others get at the session.
    fn hand_on(&self) -> Option<Box<Introduction>> {
        let mut introduction = None;
        loop {
            let event = self.session.lock().poll_event();
            match event {
                None => return introduction,
                Some(Event::Introduced(introduced)) => introduction = Some(introduced),
                Some(event) => self.hand_on_event(event),
            }
        }
    }

    fn hand_on_event(&self, event: Event) {
        let (Event::Head(id, _)
        | Event::Data(id, _)
        | Event::WebSocketData { stream: id, .. }
        | Event::Writable(id)
        | Event::End(id, _)) = &event
        else {
            return;
        };
        let id = *id;
        let Some(slot) = self.slots.lock().get(&id).cloned() else { return };
        let pushed = match event {
            Event::Head(_, head) => {
                if let Some(frames) = FrameQueue::new(head.response.headers()) {
                    slot.backlog.show_newest(frames);
                }
                slot.give_head(Ok(head));
                Ok(())
            }
            Event::Data(_, data) => slot.backlog.push(data),
            Event::WebSocketData { kind, data, is_last, .. } => {
                self.note_accepted(&slot);
                let is_first = !slot.is_in_message.swap(!is_last, Ordering::Relaxed);
                slot.backlog.push(message_frame(kind, &data, is_first, is_last))
            }
            Event::Writable(_) => {
                slot.writer.wake();
                Ok(())
            }
            Event::End(_, end) => {
                self.slots.lock().remove(&id);
                self.handle_end(&slot, &end);
                self.end_if_idle();
                Ok(())
            }
            Event::Introduced(_) => Ok(()),
        };
        if pushed.is_err() {
            self.slots.lock().remove(&id);
            self.command(|session| session.close(id));
            slot.backlog.end(Ended::TooSlow);
            slot.writer.wake();
        }
    }

    fn handle_end(&self, slot: &Slot, end: &StreamEnd) {
        tracing::debug!(?end, "a plugin's stream ended");
        if let Some((path, _)) = &slot.websocket {
            match end {
                StreamEnd::TargetUnreachable => self.openings.lock().handle_failure(path, Instant::now()),
                StreamEnd::Complete => self.note_accepted(slot),
                _ => {}
            }
        }
        slot.give_head(Err(match end {
            StreamEnd::TargetUnreachable => LinkError::TargetUnreachable("the plugin cannot reach it".to_owned()),
            StreamEnd::Lost => LinkError::Lost,
            StreamEnd::Fault(fault) => LinkError::Agent(fault.to_string()),
            StreamEnd::Complete | StreamEnd::BrokeOff | StreamEnd::ClosedByPlugin => {
                LinkError::Agent("it closed the stream".to_owned())
            }
        }));
        slot.backlog.end(end.into());
        slot.writer.wake();
    }

    fn note_accepted(&self, slot: &Slot) {
        if let Some((path, is_accepted)) = &slot.websocket
            && !is_accepted.swap(true, Ordering::Relaxed)
        {
            self.openings.lock().handle_success(path);
        }
    }
}

impl Slot {
    fn give_head(&self, head: Result<ResponseHead, LinkError>) {
        if let Some(waiting) = self.head.lock().take() {
            // Nobody waits any more: the stream is about to be closed.
            let _ = waiting.send(head);
        }
    }
}

/// What goes to the plugin.
pub(crate) enum Outgoing {
    Message(Bytes),
    Pong(Bytes),
}
