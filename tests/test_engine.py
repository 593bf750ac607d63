"""The native engine against a plain computation in double precision, at every SIMD level."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engine_oracle as oracle
from edgel3_onnx import EdgeL3ArgumentError, EdgeL3Error, _engine
from edgel3_onnx.engines.native import BASELINE_SHARE, TAPS_SHARE, NativeEngine, faster_than_onnxruntime

# Of the largest value. The sums of float32 products are added in another order, and Winograd's transforms round more.
TOLERANCE = {"taps": 1e-5, "winograd": 5e-6}
TAPS = {"filters": (3, 5, 7, 2, 9, 17, 16, 33), "pools": (2, 4, 6), "activations": ["relu"] * 7 + ["linear"]}
LEVELS = pytest.mark.parametrize("level", _engine.levels())


def pruned(density=0.15, **changes):
    """The shape of the pruned networks, with few channels, none a multiple of the tiles."""
    return oracle.network(256, 199, **{**TAPS, **changes}, density=density)


def assert_same(found, expected, tolerance):
    assert found.shape == expected.shape and found.dtype == np.float32
    worst = (np.abs(found - expected).max(1) / np.abs(expected).max(1)).max()
    assert worst <= tolerance
    cosine = (found * expected).sum(1) / (
        np.linalg.norm(found.astype(float), axis=1) * np.linalg.norm(expected, axis=1)
    )
    assert cosine.min() >= 0.9999999


def check(network, method, level, monkeypatch, n=2, threads=1):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    engine = NativeEngine(network, threads, method)
    assert (engine.method, engine.level, engine.providers, engine.kind) == (method, level, ["native"], "mel")
    batch = oracle.images(network, n)
    assert_same(engine.run(batch), oracle.embed(network, batch), TOLERANCE[method])


# Maps of one row of tiles, 2 or 4 outputs high and 2, 4 or 6 wide: 1 to 15 of them; and maps of two rows. 36 channels
# are an odd number of vectors of 4, 8 and 16 lanes: blocks of two vectors, and one of one.
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
@LEVELS
def test_every_count_of_tiles(level, rows, monkeypatch):
    for cols in range(1, 91 if rows in (2, 4) else 30):
        network = oracle.network(rows, cols, (5, 36), activations=["relu", "linear"], seed=cols)
        check(network, "winograd", level, monkeypatch, n=1)


# Tiles are 2 outputs high where there are 1 or 2 rows, 4 for 15 or 16, 6 for 45 or 48, and as wide for as many columns;
# where the number is odd, the last ones stand out. Pooling drops what is left over by two.
@pytest.mark.parametrize("rows", [1, 2, 15, 16, 45, 48])
@LEVELS
def test_every_size_of_tiles(level, rows, monkeypatch):
    for cols in (1, 2, 15, 16, 45, 48):
        check(oracle.network(rows, cols, (5, 20), activations=["relu", "linear"]), "winograd", level, monkeypatch, n=1)
        if min(rows, cols) > 1:
            for kind in ("relu", "silu"):
                network = oracle.network(rows, cols, (5, 20, 3), activations=["relu", kind, "linear"], pools=(2,))
                check(network, "winograd", level, monkeypatch, n=1)


@LEVELS
def test_every_count_of_channels(level, monkeypatch):
    for channels in (1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 80):
        check(oracle.network(9, 14, (channels, 6, channels), pools=(1,)), "winograd", level, monkeypatch, n=1)


@LEVELS
def test_a_map_of_several_strips(level, monkeypatch):
    """More tiles of 128 channels than the level-2 cache has room for, of which the last strip has fewer."""
    network = oracle.network(61, 83, (128, 128), activations=["silu", "relu"])
    check(network, "winograd", level, monkeypatch, n=1, threads=2)


@st.composite
def networks(draw):
    rows, cols = draw(st.integers(4, 30)), draw(st.integers(4, 30))
    size, filters, activations, pools, skips, shapes = (rows, cols), [], [], [], {}, []
    for number in range(1, draw(st.integers(2, 5)) + 1):
        candidates = [k for k in range(1, number) if shapes[k - 1][0] == size and k not in pools]
        channels = draw(st.integers(1, 40))
        if candidates and draw(st.booleans()):
            earlier = draw(st.sampled_from(candidates))
            skips[number], channels = number - earlier, shapes[earlier - 1][1]
        filters.append(channels)
        shapes.append((size, channels))
        activations.append(draw(st.sampled_from(["linear", "relu", "silu"])))
        if min(size) >= 2 and draw(st.booleans()):
            pools.append(number)
            size = (size[0] // 2, size[1] // 2)
    if len(filters) in pools:
        pools.remove(len(filters))
    activations[-1] = draw(st.sampled_from(["relu", "linear"]))
    return oracle.network(
        rows, cols, filters, activations=activations, pools=pools, skips=skips, seed=draw(st.integers(0, 9))
    )


@LEVELS
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(network=networks(), n=st.integers(1, 3))
def test_any_network(level, monkeypatch, network, n):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    batch = oracle.images(network, n)
    found, expected = NativeEngine(network, 2, "winograd").run(batch), oracle.embed(network, batch)
    # Random layers cancel each other's values, which leaves more of the rounding than the networks of this package do:
    # errors up to 6e-6 were seen. A single value may be next to nothing by chance.
    assert np.abs(found - expected).max() <= 3e-5 * max(1.0, np.abs(expected).max())


@LEVELS
def test_silu_is_right_from_one_end_of_the_numbers_to_the_other(level, monkeypatch):
    """One channel whose kernel is its middle weight: the maximum of a map of one value is SiLU of that value."""
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    middle = np.zeros((1, 1, 3, 3), np.float32)
    middle[0, 0, 1, 1] = 1
    layers = tuple(oracle.Layer(middle, np.zeros(1, np.float32), name) for name in ("linear", "silu"))
    engine = NativeEngine(oracle.Network(1, 1, 1.0, 0.0, layers, {}), 1)
    values = np.concatenate([np.linspace(-30, 30, 5001), [0, 1e-30, -1e-30, 88, -88, 1e4, -1e4, 3e38, -3e38]])
    x = values.astype(np.float32)
    found = engine.run(x[:, None, None, None])[:, 0]
    with np.errstate(over="ignore"):
        expected = x / (1 + np.exp(-x.astype(np.float64)))
    # Relative: some rounding of the exponential and of the division, and of Winograd's sums for the largest.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(("method", "threads"), [("taps", 1), ("taps", 2), ("winograd", 2)])
@LEVELS
def test_pruned_networks(level, method, threads, monkeypatch):
    check(pruned(), method, level, monkeypatch, 3, threads)


@pytest.mark.parametrize(("cols", "pools"), [(198, ()), (205, (3,))])  # in whole tiles, and with one that is narrow
@LEVELS
def test_taps_of_maps_that_are_written_past_the_caches(level, cols, pools, monkeypatch):
    """More than 4 MB of each."""
    check(oracle.network(256, cols, (24, 24, 2, 16), pools=pools, density=0.05), "taps", level, monkeypatch, 1)


@pytest.mark.parametrize("density", [0.0, 1.0])
@pytest.mark.parametrize("method", ["taps", "winograd"])
def test_extreme_densities(density, method, monkeypatch):
    check(pruned(density), method, _engine.levels()[-1], monkeypatch)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_taps_end_with_relu_or_without(activation, monkeypatch):
    """All embeddings of a network whose last bias is far below zero are negative without ReLU, and zero with it."""
    network = pruned(activations=["relu"] * 7 + [activation])
    network.layers[-1].bias[:] -= 1000
    batch = oracle.images(network, 1)
    found = NativeEngine(network, 1, "taps").run(batch)
    if activation == "relu":
        assert not found.any()
    else:
        assert_same(found, oracle.embed(network, batch), TOLERANCE["taps"])


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": (3, 5)},
        {"pools": (1, 2)},
        {"pools": (2, 4, 6, 7)},
        {"activations": ["relu"] * 6 + ["linear", "relu"]},
        {"activations": ["silu"] * 8},
        {"skips": {8: 7}, "pools": (2, 4), "filters": (16,) * 8},
    ],
)
def test_taps_refuse_what_they_have_no_kernels_for(changes):
    network = pruned(**{**changes, "filters": changes.get("filters", TAPS["filters"])})
    with pytest.raises(EdgeL3Error, match="no kernel for this graph: taps cannot run such a network"):
        NativeEngine(network, 1, "taps")


@pytest.mark.parametrize(("rows", "cols"), [(250, 199), (256, 200), (128, 199), (48, 199)])
def test_taps_refuse_images_that_their_strips_and_tiles_do_not_fill(rows, cols):
    with pytest.raises(EdgeL3Error, match="taps cannot run such a network"):
        NativeEngine(oracle.network(rows, cols, **TAPS), 1, "taps")


def test_the_method_follows_from_the_density_and_the_shape():
    assert NativeEngine(pruned(TAPS_SHARE / 2), 1).method == "taps"
    assert NativeEngine(pruned(1.5 * TAPS_SHARE), 1).method == "winograd"
    assert NativeEngine(oracle.network(64, 50, (8, 8, 8), density=0.01), 1).method == "winograd"


@LEVELS
def test_auto_prefers_it_where_it_is_faster(level, monkeypatch):
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", level)
    assert faster_than_onnxruntime(pruned(BASELINE_SHARE / 4))
    assert faster_than_onnxruntime(pruned(2 * BASELINE_SHARE)) == (level != "baseline")


@pytest.mark.parametrize(
    "filters_and_size",
    [((5000, 4), 8, 8), ((4, 4), 5000, 8), ((4, 4), 8, 5000), ((1,), 8, 8), ((1,) * 65, 8, 8)],
)
def test_sizes_that_it_was_not_built_for(filters_and_size):
    filters, rows, cols = filters_and_size
    with pytest.raises(EdgeL3Error, match="winograd cannot run such a network"):
        NativeEngine(oracle.network(rows, cols, filters), 1)


def test_a_map_that_pooling_leaves_empty():
    with pytest.raises(EdgeL3Error, match="winograd cannot run such a network"):
        NativeEngine(oracle.network(4, 4, (2, 2, 2, 2), pools=(1, 2, 3)), 1)


@pytest.mark.parametrize("skips", [{2: 2}, {3: 1}, {3: 2}])
def test_skips_that_do_not_fit(skips):
    """From before the network; from another number of channels; from a map of another size."""
    network = oracle.network(8, 8, (4, 3, 4), skips={}, pools=(1,))
    layers = list(network.layers)
    for number, skip in skips.items():
        layer = layers[number - 1]
        layers[number - 1] = oracle.Layer(layer.weight, layer.bias, "relu", skip)
    with pytest.raises(EdgeL3Error, match="winograd cannot run such a network"):
        NativeEngine(oracle.Network(8, 8, 1.0, 0.0, tuple(layers), {}), 1)


def test_arguments(monkeypatch):
    network = oracle.network(8, 6, (4, 4))
    engine = NativeEngine(network, 1)
    good = oracle.images(network, 2)
    assert engine.run(good[:0]).shape == (0, 4)
    assert np.array_equal(engine.run(np.asfortranarray(good)), engine.run(good))
    for wrong in (good[0], good[..., :5], good.astype(np.float64), good.transpose(0, 1, 3, 2)):
        with pytest.raises(EdgeL3ArgumentError, match=r"images must be float32 \(N, 1, 8, 6\)"):
            engine.run(wrong)
    with pytest.raises(EdgeL3ArgumentError, match="num_threads"):
        NativeEngine(network, 0)
    monkeypatch.setenv("EDGEL3_ONNX_SIMD", "mmx")
    with pytest.raises(EdgeL3Error, match="'mmx' is not available here; choose one of: baseline"):
        NativeEngine(network, 1)
