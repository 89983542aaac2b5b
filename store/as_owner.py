"""Root meets a server as the service's user, whom the server knows by name and its own password.

A server on this machine asks the system whose a session is, and the driver looks for a file of
passwords in that user's home.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def as_owner_of(folder: Path) -> Iterator[None]:
    """For a moment root, and nobody else, goes on as the owner of a folder, or of the next above.

    What other threads do meanwhile is done as that user, too: for commands, which have none.
    """
    found = next(one for one in (folder, *folder.absolute().parents) if one.exists()).stat()
    if os.geteuid() != 0 or found.st_uid == 0:
        yield
        return
    group, groups, home = os.getegid(), os.getgroups(), os.environ.get("HOME")
    user: pwd.struct_passwd | None = None
    with suppress(KeyError):
        user = pwd.getpwuid(found.st_uid)
    try:
        if user is not None:
            os.initgroups(user.pw_name, user.pw_gid)
        else:
            os.setgroups([])  # root's own would stay
        os.setegid(user.pw_gid if user else found.st_gid)
        os.environ["HOME"] = user.pw_dir if user else "/"
        os.seteuid(found.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
        os.environ.pop("HOME", None)
        if home is not None:
            os.environ["HOME"] = home
