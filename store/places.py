"""Whose message is sent next: the senders in turn, and each sender's chats in turn.

A sender is an address, in two parts: its chats that the portal knows, and its new ones. So nobody
waits for a flood from somewhere else, and at the flood's own address those who chat already chat
on. Only a chat's oldest unfinished message, its head, has a place in the queue. The place is the
next one of its sender, counted from the place that is served now; the lowest place is served next.
"""

from store.database import Connection

FORGOTTEN_AT_ONCE = 200  # senders, which takes 1 ms
AT_ONCE = 0.0  # `due` of a delivery that was not tried yet: in the past, whatever a clock shows
PLACES_LATER = 20  # of a message that was not taken; as many of each sender go before it


def enqueue(db: Connection, message_id: int, chat_id: str, address: str, is_new: bool) -> None:
    """Queue a visitor's message for delivery; `is_new`: the portal does not know its chat yet."""
    db.execute(
        "insert into deliveries (message_id, chat_id, kind, due, address, of_new_chat)"
        " values (?, ?, 'message', ?, ?, ?)",
        (message_id, chat_id, AT_ONCE, address, int(is_new)),
    )
    renew_head(db, chat_id)


def renew_head(db: Connection, chat_id: str) -> None:
    """Give a place to the chat's oldest unfinished message, if it has none."""
    head = db.execute(
        "select id, place, address, of_new_chat from deliveries"
        " where chat_id = :chat and kind = 'message'"
        " and exists (select 1 from living_chats where id = :chat) order by id limit 1",
        {"chat": chat_id},
    ).fetchone()
    if head is None or head["place"] is not None:
        return
    sender = (head["address"], head["of_new_chat"])
    place = db.execute(
        "insert into senders (address, of_new_chat, place) values (?, ?, 1 +"
        " (select cast(value as bigint) from meta where key = 'served'))"
        " on conflict (address, of_new_chat) do update"
        " set place = case when senders.place < excluded.place then excluded.place"
        " else senders.place + 1 end returning place",
        sender,
    ).fetchone()["place"]
    db.execute(
        "update deliveries set place = ?, chat_line ="
        " coalesce((select line from chats where id = ?), 0) where id = ?",
        (place, chat_id, head["id"]),
    )


def set_back(db: Connection, delivery_id: int) -> None:
    """Give a message that was not taken a later place: new messages of anybody are sent first."""
    db.execute(
        "update deliveries set set_back = 1, place = ? + (select cast(value as bigint) from meta"
        " where key = 'served') where id = ? and place is not null",
        (PLACES_LATER, delivery_id),
    )


def note_served(db: Connection, places: list[int]) -> None:
    """New messages of these places are on their way: nobody gets a place before the lowest."""
    db.execute(
        "update meta set value = case when cast(value as bigint) < :place then :place"
        " else cast(value as bigint) end where key = 'served'",
        {"place": min(places)},
    )
    # A sender whose last place was served begins anew, with or without its row. So very many rows,
    # which a flood from very many addresses leaves at once, may go little by little.
    db.execute(
        "delete from senders where (address, of_new_chat) in (select address, of_new_chat"
        " from senders where place <= (select cast(value as bigint) from meta"
        " where key = 'served') limit ?)",
        (FORGOTTEN_AT_ONCE,),
    )
