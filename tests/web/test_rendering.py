"""Sentences in pages: what strangers wrote stays text, and what stands between backticks is shown as code."""

from homeostat.web.rendering import mark_commands


def test_what_stands_between_backticks_is_code() -> None:
    assert mark_commands("see `homeostat releases`") == "see <code>homeostat releases</code>"


def test_what_is_no_command_is_escaped_once() -> None:
    assert mark_commands("a < b: `promote <x>` & go") == "a &lt; b: <code>promote &lt;x&gt;</code> &amp; go"
