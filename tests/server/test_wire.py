"""The wire format in process: messages cut anywhere, ends in the middle, lengths nobody should believe."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from multiprocessing import shared_memory

import numpy as np
import pytest
from peer import header, init

from delta_server.errors import ProtocolError, ServerClosedError, ServerLostError
from delta_server.server import shm, wire
from delta_server.server.wire import Init, Interrupted, Stream, read_init

Pair = tuple[socket.socket, Stream]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The server's socket, and the driver's stream at the other end."""
    server, client = socket.socketpair()
    with server, client:
        server.settimeout(20)
        yield server, Stream(client)


def trickle(server: socket.socket, data: bytes) -> threading.Thread:
    """Send byte by byte in the background."""

    def send() -> None:
        for byte in data:
            server.sendall(bytes([byte]))

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_headers_are_twelve_bytes() -> None:
    assert wire.header("posdata") == b"POSDATA     "
    assert wire.FORCEREADY == b"FORCEREADY  "
    assert {len(h) for h in (wire.NEEDINIT, wire.READY, wire.HAVEDATA, wire.FORCEREADY)} == {12}


@pytest.mark.parametrize("cut", range(1, 12))
def test_header_in_two_pieces(pair: Pair, cut: int) -> None:
    server, stream = pair
    message = header("GETFORCE")
    server.sendall(message[:cut])
    assert stream.header(wait=0.01) is None  # and what has come of it is kept
    assert len(stream) == cut
    server.sendall(message[cut:] + header("STATUS"))
    assert [stream.header(), stream.header()] == ["GETFORCE", "STATUS"]
    assert len(stream) == 0


def test_messages_byte_by_byte(pair: Pair) -> None:
    server, stream = pair
    values = np.random.default_rng(0).standard_normal(30)
    thread = trickle(server, header("STATUS") + init(b" batch_size:8") + header("POSDATA") + values.tobytes())
    assert stream.header() == "STATUS"
    assert stream.header() == "INIT"
    assert read_init(stream).batch_size == 8
    assert stream.header() == "POSDATA"
    assert np.array_equal(stream.floats(30), values)
    thread.join()


def test_many_messages_in_one_piece(pair: Pair) -> None:
    server, stream = pair
    server.sendall(1000 * header("STATUS") + struct.pack("=i", -7))
    assert {stream.header() for _ in range(1000)} == {"STATUS"}
    assert stream.int32() == -7


def test_more_than_the_buffer_holds(pair: Pair) -> None:
    server, stream = pair
    values = np.arange(50_000.0)
    thread = threading.Thread(target=server.sendall, args=(header("POSDATA") + values.tobytes() + header("EXIT"),))
    thread.start()
    assert stream.header() == "POSDATA"
    assert np.array_equal(stream.floats(len(values)), values)
    assert stream.header() == "EXIT"
    thread.join()


def test_end_between_two_messages_is_a_closed_server(pair: Pair) -> None:
    server, stream = pair
    server.sendall(header("STATUS"))
    server.close()
    assert stream.header() == "STATUS"
    with pytest.raises(ServerClosedError):
        stream.header()


@pytest.mark.parametrize("sent", [1, 11])
def test_end_within_a_header_is_a_lost_server(pair: Pair, sent: int) -> None:
    server, stream = pair
    server.sendall(header("STATUS")[:sent])
    server.close()
    with pytest.raises(ServerLostError, match=f"{sent} of 12 bytes"):
        stream.header()


@pytest.mark.parametrize("sent", [0, 7, 8, 23])
def test_end_within_a_message_is_a_lost_server(pair: Pair, sent: int) -> None:
    server, stream = pair
    server.sendall(header("POSDATA") + bytes(sent))
    server.close()
    assert stream.header() == "POSDATA"
    with pytest.raises(ServerLostError, match="in the middle of a message"):
        stream.floats(3)


def test_reset_is_a_lost_server(pair: Pair) -> None:
    server, stream = pair
    stream.send(wire.READY)
    server.close()  # with READY unread
    with pytest.raises(ServerLostError, match="reset"):
        stream.header()


def test_sending_to_a_server_that_left(pair: Pair) -> None:
    server, stream = pair
    server.close()
    with pytest.raises(ServerLostError, match="while sending"):
        stream.send(wire.READY)


@pytest.mark.parametrize(
    "raw", [b"FORCEREADY  ", b"status      ", b" STATUS     ", b"STATUS\0\0\0\0\0\0", bytes(12), b"\xff" * 12]
)
def test_unknown_header(pair: Pair, raw: bytes) -> None:
    server, stream = pair
    server.sendall(raw)
    with pytest.raises(ProtocolError, match="expected one of STATUS, INIT, POSDATA, GETFORCE, EXIT"):
        stream.header()


@pytest.mark.parametrize(
    ("text", "batch_size"),
    [
        (b"", 1),
        (b" ", 1),
        (b"\0", 1),  # ASE
        (b"  batch_size:8", 8),
        (b" k : v , ,  batch_size:8", 8),
        (b"batch_size : 32 , k : v", 32),
        (b"my_batch_size:8", 1),
        (b"batch_size", 1),
        (b"\xff\xfe, batch_size:2", 2),
    ],
)
def test_init(pair: Pair, text: bytes, batch_size: int) -> None:
    server, stream = pair
    server.sendall(init(text, replica=3) + header("STATUS"))
    assert stream.header() == "INIT"
    assert read_init(stream) == Init(3, text.decode("utf-8", "replace"), batch_size)
    assert stream.header() == "STATUS"  # not a byte too many or too few was read


@pytest.mark.parametrize(
    "value", ["0", "-1", "1.5", "", "eight", str(wire.MAX_BATCH + 1), "9" * 5000, "²"], ids=lambda v: v[:6]
)
def test_init_with_an_absurd_batch_size(pair: Pair, value: str) -> None:
    server, stream = pair
    server.sendall(init(f" batch_size:{value}".encode())[12:])
    with pytest.raises(ProtocolError, match="batch_size"):
        read_init(stream)


@pytest.mark.parametrize("length", [-1, -(2**31), 2**16 + 1, 2**31 - 1])
def test_init_with_an_absurd_length(pair: Pair, length: int) -> None:
    """Refused at once, nothing of it waited for."""
    server, stream = pair
    server.sendall(struct.pack("=ii", 0, length))
    with pytest.raises(ProtocolError, match=f"{length} bytes"):
        read_init(stream)


def test_stop_while_the_server_is_silent() -> None:
    server, client = socket.socketpair()
    with server, client:
        stop = threading.Event()
        stream = Stream(client, stop.is_set)
        timer = threading.Timer(0.05, stop.set)
        timer.start()
        with pytest.raises(Interrupted):
            stream.header()
        timer.join()


def test_replies() -> None:
    forces, virial = np.arange(6.0).reshape(2, 3), np.arange(9.0).reshape(3, 3)
    single = wire.pack_single(1.5, forces, virial, b"{}")
    assert single == b"".join(
        (header("FORCEREADY"), struct.pack("=di", 1.5, 2), forces.tobytes(), virial.tobytes(), b"\2\0\0\0{}")
    )
    batch = wire.pack_batch(np.array([1.5, 2.5]), np.stack([forces] * 2), np.stack([virial] * 2), [b"{}", b""])
    assert batch == b"".join(
        (
            header("FORCEREADY"),
            struct.pack("=ddi", 1.5, 2.5, 2),
            2 * forces.tobytes(),
            2 * virial.tobytes(),
            b"\2\0\0\0{}\0\0\0\0",
        )
    )


@pytest.fixture
def segments() -> Iterator[dict[str, shared_memory.SharedMemory]]:
    """Shared memory for 2 structures of 3 atoms, made as i-PI makes it."""
    sizes = {"pos": 18, "h": 18, "ih": 18, "pot": 2, "force": 18, "vir": 18}
    owned = {kind: shared_memory.SharedMemory(create=True, size=8 * n) for kind, n in sizes.items()}
    yield owned
    for memory in owned.values():
        memory.close()
        memory.unlink()


def names(segments: dict[str, shared_memory.SharedMemory]) -> dict[str, str]:
    return {kind: memory.name for kind, memory in segments.items()}


def test_shared_memory_is_the_servers(segments: dict[str, shared_memory.SharedMemory]) -> None:
    attached = shm.Segments.attach(names(segments), batch=2, n_atoms=3)
    assert attached.positions.shape == (2, 3, 3)
    attached.forces[1] = 7.0
    assert np.frombuffer(bytes(segments["force"].buf[:144])).tolist() == [0.0] * 9 + [7.0] * 9


def test_shared_memory_that_is_too_small(segments: dict[str, shared_memory.SharedMemory]) -> None:
    with pytest.raises(ProtocolError, match="expected"):
        shm.Segments.attach(names(segments), batch=2, n_atoms=400)


@pytest.mark.parametrize("name", ["../etc/passwd", "a/b", "..", ".hidden", "", "no_such_segment", "a\0b"])
def test_shared_memory_of_another_name(segments: dict[str, shared_memory.SharedMemory], name: str) -> None:
    with pytest.raises(ProtocolError, match="segment"):
        shm.Segments.attach({**names(segments), "force": name}, batch=2, n_atoms=3)
