from pathlib import Path

import pytest

from jointseg_core.files import completed


def test_a_file_has_its_name_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "new/one.bin"
    with completed(path) as file:
        file.write(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it" and list(path.parent.iterdir()) == [path]


def test_after_an_exception_the_file_from_before_is_there(tmp_path: Path):
    path = tmp_path / "one.bin"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), completed(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]
