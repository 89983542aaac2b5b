"""The schema: each entry takes it one version further. A released entry is never changed."""

import sqlite3
from collections.abc import Iterator

# Tables by which a file is known as ours: each release has had them, and each one has to.
OF_EACH_RELEASE = {"meta", "portal", "chats", "messages"}

MIGRATIONS = [
    """
    create table meta (key text primary key, value text not null);
    insert into meta values ('revision', '0');

    create table portal (
        id integer primary key check (id = 1),
        member_id text not null, user_id integer not null,
        access_token text not null, refresh_token text not null, expires_at real not null,
        application_token text not null, token_pending integer not null,
        installed_at real not null
    );

    create table lines (
        line integer primary key, active integer not null, connected_at real not null
    );

    create table chats (
        id text primary key,
        name text not null default '', email text not null default '',
        phone text not null default '', page text not null default '',
        line integer, created_at real not null, active_at real not null,
        portal_chat_id integer, portal_user_id integer, session_id integer, closed_at real,
        checked_im_id integer not null default 0
    );
    create index chats_in_conversation on chats (active_at);

    create table messages (
        id integer primary key autoincrement,
        revision integer not null unique, position real not null,
        chat_id text not null references chats on delete cascade,
        author text not null, name text, text text not null,
        extra text not null default '{}',
        html text not null, renderer integer not null,
        sent_at real not null, state text not null, error text,
        client_id text, im_message_id integer unique, im_chat_id integer,
        edited integer not null default 0, deleted integer not null default 0,
        unique (chat_id, client_id)
    );
    create index messages_of_chat on messages (chat_id, position);
    create index messages_by_renderer on messages (renderer);

    create table deliveries (
        id integer primary key autoincrement,
        message_id integer not null unique references messages on delete cascade,
        chat_id text not null references chats on delete cascade,
        kind text not null, line integer,
        due real not null, attempts integer not null default 0,
        sending_since real, error text
    );
    create index deliveries_of_chat on deliveries (chat_id, id);

    create table hits (
        who text not null, minute integer not null, count integer not null,
        primary key (who, minute)
    );
    create table refusals (
        reason text primary key, count integer not null, last_at real not null
    );
    """,
    "create index messages_by_change on messages (chat_id, revision)",
    """
    create table files (
        key text primary key, message_id integer not null references messages on delete cascade
    );
    create index files_of_message on files (message_id);
    alter table deliveries add column by_link integer not null default 0;
    """,
    """
    alter table chats add column consent text;
    alter table chats add column consent_at real;
    create table deleted_chats (id text primary key, deleted_at real not null);
    """,
    """
    create table dialogs (
        portal_chat_id integer primary key,
        chat_id text not null references chats on delete cascade, line integer,
        checked_im_id integer not null default 0
    );
    create index dialogs_of_chat on dialogs (chat_id);
    insert into dialogs select portal_chat_id, id, line, checked_im_id from chats
        where portal_chat_id is not null;
    alter table chats drop column checked_im_id;
    alter table chats add column dialog_line integer;
    delete from refusals;
    """,
    """
    alter table chats add column owner text;
    create index chats_of_owner on chats (owner);
    """,
    """
    alter table deliveries rename column sending_since to called_at;
    alter table deliveries rename column by_link to file_as_link;
    alter table deliveries add column state text not null default 'queued';
    update deliveries set state = case when error is null then 'sending' else 'in doubt' end
        where called_at is not null;
    alter table chats add column turn integer not null default 0;
    create index chats_by_turn on chats (turn);
    """,
    # The fields of `extra` become columns, and a message's files get HTML of their own. In older
    # rows `html` holds that of text and files until a newer renderer renders them again.
    """
    alter table messages add column files text not null default '[]';
    alter table messages add column files_html text not null default '';
    alter table messages add column asks_vote integer not null default 0;
    alter table messages add column ends_dialog integer not null default 0;
    alter table messages add column incomplete integer not null default 0;
    update messages set
        files = coalesce(json_extract(extra, '$.files'), '[]'),
        asks_vote = json_extract(extra, '$.params.IMOL_VOTE') is not null,
        ends_dialog = coalesce(json_extract(extra, '$.kind') = 'closed', 0),
        incomplete = coalesce(json_extract(extra, '$.incomplete'), 0)
        where extra <> '{}';
    alter table messages drop column extra;
    create table deletions (
        number integer primary key autoincrement, id text not null unique, deleted_at real not null
    );
    insert into deletions (id, deleted_at)
        select id, deleted_at from deleted_chats order by rowid;
    drop table deleted_chats;
    """,
    # The generations tie the file to its write-ahead log (store/log.py).
    """
    insert into meta values ('epoch', lower(hex(randomblob(8))));
    create table generations (current text not null, previous text not null);
    insert into generations values ('', '');
    """,
    # Only the oldest unfinished message of a chat has a place in the queue (store/places.py).
    """
    alter table deliveries add column address text not null default '';
    alter table deliveries add column of_new_chat integer not null default 0;
    alter table deliveries add column place integer;
    alter table deliveries add column set_back integer not null default 0;
    update deliveries set place = 1 where kind = 'message' and id in
        (select min(id) from deliveries where kind = 'message' group by chat_id);
    create index deliveries_by_place on deliveries (state, place) where place is not null;
    create index deliveries_by_due on deliveries (state, due) where place is not null;
    create index deliveries_by_age on deliveries (state) where place is not null;
    create index deliveries_of_address on deliveries (address) where kind = 'message';
    create table senders (
        address text not null, of_new_chat integer not null, place integer not null,
        primary key (address, of_new_chat)
    );
    create index senders_by_place on senders (place);
    insert into meta values ('served', '0');
    drop index chats_by_turn;
    alter table chats drop column turn;
    """,
    """
    create table heirs (id text primary key, heir text not null);
    create table ended_logins (login text primary key, ended_at real not null);
    create index ended_logins_by_age on ended_logins (ended_at);
    create index chats_by_email on chats (lower(email), created_at) where email <> '';
    """,
    # Each line has its own queue, so that what waits for a line is not read (store/queue.py).
    """
    alter table deliveries add column chat_line integer not null default 0;
    update deliveries set chat_line =
        coalesce((select line from chats where chats.id = deliveries.chat_id), 0)
        where place is not null;
    drop index deliveries_by_place;
    drop index deliveries_by_age;
    create index deliveries_by_place on deliveries (state, chat_line, place, id, due)
        where place is not null;
    create index deliveries_by_age on deliveries (state, chat_line, id, due)
        where place is not null;
    create index confirmations_by_age on deliveries (line, id, due) where kind = 'confirmation';
    create index hits_by_minute on hits (minute);
    """,
    # A chat that is deleted has the owner '' until all that it had is removed (store/removal.py).
    "create view living_chats as select * from chats where owner is not ''",
    # Which of a chat's e-mail and telephone the portal has refused (portal/contacts.py).
    "alter table chats add column refused_contacts text not null default ''",
    # What is attached to an operator's message stays when its text is edited (portal/inbox.py).
    "alter table messages add column attached text not null default ''",
    # What the portal refused lately is asked for often (store/overview.py), and is rare.
    "create index messages_refused on messages (sent_at) where state = 'refused'",
    # Numbers for monitoring (store/counts.py).
    "create table counts (name text primary key, value real not null, at real not null)",
    # Visitors whom an administrator has turned away (store/blocks.py).
    "create table blocked (chat_id text primary key, blocked_at real not null)",
    # Since when a chat is ours that another program has begun (store/past.py).
    "alter table chats add column taken_over_at real",
    # Sums by which a file is proved to have all messages and deliveries (store/log.py).
    """
    insert into meta select 'sum.messages', coalesce(sum(revision % 1000003), 0) from messages;
    insert into meta select 'sum.deliveries', coalesce(sum(id % 1000003), 0) from deliveries;
    create trigger message_added after insert on messages begin
        update meta set value = value + new.revision % 1000003 where key = 'sum.messages';
    end;
    create trigger message_changed after update of revision on messages begin
        update meta set value = value + new.revision % 1000003 - old.revision % 1000003
            where key = 'sum.messages';
    end;
    create trigger message_removed after delete on messages begin
        update meta set value = value - old.revision % 1000003 where key = 'sum.messages';
    end;
    create trigger delivery_added after insert on deliveries begin
        update meta set value = value + new.id % 1000003 where key = 'sum.deliveries';
    end;
    create trigger delivery_removed after delete on deliveries begin
        update meta set value = value - old.id % 1000003 where key = 'sum.deliveries';
    end
    """,
    # The requests of a minute lie beside one another: a new minute is a few pages, not many.
    """
    drop table hits;
    create table hits (
        who text not null, minute integer not null, count integer not null,
        primary key (minute, who)
    ) without rowid;
    """,
    # What waits may be very much, what is due or in a call is mostly little (store/queue.py).
    """
    create index deliveries_called on deliveries (state) where state <> 'queued';
    create index confirmations_by_due on deliveries (due)
        where kind = 'confirmation' and line is not null;
    """,
    # Visitors' files that are kept here, and the time of the machine that has them
    # (store/contents.py).
    """
    create table kept_files (
        key text primary key, chat_id text not null, size integer not null default 0,
        begun_at real not null, is_whole integer not null default 0
    );
    create index kept_files_of_chat on kept_files (chat_id);
    create table pieces (
        key text not null references kept_files on delete cascade,
        number integer not null, content blob not null,
        primary key (key, number)
    );
    create view clock as select (julianday('now') - 2440587.5) * 86400.0 as now;
    """,
    # The static files of all releases at work, for each other's pages (store/releases.py).
    "create table releases (digest text primary key, files text not null, kept_at real not null)",
    # After a restore very much is due at the same time: PostgreSQL would put all of it in order.
    """
    drop index deliveries_by_due;
    create index deliveries_by_due on deliveries (state, due, id) where place is not null;
    """,
]


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one after the other: a trigger has semicolons of its own."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
