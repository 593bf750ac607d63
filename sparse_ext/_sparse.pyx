# The compiled half of edgel3_onnx.sparse: holds memory, releases the GIL, makes one call. Callers have validated.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t


cdef extern from "sparse.h" nogil:
    ctypedef struct edgel3_convolution:
        uint32_t cin, cout
        const uint32_t *indptr
        const uint32_t *index
        const float *weight
        const float *bias
    ctypedef struct edgel3_network:
        pass
    ctypedef struct edgel3_job:
        pass
    const char *const *edgel3_levels()
    edgel3_network *edgel3_network_new(const edgel3_convolution *, float, float, const char *)
    void edgel3_network_free(edgel3_network *)
    size_t edgel3_network_bytes(const edgel3_network *)
    size_t edgel3_workspace_bytes(const edgel3_network *, size_t, size_t)
    edgel3_job *edgel3_job_new(const edgel3_network *, const float *, float *, size_t, size_t, size_t, void *)
    void edgel3_job_free(edgel3_job *)
    void edgel3_job_work(edgel3_job *)


cdef extern from "compiler.h" nogil:
    void *aligned_new(size_t)
    void aligned_delete(void *)


def levels():
    """Names of the SIMD levels that this processor has, best last."""
    names = []
    cdef const char *const *name = edgel3_levels()
    while name[0] != NULL:
        names.append((<bytes>name[0]).decode())
        name += 1
    return names


cdef class Workspace:
    """Memory of one job: the planes of the ``group`` windows that ``threads`` threads compute at a time."""

    cdef void *memory
    cdef readonly size_t group, threads

    def __cinit__(self, Network network, size_t group, size_t threads):
        self.group = group
        self.threads = threads
        self.memory = aligned_new(edgel3_workspace_bytes(network.network, group, threads))
        if self.memory == NULL:
            raise MemoryError

    def __dealloc__(self):
        aligned_delete(self.memory)


cdef class Network:
    """The eight convolutions in the form that the kernels of one SIMD level read."""

    cdef edgel3_network *network

    def __cinit__(self, list convolutions, float scale, float shift, str level):
        cdef edgel3_convolution layers[8]
        cdef const uint32_t[::1] indptr, index
        cdef const float[::1] weight, bias
        if len(convolutions) != 8:
            raise ValueError("eight convolutions are needed")
        for k, (cin, indptr, index, weight, bias) in enumerate(convolutions):
            layers[k].cin = cin
            layers[k].cout = bias.shape[0]
            layers[k].indptr = &indptr[0]
            layers[k].index = &index[0] if index.shape[0] else NULL
            layers[k].weight = &weight[0] if weight.shape[0] else NULL
            layers[k].bias = &bias[0]
        self.network = edgel3_network_new(layers, scale, shift, level.encode())
        if self.network == NULL:
            raise MemoryError

    def __dealloc__(self):
        edgel3_network_free(self.network)

    @property
    def nbytes(self):
        """Bytes that the packed weights take."""
        return edgel3_network_bytes(self.network)


cdef class Job:
    """``images`` (n, 256, 199) -> ``out`` (n, D), both float32; up to ``workspace.threads`` threads call ``work``."""

    cdef edgel3_job *job
    cdef object network, workspace
    cdef const float[:, :, ::1] images
    cdef float[:, ::1] out

    def __cinit__(self, Network network, const float[:, :, ::1] images, float[:, ::1] out, Workspace workspace):
        self.network = network
        self.workspace = workspace
        self.images = images
        self.out = out
        self.job = edgel3_job_new(network.network, &images[0, 0, 0], &out[0, 0], images.shape[0],
                                  workspace.group, workspace.threads, workspace.memory)
        if self.job == NULL:
            raise MemoryError

    def __dealloc__(self):
        edgel3_job_free(self.job)

    def work(self):
        """Take part until all is done."""
        with nogil:
            edgel3_job_work(self.job)
