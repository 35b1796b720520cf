"""What MkDocs does not do by itself: pages may link to files of the repository, which become pages of the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)]*)?\)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".sh": "bash", ".toml": "toml", ".csv": "text"}


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each file, and for each folder with its files, that a page links to."""
    wanted: set[Path] = set()
    for file in files.documentation_pages():
        for target, _ in LINK.findall(Path(str(file.abs_src_path)).read_text(encoding="utf-8")):
            path = (Path(str(file.abs_src_path)).parent / target).resolve()
            if not path.is_relative_to(Path(config.docs_dir)):
                wanted.add(path)
    for folder in [path for path in wanted if path.is_dir()]:
        wanted.update(path for path in folder.iterdir() if path.suffix in LANGUAGES)
    for path in sorted(wanted):
        files.append(File.generated(config, _page_of(path), content=_shown(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Let links to files of the repository lead to their pages."""
    folder = posixpath.dirname(page.file.src_uri)

    def to_page(match: re.Match[str]) -> str:
        path = (Path(config.docs_dir) / folder / match[1]).resolve()
        if path.is_relative_to(Path(config.docs_dir)):
            return match[0]
        return f"]({posixpath.relpath(_page_of(path), folder or '.')})"

    return LINK.sub(to_page, markdown)


def _page_of(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return f"source/{name}/index.md" if path.is_dir() else f"source/{name}.md"


def _shown(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    hidden = "---\nsearch: {exclude: true}\n---\n"
    if path.is_dir():
        shown = (file.name for file in sorted(path.iterdir()) if file.suffix in LANGUAGES)
        return f"{hidden}# {name}\n\n" + "".join(f"- [{file}]({file}.md)\n" for file in shown)
    language, text = LANGUAGES.get(path.suffix, "text"), path.read_text(encoding="utf-8")
    return f"{hidden}# {name}\n\n````{language}\n{text}\n````\n"
