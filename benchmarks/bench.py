"""The settings that a case works with: directories, amounts of data, and tools."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import MIB, make_large_file, make_small_files
from benchmarks.peers import Ours, Peer, ToldPeer, Tool
from benchmarks.processes import run_ours, settle


@dataclass(slots=True)
class Bench:
    """The settings, data and tools of a case.

    Nothing below *work* is deleted before the end of the run, and every measurement gets new directories. The reason:
    after many deletions ext4 creates files several times more slowly for a while.
    """

    work: Path
    scale: float
    repeats: int
    seed: int
    peers: list[Peer]
    told_peers: list[ToldPeer]
    is_full: bool
    say: Callable[[str], None]
    made: int = 0

    def new_path(self, name: str) -> Path:
        """Return a path that was never used; its parent exists."""
        self.made += 1
        return self.work / f"{self.made:04d}-{name}"

    def scaled(self, count: int) -> int:
        """Return *count*, or less of it in a quick run."""
        return max(20, int(count * self.scale))

    def tools(self, *, once: Collection[str] = ()) -> Iterator[tuple[Tool, int]]:
        """Yield the next tool and its repeat: ours and each peer in turn, beginning with another one each time.

        Args:
            once: The tools that take part in the first repeat only.
        """
        everyone: list[Tool] = [Ours(), *self.peers]
        for repeat in range(self.repeats):
            start = repeat % len(everyone)
            for tool in everyone[start:] + everyone[:start]:
                if repeat and tool.name in once:
                    continue
                settle()
                self.say(f"{tool.name}, {repeat + 1} of {self.repeats}")
                yield tool, repeat

    def small_files(self) -> Path:
        """Return a directory of 100,000 files of 1-4 KiB, made the first time."""
        directory = self.work / "small"
        if not directory.exists():
            self.say("making the small files")
            make_small_files(directory, self.scaled(100_000), self.seed)
            settle()
        return directory

    def large_file(self) -> Path:
        """Return a directory with one incompressible file of 1 GiB, made the first time."""
        directory = self.work / "large"
        if not directory.exists():
            self.say("making the large file")
            make_large_file(directory / "large.bin", self.scaled(1024) * MIB, self.seed)
            settle()
        return directory

    def large_tree(self) -> tuple[Path, int]:
        """Return a store whose one commit has 1,000,000 tiny files, made the first time, and the number of files."""
        files = self.scaled(1_000_000)
        store = self.work / "tree"
        if not store.exists():
            self.say(f"making the tree of {files:,} files")
            run_ours("tree", self.work, store=store, files=files)
            settle()
        return store, files
