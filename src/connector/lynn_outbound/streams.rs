//! Lynn Outbound: campaigns, contacts and the blacklist (`facts/lynn.md §6`).
//!
//! The responses of these methods are not publicly documented: columns are created from the data, and an id is searched
//! under likely names. For the same reason a list is read only if the connection enables it.

use std::borrow::Cow;

use crate::catalogue::{Column, ColumnType, Key, Mode, Stream, Text, Vendor, Windows};

pub const VENDOR: Vendor = Vendor::new("lynn_outbound");

/// Likely names of a campaign's id, by column name; the vendor misspells the word elsewhere (`§10.20`).
pub(super) const CAMPAIGN_ID: &[Text] = &[
    Text::Borrowed("campaign_id"),
    Text::Borrowed("campaing_id"),
    Text::Borrowed("id_campaign"),
    Text::Borrowed("id_campaing"),
    Text::Borrowed("id"),
];

/// Likely names of a contact's id, by column name.
pub(super) const CONTACT_ID: &[Text] =
    &[Text::Borrowed("contact_id"), Text::Borrowed("id_contact"), Text::Borrowed("id")];

/// The known members of a blacklist entry: [`crate::connector::lynn_outbound`] gives them these names, whatever the
/// vendor calls them.
const DND_CONTACTS: &[Column] = &[
    Column::new(
        "contact_id",
        "contact_id",
        ColumnType::Text,
        "Contact that must not be disturbed; the id that the vendor was asked for",
    ),
    Column::new(
        "campaign_id",
        "campaign_id",
        ColumnType::Text,
        "Campaign that has the contact on its blacklist, under whatever name the vendor gives its id",
    ),
];

/// Every stream.
pub(in crate::connector) fn streams() -> Vec<Stream> {
    let list = |name: &'static str, method: &'static str, meaning: &'static str, key, columns| Stream {
        vendor: VENDOR,
        name: name.into(),
        schema: "lynn",
        vendor_id: method.into(),
        meaning: meaning.into(),
        mode: Mode::Snapshot,
        key,
        columns,
        documented: false,
        time_field: None,
        row_time: None,
        business_time: &[],
        off_by_default: true,
        children: Cow::Borrowed(&[]),
        windows: Windows::daily(366),
        id_label: Some(""),
        exported: false,
    };
    let none = || Cow::Borrowed(&[][..]);
    let both = || vec![Text::Borrowed("contact_id"), Text::Borrowed("campaign_id")];
    vec![
        list("campaigns", "GetCampaigns", "Outbound campaigns of the tenant", Key::AnyOf(CAMPAIGN_ID.into()), none()),
        list("contacts", "GetContacts", "Contacts of the tenant", Key::AnyOf(CONTACT_ID.into()), none()),
        list(
            "dnd_contacts",
            "GetDnDContact",
            "Blacklist: contacts that must not be disturbed, by campaign",
            Key::Fields(both()),
            DND_CONTACTS.into(),
        ),
    ]
}
