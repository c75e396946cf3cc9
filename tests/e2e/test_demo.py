"""script/demo shows a live page and removes everything when it ends."""

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


def processes(variable):
    """The command lines of the processes that have this variable in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_demo_cleans_up_after_signal(number, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        await run_demo(number, folder, taken.getsockname()[1])


def other_server(folder):
    """The environment of a user whose Debian has its default cluster on another port than 5432."""
    major = re.search(r"\d+", subprocess.check_output(["psql", "--version"], text=True))[0]
    settings = folder / "clusters" / major / "main"
    settings.mkdir(parents=True)
    (settings / "postgresql.conf").write_text(f"port = 5999\ndata_directory = '{folder}'\n")
    return {"PGPORT": "5999", "PG_CLUSTER_CONF_ROOT": str(folder / "clusters")}


async def run_demo(number, folder, taken):
    mark = f"DEMO_MARK={os.urandom(8).hex()}"
    env = environment() | dict([mark.split("=")]) | other_server(folder)
    output = folder / "output"
    with output.open("w") as file:
        demo = subprocess.Popen(
            [ROOT / "script/demo", str(taken)], env=env,
            text=True, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    try:
        await eventually(lambda: "Write" in output.read_text() or demo.poll() is not None,
                         "the demo's address", 180)
        assert demo.poll() is None, output.read_text()
        url = re.search(r"http://\S+/", output.read_text())[0]
        assert not url.endswith(f":{taken}/")
        cluster = re.search(r"host=(/tmp/\S+)", output.read_text())[1]
        assert "<title>" in urllib.request.urlopen(url).read().decode()
        async with websockets.connect(url.replace("http", "ws", 1) + "?uid=alice") as socket:
            message = json.loads(await socket.recv())
            assert message["type"] == "log" and message["op"] in ("insert", "update", "delete")
        line = re.search(r"^ *(psql .*)$", output.read_text(), re.M)[1]
        assert subprocess.check_output(line, shell=True, env=env) == b"INSERT 0 1\n"
        assert os.path.isdir(cluster)
        # The terminal sends Ctrl-C to the whole foreground group.
        os.killpg(demo.pid, number) if number == signal.SIGINT else demo.send_signal(number)
        assert demo.wait(30) == 0
        assert not os.path.exists(cluster)
        await eventually(lambda: processes(mark.encode()) == [], "the demo's processes to end")
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGTERM)
            demo.wait(30)
