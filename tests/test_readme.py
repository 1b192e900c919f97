"""Runs the `bash` and `python` blocks of README, CONTRIBUTING and docs: what one types works.

An HTML comment above a block says what to do with it: nothing for a quick block, which runs by
default; `<!-- slow -->` for one that runs under the marker `slow`; `<!-- not run: REASON -->`.
The blocks of a page run in its order in one scratch folder that shows the source tree, and each
block is a process of its own, so that a reader may copy any of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What runs write, and what must not be seen twice.
HIDDEN = (".git", "runs")
QUICK_SECONDS, SLOW_SECONDS = 120, 1800


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    code: str
    slow: bool = False
    not_run: str | None = None


def blocks(markdown: str) -> list[Block]:
    """The `bash` and `python` blocks of a page, in order."""
    found: list[Block] = []
    comment = ""
    lines = iter(enumerate(markdown.splitlines(), start=1))
    for number, line in lines:
        fence = re.match(r"^(\s*)(```+|~~~+)\s*(\w*)", line)
        if fence is None:
            if line.strip():
                comment = line.strip()
            continue
        indent, marks, language = fence.groups()
        code = []
        for _, inner in lines:
            if inner.strip() == marks:
                break
            code.append(inner.removeprefix(indent))
        else:
            raise ValueError(f"line {number}: the block is never closed")
        if language in ("bash", "python"):
            found.append(_marked(Block(number, language, "\n".join(code)), comment))
        comment = ""
    return found


def _marked(block: Block, comment: str) -> Block:
    if not comment.startswith("<!--"):
        return block
    marker = comment.removeprefix("<!--").removesuffix("-->").strip()
    if marker == "slow":
        return Block(block.line, block.language, block.code, slow=True)
    reason = re.fullmatch(r"not run: (.+)", marker)
    if reason is None:
        raise ValueError(
            f"line {block.line}: {comment!r} is no marker; "
            "write <!-- slow --> or <!-- not run: REASON -->"
        )
    return Block(block.line, block.language, block.code, not_run=reason[1])


def run(block: Block, folder: Path) -> None:
    """Run one block as a reader would, in `folder`; fails with its output."""
    command = (
        ["bash", "-euo", "pipefail", "-c", block.code]
        if block.language == "bash"
        else [sys.executable, "-c", block.code]
    )
    # Not resolved: the interpreter of a virtual environment is a link out of it.
    tools = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SLOW_SECONDS if block.slow else QUICK_SECONDS,
    )
    assert done.returncode == 0, f"line {block.line}:\n{block.code}\n---\n{done.stdout[-4000:]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scratch folder that looks like the root of the source tree; new files stay in it."""
    for entry in ROOT.iterdir():
        if entry.name not in HIDDEN:
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def pages(*, slow: bool) -> list:
    """The pages that have something to run, by their path."""
    return [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in PAGES
        if page.exists() and any(b.slow == slow and not b.not_run for b in _read(page))
    ]


def _read(page: Path) -> list[Block]:
    try:
        return blocks(page.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{page.relative_to(ROOT)}: {error}") from error


@pytest.mark.parametrize("page", pages(slow=False))
def test_the_quick_blocks_of_a_page_run(page: Path, folder: Path):
    for block in _read(page):
        if not block.slow and not block.not_run:
            run(block, folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(slow=True))
def test_the_blocks_of_a_page_run_in_order_the_slow_ones_too(page: Path, folder: Path):
    for block in _read(page):
        if not block.not_run:
            run(block, folder)


def test_the_readme_shows_a_command_by_line_30():
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README.md yet")
    assert any(block.line <= 30 for block in _read(readme))


EXAMPLE = """
Text.

```bash
echo quick
```

<!-- slow -->

```python
print("slow")
```

- item
  <!-- not run: needs a GPU -->
  ```bash
  engrain run
  ```

```yaml
key: value
```

```python
print("quick again")
```
"""


def test_blocks_are_found_with_their_markers():
    first, second, third, fourth = blocks(EXAMPLE)
    assert (first.language, first.code, first.slow, first.line) == ("bash", "echo quick", False, 4)
    assert (second.language, second.slow) == ("python", True)
    assert (third.code, third.not_run) == ("engrain run", "needs a GPU")
    assert (fourth.slow, fourth.not_run) == (False, None)


@pytest.mark.parametrize(
    "page",
    ["<!-- slwo -->\n```bash\nls\n```", "<!-- not run: -->\n```bash\nls\n```", "```bash\nls"],
)
def test_a_marker_or_fence_with_a_mistake_is_an_error(page: str):
    with pytest.raises(ValueError, match="line"):
        blocks(page)


def test_a_block_that_fails_fails_the_test_and_shows_its_output(folder: Path):
    with pytest.raises(AssertionError, match="oops"):
        run(Block(1, "bash", "echo oops; false; echo not reached"), folder)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run(Block(1, "python", "1 / 0"), folder)


def test_a_block_sees_the_source_tree_and_writes_beside_it(folder: Path):
    run(Block(1, "bash", "test -f pyproject.toml; mkdir -p runs; echo x > runs/written"), folder)
    assert (folder / "runs" / "written").read_text() == "x\n"
    assert not (ROOT / "runs" / "written").exists()
