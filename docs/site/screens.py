"""The picture of docs/for-testers.md, as it is: the demo's service, the tester's page over it, and a tester in Chromium.

`make docs-images` runs it. It needs a `chromium`. Where `ragtrial-demo/` holds no live demo yet, `ragtrial live-demo` makes it (some minutes).
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "ragtrial-demo"
COMMAND = Path(sys.executable).parent / "ragtrial"
QUESTION = "account locked after wrong passwords, when does it open again"
ANSWER = "opens again by itself after 20 minutes"
"""What both arms answer to it, so that it does not matter which one the page's visitor was given."""
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--no-first-run"]


def main(picture: Path, demo: Path) -> None:
    """Serve, ask, vote, photograph."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        sys.exit("no chromium is installed: the tester's page was not photographed")
    experiment = demo / "experiments" / "live-demo.yaml"
    if not experiment.is_file():
        subprocess.run([COMMAND, "live-demo", "--folder", demo, "--quiet"], check=True)  # noqa: S603 - a command of this project
    made = subprocess.run([COMMAND, "keys", "create", experiment, "picture"], check=True, capture_output=True, text=True)  # noqa: S603 - a command of this project
    key = next(word for word in made.stdout.split() if word.startswith("rt_"))
    service, page = free_port(), free_port()
    with (
        running("serve", str(experiment), "--port", str(service), ready=f"http://127.0.0.1:{service}/readyz"),
        running(
            "tester",
            "--service",
            f"http://127.0.0.1:{service}",
            "--port",
            str(page),
            ready=f"http://127.0.0.1:{page}/_stcore/health",
        ),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM)
        visit = browser.new_page(viewport={"width": 860, "height": 1330}, color_scheme="light", device_scale_factor=1.1)
        ask_and_vote(visit, f"http://127.0.0.1:{page}", key)
        visit.screenshot(path=picture)
        browser.close()


def ask_and_vote(visit: Page, address: str, key: str) -> None:
    """Sign in, ask, say that the answer is good, open the passage that it cites."""
    visit.goto(address)
    visit.get_by_label("API key").fill(key)
    visit.get_by_role("button", name="Sign in").click()
    question = visit.get_by_test_id("stChatInputTextArea")
    question.fill(QUESTION)
    question.press("Enter")
    visit.get_by_label("Answer").get_by_text(ANSWER).wait_for()
    visit.get_by_role("button", name="Good answer").click()
    visit.get_by_text("Saved").first.wait_for()
    cited = visit.locator("article.t-source", has=visit.locator(".t-cited")).first
    cited.locator("summary").click()
    visit.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    visit.wait_for_timeout(1000)  # transitions of the page


@contextlib.contextmanager
def running(*arguments: str, ready: str) -> Iterator[None]:
    """A command of ragtrial, from when it answers at `ready` until the end."""
    with tempfile.TemporaryFile() as log:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen([COMMAND, *arguments], stdout=log, stderr=log, env=environment)  # noqa: S603 - a command of this project
        try:
            wait_until(ready, process)
            yield
        finally:
            process.terminate()
            process.wait(30)


def wait_until(ready: str, process: subprocess.Popen[bytes]) -> None:
    """Until the address answers 200; ends the program where the process ends before, or does not get there in two minutes."""
    for _ in range(240):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(ready, timeout=2):  # noqa: S310 - an address of this program's own
            return
        time.sleep(0.5)
    sys.exit(f"{' '.join(map(str, process.args))}: did not answer at {ready}")  # type: ignore[arg-type]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "tester-page.png",
        Path(sys.argv[2]) if len(sys.argv) > 2 else DEMO,
    )
