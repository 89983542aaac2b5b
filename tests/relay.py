"""Passes on what two Unix sockets say to each other; SIGSTOP makes it a link that is cut.

    python tests/relay.py FROM TO

Whoever connects to FROM talks to TO. While this process is stopped nothing comes through, and
neither side is told.
"""

import asyncio
import sys
from contextlib import suppress

PIECE_BYTES = 65_536


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def relay(listen: str, target: str) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(target)
        except OSError:  # as the server itself says that it is away
            writer.close()
            return
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with await asyncio.start_unix_server(connected, listen) as server:
        print("listens", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(relay(*sys.argv[1:3]))
