"""What a page is drawn from, read back out of its HTML."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any


def data_of(page: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page holds: the overview, and the runs."""
    html = page.read_text(encoding="utf-8")
    overview, runs = (
        re.search(rf'<script id="metapbt-{name}"[^>]*>(.*?)</script>', html, re.DOTALL)[1]  # type: ignore[index]
        for name in ("overview", "runs")
    )

    def unpacked(text: str) -> dict[str, Any]:
        return json.loads(gzip.decompress(base64.b64decode(text)))

    return unpacked(overview), {name: unpacked(text) for name, text in json.loads(runs).items()}
