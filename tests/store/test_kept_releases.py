"""The static files of releases, kept for one another's pages."""

from contextlib import closing

from store_parts import NOW, sql

from storage import Store
from store.releases import KEPT

FILES = {"a.js": b"a()", "connector/on.svg": b"<svg/>", "picture.png": bytes(range(256))}


def test_the_latest_releases_are_kept(store: Store, second: Store) -> None:
    for number in range(KEPT + 2):
        store.releases.keep(f"{number:012x}", {"a.js": b"%d" % number}, NOW + number)
    store.releases.keep("f" * 12, FILES, NOW + 100)
    second.releases.keep("f" * 12, {}, NOW + 200)  # it is here already

    assert second.releases.digests() == {"f" * 12, *(f"{n:012x}" for n in range(3, KEPT + 2))}
    assert second.releases.find("f" * 12) == FILES
    assert second.releases.find("0" * 12) is None


def test_one_that_was_spoiled_is_none(store: Store) -> None:
    store.releases.keep("f" * 12, FILES, NOW)
    with closing(store):
        sql(store, "update releases set files = substr(files, 9)")

        assert store.releases.find("f" * 12) is None
