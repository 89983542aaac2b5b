"""The static files of the releases that serve this store, or lately did.

Several hosts, or the processes of one, are updated one after another. A page of one release then
asks a process of the other for its files, which are found here: scripts of two releases in one page
need not fit each other. A page that stays open finds those of its release after the update, too.
"""

import base64
import json
import zlib
from collections.abc import Mapping

from store.database import Connection, Group, transaction

KEPT = 5  # releases: the latest that have come, of some 60 KB each


class ReleaseTables(Group):
    def digests(self) -> set[str]:
        """By which the releases name their files."""
        return {row["digest"] for row in self._database.rows("select digest from releases")}

    def find(self, digest: str) -> dict[str, bytes] | None:
        """The files of a release by their names; None if they are not here, or no longer."""
        row = self._database.row("select files from releases where digest = ?", digest)
        if row is None:
            return None
        try:
            found = json.loads(zlib.decompress(base64.b64decode(row["files"])))
        except (ValueError, zlib.error):  # whatever has spoiled it
            return None
        return {name: content.encode("latin-1") for name, content in found.items()}

    def keep(self, digest: str, files: Mapping[str, bytes], now: float) -> None:
        """Keep the files of a release for others; of former ones the latest stay."""
        if digest in self.digests():
            return
        plain = {name: content.decode("latin-1") for name, content in files.items()}
        packed = base64.b64encode(zlib.compress(json.dumps(plain).encode())).decode()
        self._keep(digest, packed, now)

    @transaction
    def _keep(self, db: Connection, digest: str, packed: str, now: float) -> None:
        db.execute(
            "insert into releases (digest, files, kept_at) values (?, ?, ?)"
            " on conflict (digest) do nothing",
            (digest, packed, now),
        )
        db.execute(
            "delete from releases where digest not in"
            " (select digest from releases order by kept_at desc, digest limit ?)",
            (KEPT,),
        )
