"""NPZ files: what is read is what was written, or one line says why not, and takes no more memory than the file."""

import io
import os
import random
import resource
import zipfile
import zlib

import numpy as np
import pytest

from metapbt.errors import MetapbtError
from metapbt.files import read_arrays, write_arrays
from metapbt.store.checkpoint import Outcome, load_state, read_outcome, save_checkpoint

ARRAYS = {
    "weights": np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32),
    "_returns": np.array([1.0, np.nan, -np.inf, 1e308]),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "none": np.empty((0, 3)),
    "text": np.array(["rule", "tanh"]),
    "file": np.array(True),
    "a/ä b": np.arange(3, dtype=np.uint8),
}


def outcome_of(read, path):
    """What a reader returns, or its error in one line; anything else that it raises is a fault."""
    try:
        return read(path)
    except MetapbtError as error:
        return str(error)


def alike(a, b):
    return a.keys() == b.keys() and all(
        a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f")
        for name in a
    )


def mutated(data, draw):
    """Damage as disks, copies and people do it; a third with a checksum that fits again, as an adversary does."""
    data = bytearray(data)
    place = draw.randrange(len(data))
    match draw.randrange(6):
        case 0:
            data[place] ^= 1 << draw.randrange(8)
        case 1:
            del data[place:]
        case 2:
            data[place:place] = draw.randbytes(draw.randrange(1, 40))
        case 3:
            del data[place : place + draw.randrange(1, 40)]
        case 4:
            for _ in range(draw.randrange(1, 20)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        case 5:
            other = draw.randrange(len(data))
            data[place : place + 30] = data[other : other + 30]
    crafted = draw.random() < 1 / 3
    if crafted:
        data[-8:] = b"%08x" % zlib.crc32(bytes(data[:-8]))
    return bytes(data), crafted


def test_arrays_come_back_as_they_were_and_any_numpy_reads_them(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    found = read_arrays(tmp_path / "a.npz")
    assert alike(found, ARRAYS)
    assert found["weights"].flags.writeable
    assert alike(read_arrays(tmp_path / "a.npz", only=["text"]), {"text": ARRAYS["text"]})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as loaded:
        assert alike({name: loaded[name] for name in loaded.files}, ARRAYS)
    write_arrays(tmp_path / "b.npz", ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    np.savez(tmp_path / "old.npz", a=np.arange(3))  # as earlier versions wrote them
    assert alike(read_arrays(tmp_path / "old.npz"), {"a": np.arange(3)})


def test_of_thousands_of_damaged_files_none_is_read_as_another(tmp_path):
    path, draw = tmp_path / "a.npz", random.Random(0)
    write_arrays(path, ARRAYS)
    whole = path.read_bytes()
    crafted_ones = 0
    for _ in range(2000):
        data, crafted = mutated(whole, draw)
        crafted_ones += crafted
        path.write_bytes(data)
        found = outcome_of(read_arrays, path)
        if isinstance(found, str):
            assert "\n" not in found
            assert str(path) in found
        else:
            assert crafted or alike(found, ARRAYS)
            assert sum(array.nbytes for array in found.values()) <= len(data)
    assert crafted_ones > 500


def test_every_single_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, {"a": np.arange(3.0)})
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(MetapbtError, match="is damaged"):
            read_arrays(path)


def test_damaged_checkpoints_say_so(tmp_path):
    path, draw = tmp_path / "c.npz", random.Random(1)
    save_checkpoint(path, {"w": np.zeros(9)}, Outcome({"x": 0.5}, 10, 10, 1.0, float("nan"), 3, 0.1))
    assert read_outcome(path).hyperparameters == {"x": 0.5}
    assert alike(load_state(path), {"w": np.zeros(9)})
    whole = path.read_bytes()
    for _ in range(300):
        path.write_bytes(mutated(whole, draw)[0])
        for read in (read_outcome, load_state):
            assert "\n" not in str(outcome_of(read, path))
    write_arrays(path, {"w": np.zeros(9)})
    for read in (read_outcome, load_state):
        with pytest.raises(MetapbtError, match="is no checkpoint: it has no outcome"):
            read(path)


def npy(header, data=b""):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + data


def zipped(path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (500000000,), }"
CRAFTED = {
    "a header that claims 4 GB": lambda path: zipped(path, ("a.npy", npy(HUGE, bytes(50_000)))),
    "a dtype that claims 4 GB": lambda path: zipped(path, ("a.npy", npy(HUGE.replace("<f8", "|V4000000000")))),
    "a shape below 0": lambda path: zipped(path, ("a.npy", npy(HUGE.replace("500000000", "-1, -1"), bytes(8)))),
    "a shape beyond all": lambda path: zipped(path, ("a.npy", npy(HUGE.replace("500000000", "0, 9" + 99 * "9")))),
    "4 GB compressed to 4 MB": lambda path: zipped(
        path, ("a.npy", npy(HUGE, bytes(10_000_000))), compression=zipfile.ZIP_DEFLATED
    ),
    "one name twice": lambda path: zipped(path, ("a.npy", npy(HUGE)), ("a.npy", npy(HUGE))),
    "no array": lambda path: zipped(path, ("a.txt", b"a")),
    "a deep header": lambda path: zipped(path, ("a.npy", npy("(" * 100))),
    "a pickle": lambda path: np.savez(path, a=np.array([{"a": 1}], dtype=object)),
    "another format": lambda path: path.write_bytes(b"PAR1"),
    "nothing": lambda path: path.touch(),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "no file": lambda path: None,
    "a link to itself": lambda path: path.symlink_to(path),
    "4 GB of nothing": lambda path: (path.touch(), os.truncate(path, 4 << 30)),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", CRAFTED)
def test_crafted_files_are_refused_in_one_line(tmp_path, kind):
    path = tmp_path / "a.npz"
    CRAFTED[kind](path)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MetapbtError, match="is damaged|cannot be read") as raised:
        read_arrays(path, most_bytes=1 << 30)
    assert "\n" not in str(raised.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 200_000  # kB


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """A ZIP bomb without compression: thousands of names for the same megabyte."""
    path, inner = tmp_path / "a.npz", io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a0.npy", npy(HUGE.replace("500000000", "100000"), bytes(800_000)))
        for number in range(1, 50):
            member = zipfile.ZipInfo(f"a{number}.npy")
            twin = archive.filelist[0]
            for name in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(member, name, getattr(twin, name))
            archive.filelist.append(member)
            archive.NameToInfo[member.filename] = member
        archive._didModify = True
    path.write_bytes(inner.getvalue())
    with pytest.raises(MetapbtError, match="claim more than it holds"):
        read_arrays(path)


BAD_NAMES = ["a\0b", "a\nb", "\udcff", "é" * 40_000]


@pytest.mark.parametrize(
    "bad", [{"a": np.array([None])}, {"a": {}}, *({name: np.zeros(1)} for name in BAD_NAMES)], ids=range(6)
)
def test_what_only_a_pickle_could_keep_is_refused_before_a_file_is_there(tmp_path, bad):
    with pytest.raises(MetapbtError, match="cannot be kept"):
        write_arrays(tmp_path / "a.npz", bad)
    assert list(tmp_path.iterdir()) == []
