"""`forget`, `block`, `unblock` and `purge`: what an administrator may do about visitors."""

import re

import click

from cli.parts import Desk, command
from cli.people import chats_with_email
from operations.retention import all_copies, copies_beside, is_old, purge
from storage import Store

CHAT = re.compile(r"chat[0-9a-f]{64}")
DAY_SECONDS = 86_400.0


def chats_of(desk: Desk, store: Store, named: str) -> list[str]:
    """The chats that somebody names: by the chat's id, the portal's number of it, or an e-mail."""
    named = named.strip()
    if CHAT.fullmatch(named.lower()):
        found = [named.lower()] if store.chats.is_known(named.lower()) else []
    elif re.fullmatch(r"(chat)?[0-9]{1,18}", named):
        dialog = store.dialogs.find([int(named.removeprefix("chat"))])
        found = [one.chat.id for one in dialog.values()]
    elif "@" in named:
        found = chats_with_email(desk.settings, store, named)
    else:
        desk.fail("not_a_chat")
    if not found:
        desk.fail("no_chat")
    return found


@click.command("forget")
@click.argument("who", metavar="CHAT|EMAIL")
@command
def forget_command(desk: Desk, who: str) -> None:
    """Erase a visitor: conversation, files, name and e-mail, and their traces in the store's file.

    CHAT is the chat's id, or the number that Bitrix24 gives it; EMAIL stands for all chats with it.
    """
    with desk.writing() as store:
        ended = []
        for chat_id in chats_of(desk, store, who):
            ended += store.chats.delete(chat_id, store.now(), desk.files_of(store).remove_chat)
        copies = all_copies(desk.settings, store.database.folder)
    desk.say("forgotten", chats=len(set(ended)))
    desk.say("forgotten_elsewhere")
    for copy in copies:
        desk.say("forgotten_copy", path=copy)
    desk.answer(chats=sorted(set(ended)), copies=copies)


@click.command("block")
@click.argument("who", metavar="CHAT|EMAIL", required=False)
@command
def block_command(desk: Desk, who: str | None) -> None:
    """Turn a visitor away: they may read, and are told that they can write no more.

    Without CHAT it shows who is blocked.
    """
    if who is None:
        with desk.reading() as store:
            blocked = store.blocks.all()
        for chat_id in blocked:
            desk.say("line", line=chat_id)
        if not blocked:
            desk.say("nobody_blocked")
        desk.answer(blocked=blocked)
        return
    with desk.writing() as store:
        chats = chats_of(desk, store, who)
        for chat_id in chats:
            store.blocks.block(chat_id, store.now())
    desk.say("blocked", chats=len(chats))
    desk.answer(blocked=chats)


@click.command("unblock")
@click.argument("who", metavar="CHAT|EMAIL")
@command
def unblock_command(desk: Desk, who: str) -> None:
    """Let a visitor write again."""
    with desk.writing() as store:
        chats = [who] if who in store.blocks.all() else chats_of(desk, store, who)
        ended = [chat_id for chat_id in chats if store.blocks.unblock(chat_id)]
    if not ended:
        desk.fail("not_blocked")
    desk.say("unblocked", chats=len(ended))
    desk.answer(unblocked=ended)


@click.command("purge")
@click.option("--days", type=click.IntRange(1, 36_500), help="In place of chat.keep_days.")
@click.option("--dry-run", is_flag=True, help="Only say how much would be removed.")
@command
def purge_command(desk: Desk, days: int | None, dry_run: bool) -> None:
    """Remove messages and files that are older than `chat.keep_days`, and their traces.

    What waits for Bitrix24 stays. The service does so by itself, every hour.
    """
    days = days or desk.settings.chat.keep_days
    if not days:
        desk.fail("keeps_all")
    if dry_run:
        with desk.reading() as store:
            before = store.now() - days * DAY_SECONDS
            removed, folder = store.retention.count(before), store.database.folder
    else:
        with desk.writing() as store:
            before = store.now() - days * DAY_SECONDS
            removed, folder = purge(store, desk.files_of(store), before), store.database.folder
    going = copies_beside(folder) if dry_run else []
    copies = [
        copy
        for copy in all_copies(desk.settings, folder)
        if copy not in going or not is_old(copy, before)
    ]
    desk.say("would_purge" if dry_run else "purged", days=days, **vars(removed))
    for copy in copies:
        desk.say("purge_copy", path=copy)
    desk.answer(days=days, dry_run=dry_run, **vars(removed), copies=copies)
