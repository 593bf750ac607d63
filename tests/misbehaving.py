"""What a library may do to the process that feeds it damaged data; for tests/test_isolated.py."""

import os
import re
import sys

from edgel3_onnx.exceptions import EdgeL3Error


def echo(data: bytes, suffix: bytes) -> bytes:
    print("chatter of a library")
    return data + suffix


def refuse(data: bytes) -> bytes:
    raise EdgeL3Error("x.h5: of another\nkind")


def fail(data: bytes) -> bytes:
    return bytes(10**30)


def never_return(data: bytes) -> bytes:
    """Within C, with the interpreter's lock held, as a library's endless loop does."""
    return bytes(bool(re.match("(a+)+$", "a" * 200 + "b")))


def take_all_memory(data: bytes) -> bytes:
    return bytes(3 << 30)


def take(data: bytes, count: int) -> bytes:
    return b"%d" % len(bytes(count))


def say(data: bytes, kind: str, length: int) -> bytes:
    raise {"EdgeL3Error": EdgeL3Error, "ValueError": ValueError}[kind]("x" * length)


def die(data: bytes) -> bytes:
    os.abort()


def want_a_package(data: bytes) -> bytes:
    raise ModuleNotFoundError(name="h5py")


def process_id(data: bytes) -> bytes:
    return f"{os.getpid()} {sys.flags.safe_path}".encode()
