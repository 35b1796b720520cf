import pytest

from metapbt.files import atomic_file, write_text_atomically


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    write_text_atomically(target, "first")
    write_text_atomically(target, "second")
    assert target.read_text() == "second"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    write_text_atomically(target, "old")

    def write_badly():
        with atomic_file(target) as temporary:
            temporary.write_text("half of the n")
            assert target.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_badly()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_can_be_read_by_those_who_could_read_any_new_file(tmp_path):
    (tmp_path / "ordinary").touch()
    write_text_atomically(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
