"""HTTPS with certificates of a company's own authority, and faults of a certificate."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from client_parts import NEW_PAIR, OLD, SENT, Keeper, Server, client, failure, result, said, send

from rest.errors import Cause, Reach, TryLater
from rest.replies import Grant

DAY = timedelta(days=1)
PLACE = "127.0.0.1"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The company's authority, after that of another company."""
    path = tmp_path_factory.mktemp("ca") / "company.pem"
    path.write_bytes(trustme.CA().cert_pem.bytes() + authority.cert_pem.bytes())
    return str(path)


@contextmanager
def https(certificate: trustme.LeafCert) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with closing(Server(context)) as server:
        yield server


def test_portal_and_oauth_server_may_have_the_companys_own_certificate(
    authority: trustme.CA, ca_file: str
) -> None:
    keeper = Keeper(Grant(OLD.access_token, OLD.refresh_token, 0.0))
    with https(authority.issue_cert(PLACE)) as portal, https(authority.issue_cert(PLACE)) as oauth:
        portal.says(result(SENT))
        oauth.says(said(NEW_PAIR))

        assert send(client(f"{portal.url}/portal", oauth.url, keeper, ca_file=ca_file))

    assert [one.path for one in portal.heard] == ["/portal/rest/imconnector.send.messages.json"]
    assert [one.path for one in oauth.heard] == ["/oauth/token/"]


def test_the_servers_own_certificate_may_be_named_instead_of_its_authority(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert(PLACE)
    path = tmp_path / "server.pem"
    path.write_bytes(certificate.cert_chain_pems[0].bytes())
    with https(certificate) as portal, https(trustme.CA().issue_cert(PLACE)) as another:
        portal.says(result(SENT))

        assert send(client(portal.url, portal.url, Keeper(OLD), ca_file=str(path)))
        error = failure(
            lambda: send(client(another.url, another.url, Keeper(OLD), ca_file=str(path)))
        )

    assert error.code == "CERTIFICATE_UNKNOWN"


FAULTS: dict[str, Callable[[trustme.CA], trustme.LeafCert]] = {
    "CERTIFICATE_UNKNOWN": lambda _: trustme.CA().issue_cert(PLACE),
    "CERTIFICATE_EXPIRED": lambda ca: ca.issue_cert(PLACE, not_after=datetime.now(UTC) - DAY),
    "CERTIFICATE_NOT_YET_VALID": lambda ca: ca.issue_cert(
        PLACE, not_before=datetime.now(UTC) + DAY
    ),
    "CERTIFICATE_OF_ANOTHER_HOST": lambda ca: ca.issue_cert("other.example"),
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_of_the_certificate_is_named_and_nothing_was_sent(
    authority: trustme.CA, ca_file: str, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    with https(FAULTS[code](authority)) as portal:
        error = failure(lambda: send(client(portal.url, portal.url, Keeper(OLD), ca_file=ca_file)))

        assert f"no safe connection to {portal.url}: {code}: " in caplog.text
    assert isinstance(error, TryLater)
    assert (error.code, error.reach, error.cause) == (code, Reach.PORTAL, Cause.CERTIFICATE)
    assert portal.heard == []


def test_a_certificate_that_the_server_has_signed_itself_is_named(
    authority: trustme.CA, tmp_path: Path
) -> None:
    own = trustme.CA()  # its own certificate is signed by itself
    (tmp_path / "own.pem").write_bytes(own.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with own.private_key_pem.tempfile() as key:
        context.load_cert_chain(tmp_path / "own.pem", key)
    with closing(Server(context)) as portal:
        error = failure(lambda: send(client(portal.url, portal.url, Keeper(OLD))))

    assert (type(error), error.code) == (TryLater, "CERTIFICATE_SELF_SIGNED")


def test_a_fault_of_the_oauth_servers_certificate_leaves_the_tokens_as_they_were(
    authority: trustme.CA,
) -> None:
    expired = Grant(OLD.access_token, OLD.refresh_token, 0.0)
    keeper = Keeper(expired)
    with https(authority.issue_cert(PLACE)) as oauth:
        error = failure(lambda: send(client("https://b24.example", oauth.url, keeper)))

    assert (type(error), error.code) == (TryLater, "CERTIFICATE_UNKNOWN")
    assert (error.method, error.reach) == ("oauth/token", Reach.PORTAL)
    assert not keeper.renewal_began(expired)


def test_something_without_tls_is_no_fault_of_a_certificate() -> None:
    with closing(Server()) as portal:
        url = portal.url.replace("http:", "https:")
        error = failure(lambda: send(client(url, url, Keeper(OLD))))

    assert (type(error), error.code) == (TryLater, "NOT_CONNECTED")
