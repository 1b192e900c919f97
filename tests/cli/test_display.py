"""The terminal's progress: what a person sees on a terminal and what stays in a log file."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from engrain.cli.display import LiveBars, PlainLines, terminal


def test_a_pipe_gets_plain_lines_with_done_total_rate_and_time_left():
    stream = io.StringIO()
    lines = PlainLines(stream, every=0.0)
    lines.say("hello [bold]")
    with lines.bar("synthesize", 3, "requests") as bar:
        bar.advance(note="12K tokens/s")
        bar.advance(2)
    hello, first, second, last = stream.getvalue().splitlines()
    assert hello == "hello [bold]"
    assert first.startswith("synthesize: 1/3 requests, ") and "/s, " in first
    assert first.endswith(" left, 12K tokens/s")
    assert second.startswith("synthesize: 3/3 requests")
    assert re.fullmatch(r"synthesize: 3 requests in \d+\.\d s, 12K tokens/s", last)


def test_a_quick_bar_is_one_line_in_a_log_file():
    stream = io.StringIO()
    with PlainLines(stream).bar("mix", 1000, "texts") as bar:
        for _ in range(1000):
            bar.advance()
    assert re.fullmatch(r"mix: 1K texts in \d+\.\d s\n", stream.getvalue())


def test_a_bar_that_ends_early_says_how_far_it_came():
    stream = io.StringIO()
    with PlainLines(stream).bar("train", 10, "steps") as bar:
        bar.advance(4)
    assert re.fullmatch(r"train: 4 of 10 steps in \d+\.\d s\n", stream.getvalue())


def test_a_terminal_shows_live_bars_that_nest_and_leave_one_line_each():
    stream = io.StringIO()
    live = LiveBars(Console(file=stream, force_terminal=True, width=120))
    with live.bar("outer [x]", 1, "parts") as outer:
        with live.bar("inner", 2, "steps") as inner:
            inner.advance(2, note="1K tokens/s")
        live.say("a [bold]line[/bold]")
        outer.advance()
    shown = stream.getvalue()
    assert re.search(r"inner: 2 steps in \d+\.\d s, 1K tokens/s", shown)
    assert re.search(r"outer \[x\]: 1 parts in \d+\.\d s", shown)
    assert "a [bold]line[/bold]" in shown


def test_an_error_inside_a_bar_restores_the_terminal():
    stream = io.StringIO()
    live = LiveBars(Console(file=stream, force_terminal=True, width=120))
    with pytest.raises(KeyboardInterrupt), live.bar("train", 10, "steps"):
        raise KeyboardInterrupt
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") > 0
    assert "train: " not in stream.getvalue().split("\x1b[?25h")[-1]


def test_what_is_no_terminal_gets_the_plain_display():
    assert isinstance(terminal(io.StringIO()), PlainLines)
