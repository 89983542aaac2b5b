"""`python -m sandbox`: serve one portal and its OAuth server until SIGINT or SIGTERM comes."""

import argparse
import signal
import sys

from .server import serve


def main() -> int:
    options = _options()
    # The two signals are blocked and waited for. With a handler that sets an Event, the signal
    # can come in the midst of the Event's own wait() and never end it.
    end_signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, end_signals)
    try:
        sandbox, server = serve(
            options.app,
            options.host,
            options.port,
            options.oauth_port,
            client_id=options.client_id,
            client_secret=options.client_secret,
            lang=options.lang,
            limit=not options.no_limit,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        ports = " or ".join(str(p) for p in (options.port, options.oauth_port) if p is not None)
        print(f"sandbox: cannot listen on {options.host}:{ports}: {reason}", file=sys.stderr)
        return 2
    print(f"sandbox portal on {sandbox.options.base_url}")
    print(f"sandbox OAuth server on {sandbox.options.oauth_url}", flush=True)
    signal.sigwait(end_signals)
    server.shutdown()
    server.server_close()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0 takes a free one")
    parser.add_argument(
        "--oauth-port",
        type=int,
        help="of the OAuth server; if it is left out, a free one, and the portal renews tokens too",
    )
    parser.add_argument("--app", default="http://127.0.0.1:8080", help="address of the product")
    parser.add_argument("--client-id", default="local.sandbox")
    parser.add_argument("--client-secret", default="sandbox-secret")
    parser.add_argument("--lang", default="en")
    parser.add_argument("--no-limit", action="store_true", help="no limit of calls")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
