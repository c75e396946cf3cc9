"""A WebSocket client on a plain socket, which examines every byte and reads only on request."""

import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from harness import TIMEOUT

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA


class Frame(NamedTuple):
    opcode: int
    last: bool  # of its message
    payload: bytes


class Raw:
    """A connection to a bridge or proxy; `status` is expected of the handshake (None: any)."""

    def __init__(self, server, query="uid=u1", *, status=101, method="GET", receive_buffer=None,
                 **headers):
        host, port = server.address.rsplit(":", 1)
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect((host, int(port)))
        fields = {"Host": server.address, "Connection": "Upgrade", "Upgrade": "websocket",
                  "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        fields |= {key.replace("_", "-"): value for key, value in headers.items()}
        lines = [f"{method} /?{query} HTTP/1.1"]
        lines += [f"{key}: {value}" for key, value in fields.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.answer = self._read_answer()
        self.status = int(self.answer.split(" ", 2)[1]) if self.answer else None
        assert status in (None, self.status), self.answer
        self.bytes = bytearray()  # all that has been read after the handshake
        self.at = 0  # offset of the next frame in them
        self.ended = False
        self.parts = []  # fragments of an unfinished message

    def _read_answer(self):
        """Byte by byte, since frames follow."""
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and (got := self.socket.recv(1)):
            answer += got
        return answer.decode(errors="replace").lower()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _need(self, end):
        """Reads up to this offset; False when the connection ended between two frames."""
        while len(self.bytes) < end:
            got = self.socket.recv(1 << 16)
            if not got:
                assert len(self.bytes) == self.at, "closed in the middle of a frame"
                return False
            self.bytes += got
        return True

    def frame(self):
        """The next one; None when the connection has ended."""
        at = self.at
        if not self._need(at + 2):
            self.ended = True
            return None
        first, length = self.bytes[at:at + 2]
        head = at + 2
        assert length < 127, "masked, or longer than any frame of the bridge"
        if length == 126:
            self._need(head + 2)
            length, = struct.unpack_from(">H", self.bytes, head)
            assert length > 125, "a length in more bytes than it needs"
            head += 2
        self._need(head + length)
        frame = Frame(first & 0xF, bool(first & 0x80), bytes(self.bytes[head:head + length]))
        assert first & 0x70 == 0, "a reserved bit"
        self._check(frame)
        self.at = head + length
        return frame

    def _check(self, frame):
        """Checks that the frame may come at this point."""
        if frame.opcode in (CLOSE, PING, PONG):
            assert frame.last, frame
            assert len(frame.payload) <= 125, frame
        else:
            assert frame.opcode == (CONTINUATION if self.parts else TEXT), frame

    def until(self, wanted):
        """Reads up to the first frame for which wanted() is true: messages, and control frames."""
        messages, controls = [], []
        while frame := self.frame():
            if frame.opcode in (CLOSE, PING, PONG):
                controls.append(frame)
            else:
                self.parts.append(frame.payload)
                if frame.last:
                    messages.append(b"".join(self.parts))
                    self.parts = []
            if wanted(frame):
                break
        return messages, controls

    def rest(self):
        """The same up to the end of the connection."""
        return self.until(lambda _: False)

    def send(self, opcode, payload=b""):
        mask = os.urandom(4)
        assert len(payload) <= 125
        self.socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask
                            + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))

    def in_kernel(self):
        """Bytes that were sent to this client and not read: in both kernel queues."""
        ours, theirs = self.socket.getsockname()[1], self.socket.getpeername()[1]
        waiting = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            ports = tuple(int(words[n].split(":")[1], 16) for n in (1, 2))
            to_send, to_read = (int(word, 16) for word in words[4].split(":"))
            if ports == (theirs, ours):
                waiting += to_send
            elif ports == (ours, theirs):
                waiting += to_read
        return waiting


def close_frame(code, reason=""):
    return Frame(CLOSE, True, struct.pack(">H", code) + reason.encode())
