"""The compiled half of edgel3_onnx.engines.native: holds memory, releases the GIL, makes one call.

Its callers have checked every argument.
"""

from libc.stdlib cimport free, malloc

cimport _engine_c as c

ACTIVATIONS = {"linear": c.ENGINE_LINEAR, "relu": c.ENGINE_RELU, "silu": c.ENGINE_SILU}
METHODS = {"taps": c.ENGINE_TAPS, "winograd": c.ENGINE_WINOGRAD}


def levels():
    """Names of the SIMD levels that this processor has, from the slowest to the fastest."""
    names = []
    while c.engine_level_name(len(names)) != NULL:
        names.append((<bytes>c.engine_level_name(len(names))).decode("ascii"))
    return names


cdef class Network:
    """The convolutions in the form that the kernels of one method and SIMD level read.

    ``layers`` has (weight, bias, activation, skip, pool) of each. ValueError if the method cannot run them.
    """

    cdef c.network *network
    cdef readonly size_t rows, cols

    def __cinit__(self, list layers, size_t rows, size_t cols, float scale, float shift, str method, str level):
        cdef const float[:, :, :, ::1] weight
        cdef const float[::1] bias
        cdef c.architecture shape
        cdef c.layer *table = <c.layer *>malloc((len(layers) + 1) * sizeof(c.layer))
        if table == NULL:
            raise MemoryError
        try:
            for k, (weight, bias, activation, skip, pool) in enumerate(layers):
                table[k].out_channels = weight.shape[0]
                table[k].in_channels = weight.shape[1]
                table[k].weight = &weight[0, 0, 0, 0]
                table[k].bias = &bias[0]
                table[k].activation = ACTIVATIONS[activation]
                table[k].skip = skip
                table[k].pool = pool
            shape.rows, shape.cols, shape.scale, shape.shift = rows, cols, scale, shift
            shape.layers, shape.layer = len(layers), table
            status = c.network_create(&self.network, &shape, METHODS[method], levels().index(level))
        finally:
            free(table)
        if status == c.ENGINE_NO_MEMORY:
            raise MemoryError
        if status == c.ENGINE_BAD_SIZE:
            raise ValueError(f"{method} cannot run such a network")
        self.rows, self.cols = rows, cols

    def __dealloc__(self):
        c.network_free(self.network)

    @property
    def nbytes(self):
        """Bytes that the packed weights take."""
        return c.network_bytes(self.network)


cdef class Workspace:
    """Memory of one job at a time: the maps of the ``group`` windows that ``threads`` threads compute at once."""

    cdef c.workspace *workspace
    cdef readonly size_t group, threads
    cdef object network

    def __cinit__(self, Network network, size_t group, size_t threads):
        self.network = network
        self.group = group
        self.threads = threads
        self.workspace = c.workspace_create(network.network, group, threads)
        if self.workspace == NULL:
            raise MemoryError

    def __dealloc__(self):
        c.workspace_free(self.workspace)


cdef class Job:
    """``images`` (n, rows, cols) -> ``out`` (n, D), both float32; up to ``workspace.threads`` threads call ``work``."""

    cdef c.job *job
    cdef object network, workspace
    cdef const float[:, :, ::1] images
    cdef float[:, ::1] out

    def __cinit__(self, Network network, const float[:, :, ::1] images, float[:, ::1] out, Workspace workspace):
        self.network = network
        self.workspace = workspace
        self.images = images
        self.out = out
        self.job = c.job_create(network.network, workspace.workspace, &images[0, 0, 0], &out[0, 0], images.shape[0])
        if self.job == NULL:
            raise MemoryError

    def __dealloc__(self):
        c.job_free(self.job)

    def work(self):
        """Take part until all is done."""
        with nogil:
            c.job_work(self.job)
