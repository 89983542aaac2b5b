"""Bitrix24's dialect: errors and what they mean, replies as frozen objects, PHP-style forms.

Knows nothing of this application: neither its settings nor its store.
"""
