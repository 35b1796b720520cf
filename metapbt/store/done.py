"""What a run says at its end, with a checksum: what a finished one came to, and the error of a failed one."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from metapbt.history import History, Ref
from metapbt.store.reading import Unreadable, parse_yaml, read_file, sealed, unsealed

_MOST_BYTES = 2**20


@dataclass(frozen=True)
class Done:
    """What a finished run says of itself.

    Attributes:
        generations: how many every member finished; the run may have stopped early.
        test_return: mean return of the best agent kept, over episodes that no decision saw; None in old results.
        test_episodes: how many.
        best: which record that agent's is.
        records: how many there are; None in old results, as what follows.
        env_steps: of the best record of the last generation.
        eval_return: of the same.
        failed: how many intervals failed for good.
        journal: the checksum of the journal's first entry, by which it is known whose end this is.
    """

    generations: int
    test_return: float | None = None
    test_episodes: int = 0
    best: Ref | None = None
    records: int | None = None
    env_steps: int | None = None
    eval_return: float | None = None
    failed: int | None = None
    journal: str | None = None

    @classmethod
    def of(cls, history: History, tested: Ref, test_return: float | None, test_episodes: int) -> Done:
        """What a run says of itself whose history is whole."""
        last = history.best_of(max(record.generation for record in history))
        return cls(
            generations=history.generations,
            test_return=test_return,
            test_episodes=test_episodes,
            best=tested,
            records=len(history),
            env_steps=last.env_steps,
            eval_return=last.eval_return,
            failed=sum(record.failed for record in history),
        )

    def to_text(self) -> str:
        """What ``DONE`` holds."""
        return sealed({name: value for name, value in asdict(self).items() if value is not None})

    @classmethod
    def read(cls, path: Path) -> Done | None:
        """Read the file; None where there is none.

        Raises:
            MetapbtError: it is damaged, or cannot be read.
        """
        data = read_file(path, _MOST_BYTES)
        if data is None:
            return None
        found = unsealed(data, path)
        if found is None:
            found = parse_yaml(data, path)
        if type(found) is int:  # of an earlier version
            found = {"generations": found}
        try:
            known = {field.name: found[field.name] for field in fields(cls) if field.name in found}
            for name, value in known.items():
                if name != "best" and type(value) not in _KINDS[name]:
                    raise TypeError(f"{name} is {value!r:.50}")
            best = known.pop("best", None)
            if best is not None:
                generation, member = best
                if type(generation) is not int or type(member) is not int:
                    raise TypeError(f"best is {best!r:.50}")
            return cls(**known, best=None if best is None else Ref(*best))
        except (ValueError, TypeError, KeyError) as error:
            raise Unreadable(path, f"is damaged: {error}") from error


_MAYBE_NUMBER = (int, float, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    "generations": (int,),
    "test_return": _MAYBE_NUMBER,
    "test_episodes": (int,),
    "records": (int, type(None)),
    "env_steps": (int, type(None)),
    "eval_return": _MAYBE_NUMBER,
    "failed": (int, type(None)),
    "journal": (str, type(None)),
}


def failure_text(error: str) -> str:
    """What ``FAILED`` holds: the error, and its checksum in a line of its own."""
    return f"{error}{_CHECKSUM.decode()}{zlib.crc32(error.encode(errors='replace')):08x}\n"


def read_failure(path: Path) -> str | None:
    """Read the error of a failed run; None where there is no such file.

    Raises:
        MetapbtError: it is damaged, or cannot be read.
    """
    data = read_file(path, _MOST_BYTES)
    if data is None:
        return None
    text, mark, checksum = data.rpartition(_CHECKSUM)
    if not mark and b"crc32" not in data and data.count(b"\n") < 2:
        text = data  # of an earlier version
    elif not mark or checksum != b"%08x\n" % zlib.crc32(text):
        raise Unreadable(path, "is damaged: its checksum is another one")
    try:
        return text.decode().strip()
    except UnicodeDecodeError as error:
        raise Unreadable(path, f"cannot be read: {error}") from error


_CHECKSUM = b"\ncrc32 "
