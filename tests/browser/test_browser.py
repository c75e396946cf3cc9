"""A real browser: the page that pgcast serves, and the unchanged client code of a tutorial."""

import functools
import http.server
import json
import tempfile
import threading
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from harness import ROOT, wait_for

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
                     "disable-sync", "disable-background-networking", "disable-component-update",
                     "disable-dev-shm-usage",
                     f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        yield driver
        driver.quit()


@pytest.fixture
def tutorial(bridge):
    """Serves the tutorial's page with the bridge's port instead of 8081; returns its address."""
    text = (HERE / "tutorial.html").read_text().replace("8081", bridge.address.rsplit(":", 1)[1])

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def received(browser, n):
    """The data of the messages that the page has received, at least n."""
    return wait_for(functools.partial(browser.execute_script,
                                      "return taken.length >= arguments[0] && taken", n),
                    f"{n} messages at the page")


def test_tutorial_client_works_unchanged(browser, bridge, tutorial, database):
    database.execute("insert into log(uid, action) values ('u1', 'earlier'), ('u2', 'not mine')")
    bridge.settle(database)
    browser.get(tutorial + "?uid=u1")
    assert [row["action"] for row in received(browser, 1)[0]] == ["earlier"]
    database.execute("insert into log(uid, action) values ('u1', 'now')")
    assert received(browser, 2)[1]["action"] == "now"
    database.execute("update log set action = 'changed' where action = 'now'")
    assert received(browser, 3)[2]["action"] == "changed"
    database.execute("delete from log where action = 'changed'")
    assert received(browser, 4)[3]["action"] == "changed"
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 50)")
    assert len(received(browser, 54)) == 54
    database.execute("delete from log where uid = 'u1'")
    deleted = received(browser, 105)[54:]
    assert len({row["id"] for row in deleted}) == 51
    database.execute("truncate log")
    assert received(browser, 106)[105] is None
    raw = [json.loads(text) for text in browser.execute_script("return raw")]
    assert all("data" in message for message in raw)
    assert [m["op"] for m in raw] == ["init", "insert", "update", "delete"] + 50 * ["insert"] \
        + 51 * ["delete"] + ["truncate"]


@pytest.fixture
def page(start, database, browser):
    bridge = start(database, www=str(ROOT / "www"))
    browser.get_log("browser")
    browser.get(f"http://{bridge.address}/#u1")
    wait_state(browser, "live")
    yield bridge
    complaints = [entry["message"] for entry in browser.get_log("browser")
                  if entry["level"] == "SEVERE"]
    browser.get("about:blank")
    assert [text for text in complaints if "WebSocket connection" not in text] == []


def wait_state(browser, state):
    look = "return document.getElementById('state').dataset.state"
    wait_for(lambda: browser.execute_script(look) == state, f"the page to be {state}")


def wait_actions(browser, *actions):
    """The rows that the page shows, the newest first."""
    look = "return [...document.querySelectorAll('#rows tr')].map(tr => tr.children[1].textContent)"
    seen = []

    def same():
        seen[:] = browser.execute_script(look)
        return seen == list(actions)

    try:
        wait_for(same, "the rows")
    except AssertionError:
        assert seen == list(actions)


def test_page_shows_live_log(page, browser, database):
    wait_actions(browser)
    database.execute("insert into log(uid, action) values ('u1', 'one'), ('u2', 'not mine')")
    wait_actions(browser, "one")
    database.execute("insert into log(uid, action, detail)"
                     " values ('u1', '<b>two</b>', '{\"a\": 1}')")
    wait_actions(browser, "<b>two</b>", "one")
    database.execute("update log set action = 'first' where action = 'one'")
    wait_actions(browser, "<b>two</b>", "first")
    database.execute("delete from log where action like '%two%'")
    wait_actions(browser, "first")
    database.execute("truncate log")
    wait_actions(browser)


def test_page_changes_uid(page, browser, database):
    database.execute("insert into log(uid, action) values ('u1', 'one'), ('u2', 'two')")
    wait_actions(browser, "one")
    browser.find_element("id", "uid").clear()
    browser.find_element("id", "uid").send_keys("u2")
    browser.find_element("css selector", "#choose button").click()
    wait_actions(browser, "two")
    wait_state(browser, "live")


def test_page_reconnects(page, browser, database, start):
    database.execute("insert into log(uid, action) values ('u1', 'one')")
    wait_actions(browser, "one")
    address = page.address
    page.stop()
    wait_state(browser, "waiting")
    database.execute("insert into log(uid, action) values ('u1', 'missed')")
    start(database, listen=address, www=str(ROOT / "www"))
    wait_actions(browser, "missed", "one")
    wait_state(browser, "live")
