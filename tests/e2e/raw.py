"""A WebSocket client on a plain socket, which looks at every byte: nothing is repaired, and nothing
is read before it is asked for."""

import os
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from harness import PATIENCE

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA


class Frame(NamedTuple):
    opcode: int
    last: bool  # of its message
    payload: bytes


class Raw:
    def __init__(self, bridge, query="uid=u1", receive_buffer=None, **headers):
        host, port = bridge.address.rsplit(":", 1)
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, int(port)))
        asked = {"Host": bridge.address, "Connection": "Upgrade", "Upgrade": "websocket",
                 "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        asked |= {key.replace("_", "-"): value for key, value in headers.items()}
        lines = [f"GET /?{query} HTTP/1.1", *(f"{key}: {value}" for key, value in asked.items())]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.answer = b""
        while not self.answer.endswith(b"\r\n\r\n"):  # byte by byte: what follows are frames
            got = self.socket.recv(1)
            assert got, f"closed after {self.answer}"
            self.answer += got
        assert self.answer.startswith(b"HTTP/1.1 101 "), self.answer
        self.bytes = bytearray()  # all that has been read since
        self.at = 0  # where in them the next frame begins
        self.ended = False
        self.parts = []  # of a message whose last fragment has not come

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _need(self, end):
        """Reads that far; False when the connection ended at the frame's beginning."""
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
        assert length < 127, "masked, or longer than the frames that we send"
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
        """That it may stand here."""
        if frame.opcode in (CLOSE, PING, PONG):
            assert frame.last and len(frame.payload) <= 125, frame
        else:
            assert frame.opcode == (CONTINUATION if self.parts else TEXT), frame

    def until(self, over):
        """Reads up to the first frame for which over() is true: the messages, and the control frames."""
        messages, controls = [], []
        while frame := self.frame():
            if frame.opcode in (CLOSE, PING, PONG):
                controls.append(frame)
            else:
                self.parts.append(frame.payload)
                if frame.last:
                    messages.append(b"".join(self.parts))
                    self.parts = []
            if over(frame):
                return messages, controls
        return messages, controls

    def rest(self):
        """The same up to the end of the connection."""
        return self.until(lambda frame: False)

    def send(self, opcode, payload=b""):
        mask = os.urandom(4)
        assert len(payload) <= 125
        self.socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask
                            + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))

    def _ports(self):
        return self.socket.getsockname()[1], self.socket.getpeername()[1]

    def in_kernel(self):
        """Bytes that have been sent to us and not been read: in the server's queue and in ours."""
        ours, theirs = self._ports()
        unread = 0
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            ports = tuple(int(words[n].split(":")[1], 16) for n in (1, 2))
            to_send, to_read = (int(word, 16) for word in words[4].split(":"))
            if ports == (theirs, ours):
                unread += to_send
            elif ports == (ours, theirs):
                unread += to_read
        return unread


def close_frame(code, reason=""):
    return Frame(CLOSE, True, struct.pack(">H", code) + reason.encode())
