"""The fixtures of the client tests: a portal, an OAuth server, a keeper of tokens, a client."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from client_parts import NEW_PAIR, OLD, Keeper, Server, client, said

from bitrix import Bitrix


@pytest.fixture
def portal() -> Iterator[Server]:
    with closing(Server()) as server:
        yield server


@pytest.fixture
def oauth() -> Iterator[Server]:
    with closing(Server()) as server:
        server.says(said(NEW_PAIR))
        yield server


@pytest.fixture
def keeper() -> Keeper:
    return Keeper(OLD)


@pytest.fixture
def bitrix(portal: Server, oauth: Server, keeper: Keeper) -> Bitrix:
    return client(portal.url, oauth.url, keeper)
