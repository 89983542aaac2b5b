"""The store of each test, a second one on the same tables, and the folder of a store's files."""

import pytest
from copy_parts import folder
from store_parts import postgres, room, second, store, store_url, url

__all__ = ["folder", "postgres", "room", "second", "store", "store_url", "url"]

# What is asked here of a store holds on both databases. The other modules are about one of them:
# SQLite's file, its log, its copies, what other programs do with it.
ON_BOTH = {
    *("blocks", "chats", "chats_deleted", "heirs", "limits", "messages", "messages_operators"),
    *("notes", "overview", "places", "portal", "queue", "queue_outcomes", "refusals", "removal"),
    *("retention", "fence", "contents", "kept_releases"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_url" in metafunc.fixturenames:
        both = metafunc.definition.path.stem.removeprefix("test_") in ON_BOTH
        only = metafunc.definition.get_closest_marker("sqlite") is not None
        names = ["sqlite", "postgresql"] if both and not only else ["sqlite"]
        metafunc.parametrize("store_url", names, indirect=True)
