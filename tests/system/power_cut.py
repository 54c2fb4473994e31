"""A disk that loses what was not synced: which bytes of a recorded process's files are still there after a power cut.

Not here: recording (`strace`), or what must have survived (`test_power_cut`). The disk is as unkind as POSIX allows:
until a sync of the file returns, each piece of a write may be there or not, in any order; until a sync of the folder
returns, so may each new, renamed or removed name. What processes share in memory (`-shm`) is gone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from random import Random
from typing import TypeAlias

from tests.system.strace import Call, Moment

SECTOR, PAGE = 512, 4096
VOLATILE = "-shm"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset; or the end of the file there, if `content` is None."""

    offset: int
    content: bytes | None

    def apply(self, target: bytearray) -> None:
        """Change the bytes of a file as this write does; a hole reads as zeros."""
        target.extend(bytes(max(0, self.offset - len(target))))
        if self.content is None:
            del target[self.offset :]
        else:
            target[self.offset : self.offset + len(self.content)] = self.content

    def split(self, size: int) -> Iterator["Write"]:
        """Yield the pieces between multiples of `size`, each of which reaches the disk or does not."""
        if self.content is None:
            yield self
            return
        end = self.offset + len(self.content)
        edges = [self.offset, *range((self.offset // size + 1) * size, end, size), end]
        for first, last in pairwise(edges):
            yield Write(first, self.content[first - self.offset : last - self.offset])


# Which pieces of the writes not yet synced are there after a cut.
Mode: TypeAlias = Callable[[Sequence[Write], Random], Sequence[Write]]


def lose_all(_writes: Sequence[Write], _random: Random) -> Sequence[Write]:
    """Nothing had left the memory."""
    return ()


def keep_all(writes: Sequence[Write], _random: Random) -> Sequence[Write]:
    """Everything had reached the disk already."""
    return writes


def keep_first(writes: Sequence[Write], random: Random) -> Sequence[Write]:
    """The disk wrote in order, sector by sector, and was stopped in the middle."""
    pieces = [piece for write in writes for piece in write.split(SECTOR)]
    return pieces[: random.randint(0, len(pieces))]


def keep_some(writes: Sequence[Write], random: Random) -> Sequence[Write]:
    """The disk wrote in another order."""
    return [write for write in writes if random.random() < 0.5]


def keep_some_sectors(writes: Sequence[Write], random: Random) -> Sequence[Write]:
    """The disk wrote in another order, and writes were torn into sectors."""
    return keep_some([piece for write in writes for piece in write.split(SECTOR)], random)


def keep_some_pages(writes: Sequence[Write], random: Random) -> Sequence[Write]:
    """The kernel wrote its pages back in another order."""
    return keep_some([piece for write in writes for piece in write.split(PAGE)], random)


MODES: tuple[Mode, ...] = (lose_all, keep_all, keep_first, keep_some, keep_some_sectors, keep_some_pages)


class Inode:
    """A file: the bytes that no cut can take, and what was written since they were synced."""

    def __init__(self, content: bytes = b"") -> None:
        self._durable = bytearray(content)
        self._pending: dict[Call, Write] = {}
        self._returned: set[Call] = set()

    def write(self, call: Call, write: Write) -> None:
        """Begin a write."""
        self._pending[call] = write

    def settle(self, call: Call) -> None:
        """End a write: the next sync covers it."""
        self._returned.add(call)

    def covered(self) -> list[Call]:
        """Return the writes that a sync makes durable which begins now, oldest first."""
        return [call for call in self._pending if call in self._returned]

    def sync(self, calls: Sequence[Call]) -> None:
        """Make these writes durable, unless another sync has done so."""
        for call in calls:
            if call in self._pending:
                self._pending.pop(call).apply(self._durable)

    @property
    def pending(self) -> list[Write]:
        """The writes that a cut may take, oldest first."""
        return list(self._pending.values())

    def after(self, writes: Sequence[Write]) -> bytes:
        """Return the bytes if of the pending writes just these reach the disk."""
        content = bytearray(self._durable)
        for write in writes:
            write.apply(content)
        return bytes(content)


class Disk:
    """The files of one folder while a recorded process writes them.

    Parameters
    ----------
    folder
        Where the process had them.
    files
        What was there before it started, by name: all of it durable.
    """

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        self._folder = folder
        self._names: dict[str, Inode | None] = {name: Inode(content) for name, content in files.items()}
        self._durable_names = dict(self._names)
        self._syncs: dict[Call, list[Call]] = {}
        self._folder_syncs: dict[Call, dict[str, Inode | None]] = {}

    def advance(self, moment: Moment) -> None:
        """Follow the beginning or the end of a call."""
        call, inode = moment.call, self._find(moment.call.path)
        if moment.returned is None:
            self._begin(call, inode)
        elif moment.returned < 0:
            return
        elif call in self._folder_syncs:
            self._durable_names = self._folder_syncs[call]
        elif inode is not None and call in self._syncs:
            inode.sync(self._syncs[call])
        elif inode is not None:
            inode.settle(call)

    def cut(self, mode: Mode, random: Random) -> dict[str, bytes]:
        """Return the files, by name, as a power cut at this moment leaves them. The disk itself goes on."""
        changed = {name for name in self._names if self._names[name] is not self._durable_names.get(name)}
        kept = {name for name in sorted(changed) if random.random() < 0.5}
        inodes = self._durable_names | {name: self._names[name] for name in kept}
        return {n: inode.after(mode(inode.pending, random)) for n, inode in inodes.items() if inode is not None}

    def now(self) -> dict[str, bytes]:
        """Return the files as every process sees them, with no power cut."""
        return {n: inode.after(inode.pending) for n, inode in self._names.items() if inode is not None}

    def _begin(self, call: Call, inode: Inode | None) -> None:
        names = [name for text in call.texts if (name := self._name(text.decode(errors="replace")))]
        match call.name:
            case "openat" if names and "O_CREAT" in call.others and self._names.get(names[0]) is None:
                self._names[names[0]] = Inode()
            case "unlink" | "unlinkat" if names:
                self._names[names[0]] = None
            case "rename" | "renameat" | "renameat2" if names:
                raise NotImplementedError(f"a database is never renamed: {names}")
            case "fsync" | "fdatasync" if inode is not None:
                self._syncs[call] = inode.covered()
            case "fsync" | "fdatasync" if call.path == str(self._folder):
                self._folder_syncs[call] = dict(self._names)
            case "pwrite64" if inode is not None:
                inode.write(call, Write(call.numbers[-1], call.texts[0]))
            case "ftruncate" if inode is not None:
                inode.write(call, Write(call.numbers[-1], None))
            case name if inode is not None and name not in {"openat", "fsync", "fdatasync"}:
                raise NotImplementedError(f"{name} of a database file")

    def _find(self, path: str | None) -> Inode | None:
        name = self._name(path) if path else None
        return self._names.get(name) if name else None

    def _name(self, path: str) -> str | None:
        where = PurePath(path)
        return where.name if where.parent == self._folder and not where.name.endswith(VOLATILE) else None
