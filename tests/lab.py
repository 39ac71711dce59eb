"""A real JupyterLab in a real browser: the machinery of the tests that need one."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from conftest import copy_sources, environment, unavailable
from nbformat.v4 import new_code_cell, new_notebook

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TOKEN = "a-token-for-this-test"
RUN_LIMIT = 400  # seconds a notebook
SETTINGS = {  # all cells in the page, no question about news, no save in the middle
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},  # Settings: Save Widget State Automatically
}


@pytest.fixture(scope="module")
def chromium():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or unavailable("There is no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser(chromium):
    try: from playwright.sync_api import sync_playwright
    except ImportError: unavailable("playwright is not installed: pip install -e '.[dev]'")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=arguments)
        yield browser
        browser.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Lab:
    "A JupyterLab server on a copy of the notebooks."

    def __init__(self, root, home):
        self.root, self.home, self.url = root, home, f"http://127.0.0.1:{free_port()}"
        for name, value in SETTINGS.items():
            path = home / "config/lab/user-settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
        folders = {f"JUPYTER_{k}_DIR": str(home / k.lower()) for k in ("CONFIG", "DATA", "RUNTIME")}
        command = [Path(sys.executable).parent / "jupyter-lab", "--no-browser", "--allow-root",
                   "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.url.rsplit(':', 1)[1]}",
                   "--ServerApp.port_retries=0",
                   f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"]
        self.log = (home / "log").open("w+")
        env = environment(**folders, IPYTHONDIR=str(home / "ipython"), TQDM_DISABLE="1")
        self.process = subprocess.Popen([str(c) for c in command], cwd=root, env=env, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT)

    def get(self, path):
        request = urllib.request.Request(f"{self.url}/{path}", headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer: return json.load(answer)

    def wait(self, limit=90):
        "Wait until the server answers."
        end = time.monotonic() + limit
        while time.monotonic() < end and self.process.poll() is None:
            try: return self.get("api/status")
            except OSError: time.sleep(0.3)
        self.log.seek(0)
        pytest.fail(f"JupyterLab did not start:\n{self.log.read()}")

    def states(self):
        "The states of the kernels: starting, busy, idle."
        return [session["kernel"]["execution_state"] for session in self.get("api/sessions")]

    def stop(self):
        for session in self.get("api/sessions"):
            request = urllib.request.Request(f"{self.url}/api/sessions/{session['id']}", method="DELETE",
                                             headers={"Authorization": f"token {TOKEN}"})
            urllib.request.urlopen(request, timeout=30).close()

    def close(self):
        try: self.stop()  # the kernels first: a server that ends takes its time with them
        except OSError: pass
        self.process.terminate()
        try: self.process.wait(3)
        except subprocess.TimeoutExpired: self.process.kill()
        self.log.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    server = Lab(copy_sources(tmp_path_factory.mktemp("lab")), tmp_path_factory.mktemp("home"))
    try:
        server.wait()
        yield server
    finally: server.close()


PROMPTS = """() => [...document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell .jp-InputPrompt')]
    .map(prompt => prompt.textContent.trim())"""


def opened(lab, browser, path, viewport=(1400, 1000), kernel=True):
    "A page with a notebook, its kernel ready or chosen to be none, and the list of what its console complains of."
    page, complaints = browser.new_page(viewport=dict(zip(("width", "height"), viewport))), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{lab.url}/lab/tree/{path}?token={TOKEN}&reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
    if kernel: wait_until(lambda: "idle" in lab.states(), 90, "the kernel to start")
    else: page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click()
    return page, complaints


def choose(page, menu, item):
    "Click an item of a menu."
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{item}")).click()


def run_cells(lab, page, restart=False):
    "Run all cells, on request after a restart of the kernel, and wait for the last."
    choose(page, *(("Kernel", "Restart Kernel and Run All Cells") if restart else ("Run", "Run All Cells$")))
    if restart: page.get_by_role("button", name="Confirm Kernel Restart").click()
    begun = (lambda p: p == "[*]:") if restart else (lambda p: p != "[ ]:")
    wait_until(lambda: any(map(begun, page.evaluate(PROMPTS))), 30, "the first cell to start")
    ended = lambda: "[*]:" not in page.evaluate(PROMPTS) and lab.states() == ["idle"]  # noqa: E731
    wait_until(ended, RUN_LIMIT, "the last cell to end")


def save(lab, page, path):
    "Save, and give back the notebook as it is in the file."
    before = (lab.root / path).stat().st_mtime_ns
    page.keyboard.press("Control+s")
    saved = lambda: (lab.root / path).stat().st_mtime_ns != before and executed(lab.root / path)  # noqa: E731
    wait_until(saved, 60, "the notebook to be saved")
    return executed(lab.root / path)


def shot(page, name):
    "A screenshot, kept where LAB_SCREENSHOTS says."
    if folder := os.environ.get("LAB_SCREENSHOTS"): page.screenshot(path=f"{folder}/{name}.png")


def run_all(lab, browser, path):
    "Open a notebook, run all cells, save; give back the saved notebook and what the browser complained of."
    page, complaints = opened(lab, browser, path)
    try:
        run_cells(lab, page)
        notebook = save(lab, page, path)
        shot(page, Path(path).stem)
        return notebook, complaints
    finally:
        page.close()
        lab.stop()


def executed(path):
    "The saved notebook once it holds what was executed; None before, and while the server is writing it (in place)."
    try: notebook = nbformat.read(path, as_version=4)
    except nbformat.reader.NotJSONError: return None
    return notebook if any(cell.get("execution_count") for cell in notebook.cells) else None


def wait_until(condition, limit, what):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if condition(): return
        time.sleep(0.1)
    pytest.fail(f"Waited {limit} s for {what}")


def failures(notebook):
    "The cells that ended in an error or never ran."
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip(): continue
        errors = [f"{out.ename}: {out.evalue}" for out in cell.outputs if out.output_type == "error"]
        if errors or not cell.execution_count: found.append(f"{cell.source[:200]}\n-> {errors or 'did not run'}")
    return found


def put(lab, name, *sources):
    "Write a notebook of the given cells into the server's folder."
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "python3", "language": "python"}
    nbformat.write(notebook, lab.root / name)
    return name
