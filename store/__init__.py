"""The store: its records, its schema, and its groups of tables.

The code for one database is one file (`sqlite.py`) behind the protocol of `database.py`. Knows
nothing of HTTP, of Bitrix24's methods or of markup.
"""
