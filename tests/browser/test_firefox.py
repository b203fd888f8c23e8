"""The live pages and a widget in Firefox, from the disk, without a network."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import threading

import pytest
from tornado.websocket import websocket_connect

from tests.browser.conftest import SITE
from tests.browser.test_live import MAKE, compare, compare_masks, released
from tools import live

FIRST = """
() => new Promise((resolve) => setInterval(() => {
    const says = document.querySelector('.live-status').textContent;
    if (document.querySelector('.live-axis .dot')) resolve(says);
}, 50))
"""


class Firefox:
    """One tab, spoken to by WebDriver BiDi, which needs no driver. The connection has a
    thread to itself: in this one Playwright's event loop runs."""

    def __init__(self, address: str) -> None:
        self.wrong: list[str] = []
        self.last = 0
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.socket = self.wait(websocket_connect, address)
        self.ask("session.new", capabilities={})
        self.ask("session.subscribe", events=["log.entryAdded"])
        self.tab = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def wait(self, call, *given):
        async def awaited():
            return await call(*given)

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(60)

    def ask(self, method: str, **params):
        self.last += 1
        message = json.dumps({"id": self.last, "method": method, "params": params})
        self.wait(self.socket.write_message, message)
        while True:
            answer = json.loads(self.wait(self.socket.read_message))
            if answer.get("params", {}).get("level") == "error":
                self.wrong.append(answer["params"]["text"])
            if answer.get("id") == self.last:
                assert answer["type"] == "success", answer
                return answer["result"]

    def goto(self, address: str) -> None:
        self.ask("browsingContext.navigate", context=self.tab, url=address, wait="complete")

    def evaluate(self, function: str, given=None):
        """As Playwright's."""
        answer = self.ask(
            "script.callFunction",
            functionDeclaration=f"async (t) => JSON.stringify(await ({function})(JSON.parse(t)))",
            arguments=[{"type": "string", "value": json.dumps(given)}],
            target={"context": self.tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"].get("value", "null"))


def start(command):
    """A running browser, and the address at which it listens."""
    process, said = subprocess.Popen(command, stderr=subprocess.PIPE, text=True), []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"listening on (ws://\S+)", line):
            # a full pipe would block it
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, found[1]
    code = process.wait(30)
    pytest.fail(f"{command[0]} ended at once, with exit code {code}: {''.join(said)[-2000:]}")


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    names = [os.environ.get("FIREFOX"), "firefox-esr", "firefox"]
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Firefox here: the live pages were NOT opened in it")
    profile = tmp_path_factory.mktemp("profile")
    command = [path, "--headless", "--no-remote", "--offline", "--profile", profile]
    command += ["--remote-debugging-port", "0"]
    process, address = start(command)
    try:
        yield Firefox(f"{address}/session")
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize(
    ("model", "address", "check"),
    [
        ("sr", "super-resolution.html#photo=coffee&side=128", lambda *on: compare(*on, True, 1.0)),
        ("vessels", "vessels.html#eye=eye-2000&side=128&still=1", compare_masks),
    ],
    ids=["super-resolution", "vessels"],
)
def test_firefox_draws_and_scores_as_the_package(firefox, model, address, check):
    firefox.goto(f"file://{SITE}/live-{address}")
    assert re.match(r"Seed 1\b.*bits.*; the truth (≤ )?\d", firefox.evaluate(FIRST))
    firefox.evaluate(MAKE, [model, list(live.KERNELS), 3e8])
    check(firefox, released(model), 48, 32)
    assert not firefox.evaluate("() => navigator.onLine")
    assert firefox.wrong == []


def test_a_widget_of_a_lesson_answers_in_firefox(firefox):
    firefox.goto(f"file://{SITE}/change-of-variables.html")
    said = """() => {
        const widget = document.querySelector('[data-widget="line"]');
        const [slider, says] = ['input', '.widget-says'].map((name) => widget.querySelector(name));
        const before = says.textContent;
        slider.value = slider.min;
        slider.dispatchEvent(new Event('input'));
        return [before, says.textContent];
    }"""
    before, after = firefox.evaluate(said)
    assert "s = 2.00, t = 0.00." in before and "s = 0.33, t = 0.00." in after
    assert firefox.wrong == []
