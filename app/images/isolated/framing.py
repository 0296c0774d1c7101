"""Messages between the service and a process of its own: JSON with a payload of bytes."""

import struct
from typing import IO

from pydantic import BaseModel, ConfigDict

HEAD = struct.Struct(">IQ")
"""Length in bytes of the JSON that follows, then of the payload after it."""


class Message(BaseModel):
    """What a process is asked or answers, without its payload."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def send(stream: IO[bytes], message: Message, payload: bytes | memoryview = b"") -> None:
    """Write a message and its payload.

    Raises:
        OSError: the other side has closed.
    """
    words = message.model_dump_json().encode()
    stream.write(HEAD.pack(len(words), len(payload)))
    stream.write(words)
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes], limit_bytes: int) -> tuple[bytes, bytes] | None:
    """Return the next message's JSON and payload.

    None: the other side has closed, or the message is longer than the limit.
    """
    head = _exactly(stream, HEAD.size)
    if len(head) < HEAD.size:
        return None
    words, payload = HEAD.unpack(head)
    if words + payload > limit_bytes:
        return None
    message = _exactly(stream, words), _exactly(stream, payload)
    whole = len(message[0]) == words and len(message[1]) == payload
    return message if whole else None


def _exactly(stream: IO[bytes], count: int) -> bytes:
    """Return that many bytes, fewer where the other side has closed; a raw pipe gives parts."""
    parts: list[bytes] = []
    while count > 0 and (part := stream.read(count)):
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
