import socket

import pytest

from arcetri_hub.up import ports


def test_a_port_that_is_listened_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free("127.0.0.1", port)
    assert ports.is_free("127.0.0.1", port)


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        ports.is_free("192.0.2.1", 8000)


def test_chosen_ports_are_free_and_not_those_taken() -> None:
    port = ports.choose()
    assert ports.is_free("127.0.0.1", port)
    with pytest.raises(OSError, match="no free port"):
        ports.choose(taken=range(65_536))
