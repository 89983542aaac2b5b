"""Who has written, as the chats know them: e-mails, and the pages on which they wrote.

For commands: all chats are read.
"""

from collections.abc import Iterator

from store.database import Group

PIECE = 1000  # chats in one read


class PeopleTables(Group):
    def emails(self) -> Iterator[tuple[str, str]]:
        """Each chat with an e-mail, and the e-mail as it was given; parts by their own ids."""
        last = ""
        while rows := self._database.rows(
            "select id, email from living_chats where email <> '' and id > ? order by id limit ?",
            last, PIECE,
        ):  # fmt: skip
            yield from ((row["id"], row["email"]) for row in rows)
            last = rows[-1]["id"]

    def pages(self) -> set[str]:
        """The addresses of the pages on which visitors wrote."""
        rows = self._database.rows("select distinct page from living_chats where page <> ''")
        return {row["page"] for row in rows}
