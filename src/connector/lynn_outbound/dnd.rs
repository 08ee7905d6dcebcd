//! The blacklist, contact by contact (`facts/lynn.md §6`, `GetDnDContact`).
//!
//! At one call in 4 s, thousands of contacts take hours. So the response about each contact is a page, and the cursor
//! is the last contact in sorted order. The contacts are listed when a reading starts, and again by a process that
//! resumes it: this takes one call, and up to a hundred thousand ids need not be stored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::{Outcome, Records, StepError, StepRequest, Window};
use super::streams::{CAMPAIGN_ID, CONTACT_ID};
use super::{LIST_BYTES_GUESS, ListReading, LynnOutbound, wire};
use crate::catalogue::{Text, column_name};
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::{DecodeError, Sink, raw};
use crate::http::Session;

pub(super) const PLACEHOLDER: &str = "{contact_id}";
/// At one call in 4 s, a reading of more contacts would take longer than four days.
const CONTACTS_MAX: usize = 100_000;
/// Expected size of a response about one contact.
const ENTRY_BYTES_GUESS: u64 = 4_000;
/// The last name in the lists of likely names, `id`, which may be the id of anything.
const NO_PLAIN_ID: usize = 1;

/// Progress of a reading: after this contact, or before the first.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    pub(super) after: Option<String>,
}

impl LynnOutbound {
    pub(super) async fn dnd_step(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let per_contact = self.settings.get_dnd_contacts.path.contains(PLACEHOLDER);
        let Some(Cursor { after }) = request.cursor.map(Cursor::parse).transpose()? else {
            if per_contact {
                records.begin(request.window);
                let (contacts, bytes) = self.all_contacts(session, request.window).await?;
                let next = (!contacts.is_empty()).then(|| Cursor { after: None }.text());
                return Ok(Outcome::Page { next, bytes });
            }
            let expected = request.expected.page_bytes.unwrap_or(LIST_BYTES_GUESS);
            let mut entries = Entries::new(records, None);
            let listed =
                self.list(session, ListReading::DndContacts(None), expected, request.window, &mut entries).await?;
            wire::warn_if_page(&request.stream.name, listed.rows);
            return Ok(Outcome::Page { next: None, bytes: listed.bytes });
        };
        if !per_contact {
            return Err(StepError::CursorUnknown);
        }
        self.dnd_of_next(session, request, after.as_deref(), records).await
    }

    /// Reads the entries of the contact that follows `after`.
    async fn dnd_of_next(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        after: Option<&str>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let contacts = self.known_contacts(session, request.window).await?;
        let at = after.map_or(0, |after| contacts.partition_point(|contact| contact.as_str() <= after));
        let Some(contact) = contacts.get(at) else {
            *self.contacts.lock().await = None;
            records.begin(request.window);
            return Ok(Outcome::Page { next: None, bytes: 0 });
        };
        let mut entries = Entries::new(&mut *records, Some(contact));
        let listed = self
            .list(session, ListReading::DndContacts(Some(contact)), ENTRY_BYTES_GUESS, request.window, &mut entries)
            .await;
        let bytes = match listed {
            Ok(listed) => listed.bytes,
            // A contact may be deleted during the reading. If it is still listed, this is an error.
            Err(StepError::NotServed(404)) => {
                records.begin(request.window);
                let (now, bytes) = self.all_contacts(session, request.window).await?;
                if now.binary_search(contact).is_ok() {
                    return Err(StepError::NotServed(404));
                }
                tracing::info!("a contact was deleted while the blacklist was read");
                bytes
            }
            Err(error) => return Err(error),
        };
        let next = (at + 1 < contacts.len()).then(|| Cursor { after: Some(contact.clone()) }.text());
        if next.is_none() {
            // Up to 100,000 ids, which nothing needs until the next reading.
            *self.contacts.lock().await = None;
        }
        Ok(Outcome::Page { next, bytes })
    }

    /// The contacts of this reading; listed if this process has not done so yet.
    async fn known_contacts(&self, session: &Session<'_>, window: Window) -> Result<Arc<[String]>, StepError> {
        if let Some((reading, contacts)) = &*self.contacts.lock().await
            && *reading == window.end
        {
            return Ok(Arc::clone(contacts));
        }
        self.all_contacts(session, window).await.map(|(contacts, _)| contacts)
    }

    async fn all_contacts(&self, session: &Session<'_>, window: Window) -> Result<(Arc<[String]>, u64), StepError> {
        let mut ids = Ids { field: self.settings.contact_id_field.as_deref(), found: Vec::new(), nameless: 0 };
        let listed = self.list(session, ListReading::Contacts, LIST_BYTES_GUESS, window, &mut ids).await?;
        if ids.nameless > 0 {
            let what = format!("{} of {} contacts have no id: set `contact_id_field`", ids.nameless, listed.rows);
            return Err(StepError::Shape(what));
        }
        if ids.found.len() > CONTACTS_MAX {
            return Err(StepError::Refused {
                what: format!("the blacklist is read contact by contact, and there are more than {CONTACTS_MAX}"),
                hint: "if one call lists the whole blacklist, leave `{contact_id}` out of `paths.get_dnd_contacts`",
            });
        }
        wire::warn_if_page("contacts", listed.rows);
        ids.found.sort();
        ids.found.dedup();
        let contacts: Arc<[String]> = ids.found.into();
        *self.contacts.lock().await = Some((window.end, Arc::clone(&contacts)));
        Ok((contacts, listed.bytes))
    }
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Result<Self, StepError> {
        serde_json::from_str(text).map_err(|_| StepError::CursorUnknown)
    }

    pub(super) fn text(&self) -> String {
        // A string can always be serialised.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Collects the ids of contacts.
pub(super) struct Ids<'a> {
    pub(super) field: Option<&'a str>,
    pub(super) found: Vec<String>,
    pub(super) nameless: u64,
}

impl Sink for Ids<'_> {
    fn header(&mut self, _: &[String], _: &[&str]) -> Result<(), DecodeError> {
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        let id = Members::parse(record).and_then(|members| match self.field {
            Some(field) => wire::member(&members, &[&column_name(field)]).and_then(wire::word),
            None => wire::id_of(&members, CONTACT_ID),
        });
        match id {
            // One more than the maximum shows that there are too many.
            Some(id) if self.found.len() <= CONTACTS_MAX => self.found.push(id),
            Some(_) => {}
            None => self.nameless += 1,
        }
        Ok(())
    }

    fn refuse(&mut self, _: &str, _: &[u8]) -> Result<(), DecodeError> {
        self.nameless += 1;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Records for Ids<'_> {
    fn begin(&mut self, _: Window) {
        self.found.clear();
        self.nameless = 0;
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        Ok(())
    }
}

/// Gives contact and campaign of every entry fixed names, whatever the vendor calls them: they are the row's key.
pub(super) struct Entries<'r, R: ?Sized> {
    records: &'r mut R,
    /// The requested contact; `None` if the entries must name it.
    contact: Option<&'r str>,
    writer: ObjectWriter,
}

impl<'r, R: ?Sized> Entries<'r, R> {
    pub(super) fn new(records: &'r mut R, contact: Option<&'r str>) -> Self {
        Self { records, contact, writer: ObjectWriter::default() }
    }

    /// The contact that the entry names, if any.
    fn named_contact(members: &Members<'_>) -> Option<String> {
        wire::id_of(members, &CONTACT_ID[..CONTACT_ID.len() - NO_PLAIN_ID])
    }

    fn campaign(&self, members: &Members<'_>) -> Option<String> {
        // In a list of all entries, a plain `id` may be the entry's own.
        let names: &[Text] =
            if self.contact.is_some() { CAMPAIGN_ID } else { &CAMPAIGN_ID[..CAMPAIGN_ID.len() - NO_PLAIN_ID] };
        wire::id_of(members, names)
    }
}

impl<R: Records + ?Sized> Sink for Entries<'_, R> {
    fn header(&mut self, _: &[String], _: &[&str]) -> Result<(), DecodeError> {
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        const NAMELESS: DecodeError =
            DecodeError::Shape("a blacklist with an entry that names no campaign or no contact");
        self.writer.begin();
        if let Some(members) = Members::parse(record) {
            let named = Self::named_contact(&members);
            if let (Some(asked), Some(named)) = (self.contact, &named)
                && !named.eq_ignore_ascii_case(asked)
            {
                return Err(DecodeError::Shape("the blacklist of another contact than the requested one"));
            }
            let contact = self.contact.map(ToOwned::to_owned).or(named).ok_or(NAMELESS)?;
            let campaign = self.campaign(&members).ok_or(NAMELESS)?;
            self.writer.member_str("contact_id", &contact);
            self.writer.member_str("campaign_id", &campaign);
            for (name, raw) in members.iter() {
                if !matches!(column_name(name).as_str(), "contact_id" | "campaign_id") {
                    self.writer.member_raw(name, raw);
                }
            }
        } else {
            // An entry may be only a campaign's id if the contact is known.
            let id = raw::value(record).ok().and_then(wire::word);
            let (Some(contact), Some(campaign)) = (self.contact, id) else { return Err(NAMELESS) };
            self.writer.member_str("contact_id", contact);
            self.writer.member_str("campaign_id", &campaign);
        }
        self.records.record(self.writer.end())
    }

    fn refuse(&mut self, reason: &str, record: &[u8]) -> Result<(), DecodeError> {
        self.records.refuse(reason, record)
    }
}

#[async_trait::async_trait]
impl<R: Records + ?Sized> Records for Entries<'_, R> {
    fn begin(&mut self, window: Window) {
        self.records.begin(window);
    }

    async fn flush(&mut self) -> Result<(), StepError> {
        self.records.flush().await
    }
}
