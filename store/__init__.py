"""Where everything is kept: records, the schema, and the groups of tables.

What one database has of its own stands in one file (`sqlite.py`) behind a small protocol
(`database.py`). Knows nothing of HTTP, of Bitrix24's methods or of markup.
"""
