"""Watching and disturbing the system calls of a process: the command line of strace, and its log as records.

Not here: what the calls did to a disk (`power_cut`). strace stops a thread before and after each call that it traces,
and writes down what it sees in that order: a call whose end stands above the beginning of another one was over before
the other began, whichever threads made them.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# What changes a file or its name, makes a change durable, or says something to the outside.
SYNCS = "fsync,fdatasync"
RECORDED = (
    "openat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,unlink,"
    "unlinkat,sendto,sendmsg"
)
# -D: the command keeps its own process id and exit code, and its standard output ends once strace has written all.
STRACE = ("strace", "-D", "-f", "-q")
LINE = re.compile(r"(\d+) +(.*)\n")
WHOLE = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?).*")
BEGUN = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>")
ENDED = re.compile(r"<\.\.\. \w+ resumed>.*\) += (-?\d+|\?).*")
TEXT = re.compile(r'"([\\x0-9a-f]*)"')
DESCRIPTOR = re.compile(r"\d+<([\\x0-9a-f]*)>")


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One system call: `path` is what its descriptor stands for, `texts` its strings, `others` the other arguments."""

    name: str
    path: str | None
    texts: tuple[bytes, ...]
    others: str

    @property
    def numbers(self) -> list[int]:
        """The numbers among the other arguments."""
        return [int(number) for number in re.findall(r"(?<!\w)-?\d+(?!\w)", self.others)]


@dataclass(frozen=True, slots=True)
class Moment:
    """The beginning of a call (`returned` is None), or its end."""

    call: Call
    returned: int | None


def record(log: Path, *, calls: str = RECORDED) -> list[str]:
    """Return what to put before a command so that its calls are written to `log`, every byte of them."""
    return [*STRACE, "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-e", f"trace={calls}", "-o", str(log)]


def fail(calls: str, *, error: str, when: str) -> list[str]:
    """Return what to put before a command so that some of its calls fail: the third is `3`, all from then on `3+`.

    Each thread is counted by itself, and so is each kind of call.
    """
    return [
        *STRACE,
        "--seccomp-bpf",
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error={error}:when={when}",
        "-o",
        os.devnull,
    ]


def kill(call: str, *, when: int) -> list[str]:
    """Return what to put before a command so that it is killed on its way into one of its calls."""
    # Without --seccomp-bpf, under which strace 6.1 injects no signals: slower, as every call of the process is stopped.
    return [*STRACE, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}", "-o", os.devnull]


def read_log(log: Path) -> list[Moment]:
    """Return the beginnings and ends of every recorded call, in order."""
    with log.open(encoding="ascii") as lines:
        return list(parse_lines(lines))


def parse_lines(lines: Iterable[str]) -> Iterator[Moment]:
    """Yield the moments of a log; a line about a signal or an exit is none."""
    under_way: dict[str, Call] = {}
    for line in lines:
        found = LINE.fullmatch(line)
        assert found is not None, f"no line of a log: {line[:80]!r}"
        thread, rest = found.groups()
        if match := WHOLE.fullmatch(rest):
            call = parse_call(match[1], match[2])
            yield Moment(call, None)
            yield Moment(call, to_result(match[3]))
        elif match := BEGUN.fullmatch(rest):
            under_way[thread] = parse_call(match[1], match[2])
            yield Moment(under_way[thread], None)
        elif match := ENDED.fullmatch(rest):
            yield Moment(under_way.pop(thread), to_result(match[1]))
        else:
            assert rest.startswith(("+++", "---")) or rest.endswith("<unfinished ...>) = ?"), rest[:80]


def parse_call(name: str, arguments: str) -> Call:
    """Return a call from its name and its arguments as strace writes them."""
    descriptor = DESCRIPTOR.match(arguments)
    texts = tuple(from_hex(text) for text in TEXT.findall(arguments))
    path = from_hex(descriptor[1]).decode() if descriptor else None
    return Call(name, path, texts, TEXT.sub("", DESCRIPTOR.sub("", arguments)))


def from_hex(text: str) -> bytes:
    r"""Return the bytes that strace wrote as `\x00\x01...`."""
    return bytes.fromhex(text.replace("\\x", ""))


def to_result(text: str) -> int:
    """Return what a call returned; one that never did (`?`) has failed."""
    return -1 if text == "?" else int(text)
