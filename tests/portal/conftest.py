"""The fixtures of the tests of the connector: a real store, and a portal that answers as told."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from portal_parts import FakePortal, made, made_proof

from portal.connector import Connector
from portal.proof import Proof
from storage import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store("sqlite:///chats.db", tmp_path, 1)) as store:
        store.open()
        yield store


@pytest.fixture
def portal() -> FakePortal:
    return FakePortal()


@pytest.fixture
def connector(store: Store, portal: FakePortal) -> Connector:
    return made(store, portal)


@pytest.fixture
def proof(store: Store, portal: FakePortal) -> Proof:
    return made_proof(store, portal)
