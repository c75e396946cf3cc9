"""Drives tests/bench/load: thousands of clients that check the number of every row."""

import json
import subprocess

from harness import BUILD


class Lost(Exception):
    """Rows were lost, repeated or out of order."""


class Load:
    """The clients; `connected` is the report of the connecting."""

    def __init__(self, port, clients, uids, receive_buffer=0, cursor=None):
        self.process = subprocess.Popen(
            [BUILD / "tests/bench/load", "127.0.0.1",
             *map(str, (port, clients, uids, receive_buffer)), *([cursor] if cursor else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.connected = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the load client died")
        return json.loads(line)

    def expect(self, events, seconds, verb="expect"):
        self.process.stdin.write(f"{verb} {events} {seconds}\n")
        self.process.stdin.flush()
        self._answer()

    def result(self):
        """The report; raises Lost unless each client got each row once and in order."""
        seen = self._answer()
        wrong = {key: seen[key] for key in ("missing", "gaps", "repeats", "closed") if seen[key]}
        if wrong:
            raise Lost(f"not each row came once and in order: {wrong}")
        return seen

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
