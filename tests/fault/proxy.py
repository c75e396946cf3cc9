"""A TCP proxy that simulates a bad network: slow, in small pieces, silent, cut, reset."""

import asyncio
import contextlib
import socket
import struct

PIECE = 65536


class Proxy:
    """Listens on a port of 127.0.0.1; `target` is (host, port), or the path of a Unix socket."""

    def __init__(self, target):
        self.target = target
        self.delay = 0.0  # seconds before each piece is forwarded
        self.piece = PIECE  # bytes read and passed on at once
        self.open = asyncio.Event()  # cleared: a black hole
        self.open.set()
        self.writers = set()
        self.tasks = set()

    async def start(self, port=0):
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    async def stop(self):
        self.server.close()
        self.cut()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _connect(self):
        if isinstance(self.target, str):
            return asyncio.open_unix_connection(self.target)
        return asyncio.open_connection(*self.target)

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        self.writers.add(writer)
        try:
            await self.open.wait()
            up_reader, up_writer = await self._connect()
            self.writers.add(up_writer)
            ways = [asyncio.ensure_future(way) for way in (self._pass(reader, up_writer),
                                                           self._pass(up_reader, writer))]
            self.tasks.update(ways)
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                self.tasks.difference_update(ways)
                self.writers.discard(up_writer)
                up_writer.close()
        except OSError:
            pass
        finally:
            self.tasks.discard(task)
            self.writers.discard(writer)
            writer.close()

    async def _pass(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(self.piece):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self.open.wait()
                writer.write(data)
                await writer.drain()

    def cut(self):
        """Ends every connection; data in transit is lost."""
        for writer in list(self.writers):
            writer.transport.abort()

    def reset(self):
        """The same with RST."""
        for writer in list(self.writers):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    @contextlib.contextmanager
    def slow(self, delay):
        self.delay = delay
        try:
            yield
        finally:
            self.delay = 0.0

    @contextlib.contextmanager
    def sliced(self, piece):
        self.piece = piece
        try:
            yield
        finally:
            self.piece = PIECE

    @contextlib.contextmanager
    def black_hole(self):
        """Forwards nothing and ends nothing; new connections are accepted and receive nothing."""
        self.open.clear()
        try:
            yield
        finally:
            self.open.set()
