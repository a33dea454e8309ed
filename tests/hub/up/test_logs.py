from pathlib import Path

from arcetri_hub.up.logs import BoundedLog


def test_a_log_never_grows_beyond_its_bound(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "hub.log", limit=1000)
    for _ in range(1000):
        log.write(b"x" * 99 + b"\n")
    log.close()

    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"hub.log", "hub.log.1"}
    assert max(sizes.values()) <= 1000


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        log = BoundedLog(tmp_path / "hub.log")
        log.write(line)
        log.close()

    assert (tmp_path / "hub.log").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "hub.log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_costs_nothing_but_itself(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "gone" / "hub.log")
    log.write(b"one\ntw")
    log.write(b"o\nthree")

    assert log.tail() == ["one", "two", "three"]
