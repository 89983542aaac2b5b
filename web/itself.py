"""What Flask's proxies stand for: the request itself in place of `flask.request`.

Each look through a proxy, such as `request.args`, takes 2 µs. Most answers need dozens of them,
which together were a quarter of an answer's time.
"""

from typing import TypeVar, cast

from werkzeug.local import LocalProxy

T = TypeVar("T")


def itself(proxy: T) -> T:
    """The object behind a proxy; Flask declares a proxy as what it stands for."""
    return cast("LocalProxy[T]", proxy)._get_current_object()
