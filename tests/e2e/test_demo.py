"""script/demo: one command, a page that lives, and nothing left behind."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
import websockets

from harness import ROOT, environment, eventually


def ours(session):
    """The processes of a session or of those begun in it, by what environment they carry."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if session in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_runs_and_leaves_nothing(number, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        await run_demo(number, folder, taken.getsockname()[1])


async def run_demo(number, folder, taken):
    mark = f"DEMO_MARK={os.urandom(8).hex()}"
    said = open(folder / "said", "w+")
    demo = subprocess.Popen([ROOT / "script/demo", str(taken)], env=environment() | dict([mark.split("=")]), text=True,
                            stdout=said, stderr=subprocess.STDOUT, start_new_session=True)

    def text():
        return (folder / "said").read_text()

    try:
        await eventually(lambda: "http://" in text() or demo.poll() is not None, "the demo's address", 180)
        assert demo.poll() is None, text()
        url = re.search(r"http://\S+/", text())[0]
        assert not url.endswith(f":{taken}/")
        cluster = re.search(r"host=(/tmp/\S+)", text())[1]
        assert "<title>" in urllib.request.urlopen(url).read().decode()
        async with websockets.connect(url.replace("http", "ws", 1) + "?uid=alice") as socket:
            message = json.loads(await socket.recv())
            assert message["type"] == "log" and message["op"] in ("insert", "update", "delete")
        assert os.path.isdir(cluster)
        # The terminal sends Ctrl-C to the whole foreground group.
        os.killpg(demo.pid, number) if number == signal.SIGINT else demo.send_signal(number)
        assert demo.wait(30) == 0
        assert not os.path.exists(cluster)
        await eventually(lambda: ours(mark.encode()) == [], "the demo's processes to be gone")
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGTERM)
            demo.wait(30)
        said.close()
