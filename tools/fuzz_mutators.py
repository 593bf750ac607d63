"""Damage to bytes, JSON and protobuf messages, drawn from a random.Random."""

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

_NUMBERS = (0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 1000, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x", "\n\x00\ud7ff", [], {}, [[]], 0, -1, 1, 2**63, 10**400, 0.5, -1e308, 1e308, 1e-320),
    *(float("nan"), float("inf"), "x" * 100_000, "../../etc/passwd"),
)


def mutate_bytes(random: Random, data: bytes, positions: Sequence[int] | None = None) -> bytes:
    """A few damages, each a flipped bit, another number, or a piece that is lost, moved or repeated.

    ``positions`` are those worth damaging, where the rest of the data are mere values.
    """
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        if not damaged:
            return random.randbytes(random.randrange(64))
        at = min(random.choice(positions) if positions else random.randrange(len(damaged)), len(damaged) - 1)
        size = random.choice((1, 2, 4, 8))
        kind = random.randrange(10)
        if kind < 4:
            damaged[at] ^= 1 << random.randrange(8)
        elif kind < 6:
            number = random.choice(_NUMBERS) % (1 << 8 * size)
            damaged[at : at + size] = number.to_bytes(size, random.choice(("little", "big")))
        elif kind == 6:
            damaged[at : at + size] = random.randbytes(size)
        elif kind == 7:
            del damaged[at : at + random.choice((1, size, 100, len(damaged)))]
        else:
            start = random.choice(positions) if positions else random.randrange(len(damaged))
            piece = damaged[start : start + random.choice((size, 64, 1000))]
            damaged[at : at + (len(piece) if kind == 8 else 0)] = piece
    return bytes(damaged)


def mutate_json(random: Random, data: bytes) -> bytes:
    """Another value somewhere in a JSON document, or a member that is missing or repeated; else damaged bytes."""
    try:
        document = json.loads(data)
    except ValueError:
        return mutate_bytes(random, data)
    if random.random() < 0.2:
        return mutate_bytes(random, data)
    for _ in range(random.choice((1, 1, 2))):
        document = _mutate_value(random, document)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _mutate_value(random: Random, value: Any) -> Any:
    if not value or not isinstance(value, dict | list) or random.random() < 0.1:
        return copy.deepcopy(random.choice((*_VALUES, [value] * 3, {"a": value})))
    key = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
    if random.random() < 0.15:
        del value[key]
    else:
        value[key] = _mutate_value(random, value[key])
    return value


def mutate_message(random: Random, message: Any) -> None:
    """Change a field somewhere in a protobuf message, in place."""
    while True:
        fields = [field for field, _ in message.ListFields()]
        if not fields or random.random() < 0.05:
            fields = list(message.DESCRIPTOR.fields)
        field = random.choice(fields)
        repeated = field.is_repeated
        value = getattr(message, field.name)
        if repeated and len(value) and random.random() < 0.3:
            _mutate_sequence(random, value)
            return
        if field.message_type is None:
            new = _scalar(random, field, value)
            if not repeated:
                setattr(message, field.name, new)
            elif len(value) and random.random() < 0.8:
                value[random.randrange(len(value))] = new
            else:
                value.append(new)
            return
        message = (random.choice(value) if len(value) else value.add()) if repeated else value


def _mutate_sequence(random: Random, values: Any) -> None:
    first, second = random.randrange(len(values)), random.randrange(len(values))
    kind = random.randrange(3)
    if kind == 0:
        del values[first]
    elif kind == 1:
        values.append(copy.deepcopy(values[first]))
    elif hasattr(values[first], "CopyFrom"):
        values[first].CopyFrom(copy.deepcopy(values[second]))
    else:
        values[first] = values[second]


def _scalar(random: Random, field: Any, value: Any) -> Any:
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return random.choice((0.0, -1.0, 1e-40, 1e38, float("nan"), float("inf")))
    if field.type == field.TYPE_BYTES:
        return mutate_bytes(random, value if isinstance(value, bytes) else b"SAME_UPPER")
    if field.cpp_type == field.CPPTYPE_STRING:
        return random.choice(
            ("", "x", "\n", "x" * 10_000, "Loop", "Identity", "Conv", "Relu", "embedding", "conv1.out")
        )
    if field.cpp_type == field.CPPTYPE_ENUM:
        return random.choice(field.enum_type.values).number
    least = -(2**31) if field.cpp_type in (field.CPPTYPE_INT32,) else -(2**63)
    return max(least, min(random.choice((*_NUMBERS, -1, -(2**31), -(2**63))), -least - 1))
