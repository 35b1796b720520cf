"""The page: a template, its style and scripts, the library that draws, and the data, in one file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from metapbt.report.page.data import Plain

SCRIPTS = ("base.js", "figures.js", "overview.js", "run.js", "understanding.js", "start.js")
#: What of the library the page uses.
_LIBRARY = "window.vegaEmbed = vegaEmbed;"
#: Bytes of the runs' details in a page, at most: with the library and the overview it stays under 5 MB.
MOST_BYTES_OF_RUNS = 3_500_000


def package_version() -> str:
    """The version that pages say they were made by."""
    return version("metapbt")


def encoded(data: Any) -> bytes:
    """Plain data as JSON."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def packed(data: Any) -> str:
    """Plain data as the page holds it: JSON, gzip, base64; the same data give the same text."""
    return base64.b64encode(gzip.compress(encoded(data), mtime=0)).decode()


def render_page(overview: Plain | None = None, runs: Mapping[str, Plain] | None = None) -> str:
    """The HTML of the whole page.

    Args:
        overview: all that it shows but single runs; None for the live page, which asks for its data.
        runs: of each run, by its name, what the page shows of it. The smallest ones first, as many as there is room
            for: the page says of the others that they are not on it.
    """
    kept, room = {}, MOST_BYTES_OF_RUNS
    for name, text in sorted(((n, packed(each)) for n, each in (runs or {}).items()), key=lambda pair: len(pair[1])):
        room -= len(text)
        if room < 0:
            break
        kept[name] = text
    scripts = [_library(), _own_script()]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    environment = Environment(
        loader=PackageLoader("metapbt.report.page", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.jinja").render(
        live=overview is None,
        groups=[] if overview is None else overview["groups"],
        policy=(
            f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src 'self' data:; "
            "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'"
        ),
        style=_text("page.css"),
        overview="" if overview is None else packed(overview),
        # What ends a script element cannot stand in one.
        runs=json.dumps(dict(sorted(kept.items())), separators=(",", ":")).replace("<", "\\u003c"),
        scripts=scripts,
    )


@cache
def _own_script() -> str:
    return '(() => {\n"use strict";\n' + "\n".join(map(_text, SCRIPTS)) + "})();\n"


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, with all that they need, as one script."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle(_LIBRARY)
    return "(() => {\n" + bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--") + "\n})();\n"


def _text(name: str) -> str:
    return files("metapbt.report.page").joinpath(name).read_text(encoding="utf-8")
