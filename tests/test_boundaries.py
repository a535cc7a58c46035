"""scripts/import-cycles, which scripts/check-boundaries relies on: it finds what it is to find."""

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts/import-cycles"


def _check(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return subprocess.run([SCRIPT, folder], capture_output=True, text=True, check=False)


def test_a_circle_is_told_with_the_lines_that_make_it(tmp_path):
    found = _check(
        tmp_path,
        {
            "lib.rs": "mod a;\nmod b;\nmod c;\n",
            "a.rs": "// One line.\nuse crate::b::{B, inner::X};\n",
            "b.rs": "mod inner;\nfn f() { super::c::g() }\n",
            "b/inner.rs": "pub struct X;\n",
            "c.rs": "use crate::{a::A, b};\n",
        },
    )
    assert found.returncode == 1
    assert f"a -> b  ({tmp_path}/a.rs:2)" in found.stderr
    assert f"b -> c  ({tmp_path}/b.rs:2)" in found.stderr
    assert f"c -> a  ({tmp_path}/c.rs:1)" in found.stderr


def test_children_of_one_folder_are_modules_beside_each_other(tmp_path):
    found = _check(
        tmp_path,
        {
            "lib.rs": "mod a;\n",
            "a/mod.rs": "mod x;\nmod y;\npub use x::X;\n",
            "a/x.rs": "use super::y::Y;\npub struct X;\n",
            "a/y.rs": "use crate::a::X;\npub struct Y;\n",
        },
    )
    assert found.returncode == 1
    assert "x -> y" in found.stderr
    assert "y -> x" in found.stderr, "also by the name under which a parent gives it on"


def test_what_stands_in_the_root_is_a_module(tmp_path):
    files = {"lib.rs": "mod a;\npub struct R;\nfn f() { a::g() }\n", "a.rs": "use crate::R;\n"}
    assert "(root) -> a" in _check(tmp_path, files).stderr


def test_tests_comments_and_order_are_no_circles(tmp_path):
    found = _check(
        tmp_path,
        {
            "lib.rs": "mod a;\nmod b;\n#[cfg(test)]\nmod helper;\npub use a::A;\n",
            "a.rs": 'use crate::b::B;\npub struct A;\nconst C: &str = "crate::b";\n',
            "b.rs": "//! See crate::a.\nmod parts;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
            "b/parts.rs": "use super::B;\n",
            "b/tests.rs": "use crate::a::A;\n",
            "helper.rs": "use crate::a::A;\n",
        },
    )
    assert (found.returncode, found.stderr) == (0, "")
