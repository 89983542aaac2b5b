"""Mutants that no test can find, for they make no difference; `make mutants` leaves them out.

By the file, the line, and the line changed; with the reason. Short: a mutant that only is hard to
find belongs into a test.
"""

EQUIVALENT = {
    (
        "delivery/clock.py",
        "self._monotonic = time.monotonic()",
        "pass",
    ): "each step sets it before the time is asked for",
    (
        "delivery/doubt.py",
        "self._answers = False # whether the portal has answered a lookup of this step",
        "pass # whether the portal has answered a lookup of this step",
    ): "`resolve` sets it before it is asked for",
    (
        "delivery/lookup.py",
        "return any(mid < oldest for mid in ours)",
        "return any(mid <= oldest for mid in ours)",
    ): "what follows the run's oldest message stands behind it, so on this page: a call less",
    (
        "store/dialogs.py",
        'if chat is None or (chat["session_id"] or 0) > session_id: # late: a newer one is known',
        'if chat is None or (chat["session_id"] or -1) > session_id: # late: a newer one is known',
    ): "the portal's ids begin with 1",
    ("delivery/doubt.py", "return []", "return None"): "only its truth is asked for; mypy finds it",
    (
        "portal/proof.py",
        "if matches or (isinstance(error, InstallError) and error.status < 500):",
        "if matches or (isinstance(error, InstallError) and (error.status) <= 500):",
    ): "a proof fails with 403, 502 or 503",
    (
        "delivery/messages.py",
        "depth[delivery.chat.id] += 1",
        "depth[delivery.chat.id] += 2",
    ): "only the order counts",
    (
        "store/queue.py",
        'return int(row["n"]) if row else 0',
        'return int(row["n"]) if row else 1',
    ): "a count always has a row",
    (
        "store/connections.py",
        'return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF',
        'return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF',
    ): "an error without a code is none of those that are looked for",
    (
        "store/connections.py",
        'return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF',
        'return int(getattr(error, "sqlite_errorcode", 1)) & 0xFF',
    ): "an error without a code is none of those that are looked for",
    (
        "store/queue.py",
        'db.execute("update deliveries set due = ? where id between ? and ? and due > ?", piece)',
        'db.execute("update deliveries set due = ? where id between ? and ? and due >= ?", piece)',
    ): "a time that is now becomes now",
    (
        "store/queue.py",
        '"update deliveries set called_at = ? where id between ? and ? and called_at > ?", piece',
        '"update deliveries set called_at = ? where id between ? and ? and called_at >= ?", piece',
    ): "a time that is now becomes now",
    (
        "store/portal.py",
        "\"update deliveries set due = ? where due > ? and state = 'queued'\", (AT_ONCE, now)",
        "\"update deliveries set due = ? where due >= ? and state = 'queued'\", (AT_ONCE, now)",
    ): "what is due now is due at once",
    (
        "store/datagrams.py",
        "path.unlink(missing_ok=True)",
        "path.unlink(missing_ok=False)",
    ): "a file that is not there is an OSError, too",
    (
        "store/datagrams.py",
        "self._path.unlink(missing_ok=True)",
        "self._path.unlink(missing_ok=False)",
    ): "a file that is not there is an OSError, too",
    (
        "store/messages.py",
        '"select min(position) as position from messages where chat_id = ? and im_message_id > ?",',
        '"select min(position) as position from messages'
        ' where chat_id = ? and im_message_id >= ?",',
    ): "a message with an id that is known is not inserted, wherever it would stand",
}
