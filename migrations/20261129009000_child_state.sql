-- Child tables have no row in the views of what is complete. The comments say whose row stands for them.

comment on view mart.data_status is 'From when to when a table is complete, and why it is not; one row per connection and table that a stream fills. A child table is filled with its parent, whose row stands for it too: that of lexer.users for lexer.user_groups, of lexer.forms for lexer.form_groups, of jaicp.sessions for jaicp.session_label_links, of jaicp.messages for jaicp.message_label_links';
comment on view mart.day_status is 'Whether a day is complete; one row per connection, table of windows, and day up to today. Ask for one table or for few days. The rows of a table stand for its child tables too, as in mart.data_status';
