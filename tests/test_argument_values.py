"""Values of arguments that the command's parser turns into numbers and pairs, or refuses with one line."""

import pytest

from edgel3_onnx.command.arguments import parse_arguments

RAY = ["in", "--format", "parquet", "--output", "out", "--engine", "ray"]


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        ([*RAY, "--workers", "3"], "workers", 3),
        ([*RAY, "--workers", "2:4"], "workers", (2, 4)),
        ([*RAY, "--workers", "4:4"], "workers", (4, 4)),
        (["--plan", "p", "--format", "parquet", "--output", "out", "--shard", "0/1"], "shard", (0, 1)),
        (["--plan", "p", "--format", "parquet", "--output", "out", "--shard", "2/3"], "shard", (2, 3)),
        (["--demo"], "demo", 8384),
        (["--demo", "0"], "demo", 0),
        (["--demo", "65535"], "demo", 65535),
        (["a.wav", "--provider-option", "a=b=c"], "provider_option", [("a", "b=c")]),
        (["a.wav", "--provider-option", "a="], "provider_option", [("a", "")]),
        (["a.wav", "--batch-size", "1e1"], "batch_size", 10),
    ],
)
def test_values(args, name, value):
    assert getattr(parse_arguments(args), name) == value


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([*RAY, "--workers", "4:2"], "MIN:MAX is needed with MIN <= MAX, got '4:2'"),
        ([*RAY, "--workers", "0"], "a positive whole number is needed, got '0'"),
        ([*RAY, "--workers", "1:"], "a positive whole number is needed, got ''"),
        ([*RAY, "--workers", "1.5"], "a positive whole number is needed, got '1.5'"),
        ([*RAY, "--jobs", "2"], "--jobs are processes of this machine: with --engine ray say --workers"),
        (["a", "--shard", "3/3"], "I/N is needed with 0 <= I < N, got '3/3'"),
        (["a", "--shard", "-1/3"], "expected one argument"),
        (["a", "--shard", "1"], "I/N is needed with 0 <= I < N, got '1'"),
        (["--demo", "65536"], "a port from 0 to 65535 is needed, got '65536'"),
        (["--demo", "http"], "a port from 0 to 65535 is needed, got 'http'"),
        (["a", "--provider-option", "a"], "KEY=VALUE is needed, got 'a'"),
        (["a", "--provider-option", "=a"], "KEY=VALUE is needed, got '=a'"),
    ],
)
def test_what_is_refused(args, said, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_arguments(args)
    assert stop.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(said)
