"""What the commands of `sitechat` do with what an administrator types, and what they print.

Each command says what it did in the administrator's language, or as JSON. Knows nothing of Flask.
"""
