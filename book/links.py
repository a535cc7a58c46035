"""Links of the documents that leave docs/, such as those to examples: in the site they lead to copies.

`scripts/docs` uses it twice: mdBook calls it as a preprocessor, with the book as JSON, as book.toml
says, and it changes the links; then `links.py copy` puts the copies beside the pages. They end
with `.txt`, so that browsers show them. tests/test_docs.py checks that all links lead somewhere.
"""

import json
import posixpath
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = "repository"
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def outside(page: str, target: str) -> str | None:
    """The file of the repository that a link of a page leads to, if it is not below docs/."""
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z]+:", target):
        return None
    found = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), path))
    return None if found.startswith("docs/") else found


def copy_of(found: str) -> str:
    """Below the pages of the site; mdBook takes every name with `.md` in it for a page."""
    return f"{PLACE}/{found.removesuffix('.md')}.txt"


def led_to_copies(page: str, text: str) -> str:
    up = "../" * page.count("/")

    def replaced(link: re.Match) -> str:
        found = outside(page, link[2])
        return f"{link[1]}{up}{copy_of(found)}{link[3]}" if found else link[0]

    return LINK.sub(replaced, text)


def preprocess() -> None:
    _, book = json.load(sys.stdin)
    for item in book["items"]:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            assert not chapter["sub_items"], "docs/SUMMARY.md has no chapters within chapters"
            chapter["content"] = led_to_copies(chapter["source_path"], chapter["content"])
    json.dump(book, sys.stdout)


def copy() -> None:
    docs = ROOT / "docs"
    for file in docs.rglob("*.md"):
        page = file.relative_to(docs).as_posix()
        for link in LINK.finditer(file.read_text()):
            if found := outside(page, link[2]):
                target = ROOT / "target/book" / copy_of(found)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / found, target)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["supports", renderer]:
            sys.exit(renderer != "html")
        case ["copy"]:
            copy()
        case []:
            preprocess()
        case unknown:
            sys.exit(f"links: unknown arguments {unknown}")
