"""The connections: requests in, answers out, with a hand on the socket for faults."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING

from airflow_provider_binance_margin.sandbox.answers import html
from airflow_provider_binance_margin.sandbox.message import TooLargeError, head, take_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_binance_margin.sandbox.answers import Answer
    from airflow_provider_binance_margin.sandbox.message import Request

# an abrupt close: what has not been sent is thrown away and the peer is told by RST
LINGER = struct.pack("ii", 1, 0)
# seconds for a client that was refused to hear of it
PATIENCE = 2


class Connection(asyncio.Protocol):
    """One client's connection: requests are answered in order, the next only when the last answer is out."""

    def __init__(self, number: int, serving: Serving) -> None:
        self._number = number
        self._serving = serving
        self._buffer = bytearray()
        self._sending: asyncio.Task[None] | None = None
        self._refused = False
        self._address = ""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._address = transport.get_extra_info("peername")[0]
        self._serving.open.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        """The client is gone."""
        self._serving.open.discard(self)
        if self._sending is not None:
            self._sending.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer what is complete by now."""
        if not self._refused:
            self._buffer += data
            self._go_on()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _go_on(self) -> None:
        while self._sending is None and not self._transport.is_closing():
            try:
                request = take_request(self._buffer, self._number, self._address)
            except ValueError as error:
                self._refuse(413 if isinstance(error, TooLargeError) else 400)
                return
            if request is None:
                return
            self._answer(request)

    def _refuse(self, status: int) -> None:
        """Refuse what is no request, and read no more of it: the rest is thrown away, so that the answer gets out."""
        answer = html(status, f"{status} {HTTPStatus(status).phrase}")
        self._transport.write(head(answer, self._serving.now_ms(), last=True) + answer.body)
        self._refused = True
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(PATIENCE, self._transport.abort)

    def _answer(self, request: Request) -> None:
        answer, latency = self._serving.answer(request)
        if answer.sent is None and answer.pieces == 1 and not latency + answer.wait + answer.spread + answer.later:
            self._transport.write(self._head(answer, request) + _body(answer, request))
            self._write_unasked(answer, request)
            self._end(request)
        else:
            self._sending = asyncio.get_running_loop().create_task(self._send(answer, request, latency))

    async def _send(self, answer: Answer, request: Request, latency: float) -> None:
        await asyncio.sleep(latency + answer.wait)
        if answer.sent != -1:
            self._transport.write(self._head(answer, request))
            for piece in _pieces(_body(answer, request)[: answer.sent], answer.pieces):
                await asyncio.sleep(answer.spread / answer.pieces)
                self._transport.write(piece)
        if answer.sent is not None:
            await asyncio.sleep(0.01)  # let the client read what was sent
            self._reset()
            return
        await asyncio.sleep(answer.later)
        self._write_unasked(answer, request)
        self._sending = None
        self._end(request)
        self._go_on()

    def _write_unasked(self, answer: Answer, request: Request) -> None:
        if answer.unasked is not None:
            self._transport.write(self._head(answer.unasked, request) + answer.unasked.body)

    def _reset(self) -> None:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self._transport.abort()

    def _end(self, request: Request) -> None:
        if request.is_last:
            self._transport.close()

    def _head(self, answer: Answer, request: Request) -> bytes:
        return head(answer, self._serving.now_ms(), last=request.is_last)


class Serving:
    """State shared by all connections: who answers (and after how many seconds), the clock, and the open ones."""

    def __init__(self, answer: Callable[[Request], tuple[Answer, float]], now_ms: Callable[[], int]) -> None:
        self.answer = answer
        self.now_ms = now_ms
        self.open: set[Connection] = set()
        self._arriving: set[asyncio.Task[object]] = set()
        self._numbers = count(1)

    async def run(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serve until stopped, then leave nothing open."""
        loop = asyncio.get_running_loop()
        listener.settimeout(0)
        # not loop.create_server: if closed while a client comes in, it loses that client's socket
        loop.add_reader(listener, self._accept, listener)
        await stop.wait()
        loop.remove_reader(listener)
        await asyncio.gather(*self._arriving, return_exceptions=True)
        for connection in tuple(self.open):
            connection.abort()
        await asyncio.sleep(0)  # each hears of its end in the loop's next round

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client may have gone again
            peer, _ = listener.accept()
            peer.settimeout(0)
            loop = asyncio.get_running_loop()
            made = loop.connect_accepted_socket(lambda: Connection(next(self._numbers), self), peer)
            arriving: asyncio.Task[object] = loop.create_task(made)
            self._arriving.add(arriving)
            arriving.add_done_callback(self._arriving.discard)


def _body(answer: Answer, request: Request) -> bytes:
    return b"" if request.method == "HEAD" else answer.body


def _pieces(body: bytes, number: int) -> list[bytes]:
    size = max(1, -(-len(body) // number))
    return [body[start : start + size] for start in range(0, len(body), size)]
