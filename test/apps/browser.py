"""A headless Chromium, driven through chromedriver's WebDriver protocol (W3C) by the standard library alone."""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium")
SECONDS = 60
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference to an element


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Browser:
    """A window of a page size in CSS pixels. Its profile is new and goes with it; nothing may reach the network."""

    def __init__(self, width=1440, height=900, dark=False):
        self.port = free_port()
        self.profile = tempfile.TemporaryDirectory(prefix="prune-chromium-", ignore_cleanup_errors=True)
        self.driver = subprocess.Popen([DRIVER, f"--port={self.port}"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            self.wait_for_driver()
            self.session = self.start(width, height, dark)
        except BaseException:
            self.close()
            raise

    def start(self, width, height, dark):
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                     "--disable-dev-shm-usage", f"--user-data-dir={self.profile.name}"]  # fmt: skip
        if dark:
            arguments.append("--force-dark-mode")
        options = {"binary": CHROMIUM, "args": arguments,
                   "mobileEmulation": {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1,
                                                         "mobile": False, "touch": False}}}  # fmt: skip
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        return self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def wait_for_driver(self):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                self.call("GET", "/status")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        raise RuntimeError("chromedriver does not answer")

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method,
                                         headers={"Content-Type": "application/json"})  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as fault:
            raise AssertionError(fault.read().decode()) from fault

    def command(self, path, body=None):
        return self.call("GET" if body is None else "POST", f"/session/{self.session}/{path}", body)

    def open(self, path):
        self.command("url", {"url": path.as_uri()})

    def run(self, script, *arguments):
        return self.command("execute/sync", {"script": script, "args": list(arguments)})

    def find(self, css):
        return self.command("element", {"using": "css selector", "value": css})

    def click(self, css):
        self.click_on(self.find(css))

    def click_on(self, element):
        self.command(f"element/{element[ELEMENT]}/click", {})

    def type(self, css, text):
        self.command(f"element/{self.find(css)[ELEMENT]}/value", {"text": text})

    def choose(self, css, value):
        """An option of a select, by a click as a person does it."""
        self.click_on(self.run("return [...document.querySelector(arguments[0]).options].find(o => o.value === arguments[1])",
                               css, str(value)))  # fmt: skip

    def hover(self, x, y):
        """Moves the pointer to a place of the window."""
        move = {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y), "origin": "viewport"}
        self.command("actions", {"actions": [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"},
                                              "actions": [move]}]})  # fmt: skip

    def console(self):
        return self.command("se/log", {"type": "browser"})

    def requests(self, page):
        """The URLs that the page asked for, from the log of the network; not what the browser's own first page did."""
        entries = [json.loads(entry["message"])["message"] for entry in self.command("se/log", {"type": "performance"})]
        sent = [e["params"] for e in entries if e["method"] == "Network.requestWillBeSent"]
        return [s["request"]["url"] for s in sent if s["documentURL"] == page.as_uri()]

    def screenshot(self, path, top=0, height=None):
        """A part of the page, all of it by default."""
        metrics = self.cdp("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": top, "width": metrics["width"], "height": height or metrics["height"] - top, "scale": 1}
        picture = self.cdp("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(picture["data"]))

    def picture_of(self, css, scale=2):
        """PNG bytes of one element."""
        box = self.run("const b = document.querySelector(arguments[0]).getBoundingClientRect();"
                       "return [b.left + scrollX, b.top + scrollY, b.width, b.height]", css)  # fmt: skip
        clip = {"x": box[0], "y": box[1], "width": box[2], "height": box[3], "scale": scale}
        picture = self.cdp("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        return base64.b64decode(picture["data"])

    def cdp(self, method, parameters):
        return self.command("goog/cdp/execute", {"cmd": method, "params": parameters})

    def close(self):
        if self.driver.poll() is not None:
            return
        try:
            if getattr(self, "session", None):
                self.call("DELETE", f"/session/{self.session}")
        finally:
            self.driver.terminate()
            self.driver.wait(SECONDS)
            self.profile.cleanup()
