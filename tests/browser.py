"""A headless Chromium without a network, to look at a page as its reader does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
from matplotlib.image import imread

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--virtual-time-budget=2000",
    "--enable-logging=stderr",
    "--v=0",
    # Nothing can be reached, by name or by number.
    "--proxy-server=127.0.0.1:9",
    "--proxy-bypass-list=<-loopback>",
)

# Runs in the page and leaves what it finds as the text of an element, which --dump-dom prints.
PROBE = """
<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const found = {
    figures: [...document.querySelectorAll("figure svg")].map(e => {
      const b = e.getBoundingClientRect();
      return [b.left + scrollX, b.top + scrollY, b.width, b.height];
    }),
    width: root.scrollWidth,
    framed: [...document.querySelectorAll("iframe")].map(
      f => f.contentDocument.documentElement.scrollWidth),
    loaded: performance.getEntriesByType("resource").map(e => e.name),
    broken: [...document.querySelectorAll("use")].filter(
      u => !document.getElementById(u.href.baseVal.slice(1))).length,
  };
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify(found);
  document.body.append(told);
});
</script>
"""


@final
@dataclass(frozen=True)
class Page:
    """What a reader's browser makes of a page."""

    found: dict[str, Any]
    console: list[str]
    picture: np.ndarray


def look_at(html: str, folder: Path, *, width: int = 1100, height: int = 3000) -> Page:
    """Open a page; skips the test, and says so, where there is no Chromium."""
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("Chromium is missing: install it for this test")
    plain, probed, shot = folder / "page.html", folder / "probed.html", folder / "page.png"
    plain.write_text(html)
    probed.write_text(html.replace("</body>", f"{PROBE}</body>"))
    size = f"--window-size={width},{height}"
    dom = _run(program, folder, size, "--dump-dom", probed.as_uri()).stdout
    seen = _run(program, folder, size, f"--screenshot={shot}", plain.as_uri())
    found = re.search(r'<pre id="told">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-500:]
    console = [line for line in seen.stderr.splitlines() if ":CONSOLE" in line]
    return Page(json.loads(unescape(found[1])), console, imread(shot)[..., :3])


def _run(program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [program, *FLAGS, profile, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
