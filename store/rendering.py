"""HTML that an earlier renderer has made, to be made anew (`RENDERER` in `bbcode.py`).

Two releases may be at work at once: what a newer one has rendered stays as it is.
"""

from store.database import Connection, Database, Group, transaction
from store.records import Message
from store.rows import message_of


class RenderingTables(Group):
    def __init__(self, database: Database, renderer: int) -> None:
        super().__init__(database)
        self.renderer = renderer

    def to_render(self, limit: int) -> list[Message]:
        """Up to `limit` messages whose HTML was made by an earlier renderer."""
        rows = self._database.rows(
            "select * from messages where renderer < ? order by renderer, id limit ?",
            self.renderer, limit,
        )  # fmt: skip
        return [message_of(row) for row in rows]

    @transaction
    def save_rendered(self, db: Connection, html: dict[Message, tuple[str, str]]) -> None:
        """Store new HTML, except of messages that have changed, or have newer HTML already."""
        for message, (text_html, files_html) in html.items():
            db.execute(
                "update messages set html = ?, files_html = ?, renderer = ?"
                " where id = ? and revision = ? and renderer < ?",
                (
                    text_html,
                    files_html,
                    self.renderer,
                    message.id,
                    message.revision,
                    self.renderer,
                ),
            )
